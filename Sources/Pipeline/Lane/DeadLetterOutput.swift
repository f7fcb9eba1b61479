// Records and spans that could not be taken: written as they came, with the reason and the place they came
// from.

internal import OTLP
public import Sampling
import Topology

/// Writes dead letters, counts them, and remembers what is to be said of them in the log.
struct DeadLetterOutput {
  let topic: String
  /// The most bytes that key, value and headers may have together.
  let bytesMax: Int
  /// Dead letters by reason,
  private(set) var letters: [String: UInt64] = [:]
  /// and their spans, as far as they could be told apart.
  private(set) var spans: [String: UInt64] = [:]
  /// What was not said yet, and when something of its kind was said last. As many as there are reasons.
  private var notices: [String: (toldAt: Instant, untold: DeadLetterNotice?)] = [:]
  /// Whether anything is left to be said.
  private var hasUntold = false

  /// A record's own headers beyond these are counted, not copied.
  static let sourceHeadersMax = 256
  /// The log names a reason no more often than this.
  static let noticeInterval = Interval.seconds(60)
  /// What a dead letter's own headers are called, all of them.
  private static let ownNames: Set<String> = [
    "reason", "error", "source_topic", "source_partition", "source_offset", "source_offset_last",
    "source_timestamp", "looks_like", "spans", "trace_id", "span_id", "value_left_out_bytes",
    "key_left_out_bytes", "headers_left_out",
  ]
  /// What the headers take that say what was left out.
  private static let leftOutBytesMax = bytes(
    of: ["value_left_out_bytes", "key_left_out_bytes", "headers_left_out"].map {
      RecordHeaderField($0, "2147483647")
    })

  init(topic: String, bytesMax: Int) {
    self.topic = topic
    self.bytesMax = bytesMax
  }

  /// Writes a letter. Of a record that is lent at the moment, its own headers go with it.
  ///
  /// - Parameter isOfLentRecord: whether it is about the record that `link` is handing out.
  mutating func write(
    _ letter: DeadLetter, key: RawSpan?, value: RawSpan?, isOfLentRecord: Bool, to link: some BrokerLink
  ) throws(BrokerError) {
    letters[letter.reason, default: 0] += 1
    count(letter.spans ?? 0, letter.reason)
    note(letter)
    var source: (headers: [RecordHeaderField], count: Int) = (headers: [], count: 0)
    if isOfLentRecord { source = link.lentHeaders(countMax: DeadLetterOutput.sourceHeadersMax) }
    try write(letter.headers(topic: topic), source, key, value, to: link)
  }

  /// Writes a record that can't be taken, as it came.
  ///
  /// - Parameters:
  ///   - rejected: its spans, if nothing else is wrong with it and it was read as protobuf.
  ///   - decoder: what has converted it, where it was converted.
  mutating func writeRecord(
    _ place: RecordPlace, _ malformed: MalformedInput, _ rejected: [RejectedSpans], _ decoder: InputDecoder,
    key: RawSpan?, value: RawSpan?, to link: some BrokerLink
  ) throws(BrokerError) {
    let rejected = decoder.rejected.groups.isEmpty ? rejected : decoder.rejected.groups
    var letter = DeadLetter(place, malformed)
    letter.recognise(value, insteadOf: decoder.encoding)
    // Spans may be wrong for several reasons; the letter has that of the first.
    if let first = rejected.first, first.error == malformed {
      letter.note(first)
      letter.spans = first.count
      for others in rejected.dropFirst() { count(others.count, others.error.reason.rawValue) }
    }
    try write(letter, key: key, value: value, isOfLentRecord: true, to: link)
  }

  /// Writes the spans of a document that could not be converted, as they came.
  mutating func writeRejected(
    _ decoder: InputDecoder, of document: RawSpan, at place: RecordPlace, key: RawSpan?,
    to link: some BrokerLink
  ) throws(BrokerError) {
    for rejected in decoder.rejected.groups {
      var part = WireWriter()
      decoder.rejected.append(rejected.error.reason, of: document, to: &part)
      try part.bytes.withRawBytes { (bytes) throws(BrokerError) in
        try write(DeadLetter(place, rejected), key: key, value: bytes, isOfLentRecord: true, to: link)
      }
    }
  }

  /// Counts spans of dead letters.
  private mutating func count(_ count: Int, _ reason: String) {
    if count > 0 { spans[reason, default: 0] += UInt64(count) }
  }

  /// Writes what fits: the value first, then the key, then the record's own headers. Headers say what was
  /// left out, and where the record stands in its own topic.
  private func write(
    _ own: [RecordHeaderField], _ source: (headers: [RecordHeaderField], count: Int), _ key: RawSpan?,
    _ value: RawSpan?, to link: some BrokerLink
  ) throws(BrokerError) {
    var headers = own
    let (keyBytes, valueBytes) = (key?.byteCount ?? 0, value?.byteCount ?? 0)
    // Sizes are anybody's: each is taken off what is left, and none is added to another.
    var room = bytesMax - DeadLetterOutput.bytes(of: own) - DeadLetterOutput.leftOutBytesMax
    let hasValue = valueBytes <= room
    if hasValue { room -= valueBytes }
    if !hasValue { headers.append(RecordHeaderField("value_left_out_bytes", String(valueBytes))) }
    let hasKey = keyBytes <= room
    if hasKey { room -= keyBytes }
    if !hasKey { headers.append(RecordHeaderField("key_left_out_bytes", String(keyBytes))) }
    let theirs = source.headers.map { header in
      guard DeadLetterOutput.ownNames.contains(header.name) else { return header }
      return RecordHeaderField("original_" + header.name, bytes: header.value)
    }
    let theirBytes = DeadLetterOutput.bytes(of: theirs)
    let hasTheirs = theirBytes <= room
    if hasTheirs { headers += theirs }
    let left = source.count - (hasTheirs ? theirs.count : 0)
    if left > 0 { headers.append(RecordHeaderField("headers_left_out", String(left))) }
    try link.write(
      .deadLetters, partition: nil, key: hasKey ? key : nil, value: hasValue ? value : nil, headers: headers)
  }

  /// What headers take in a record: their names, their values and the length of each.
  private static func bytes(of headers: [RecordHeaderField]) -> Int {
    headers.reduce(0) { $0 + bytes(of: $1) }
  }

  private static func bytes(of header: RecordHeaderField) -> Int {
    header.name.utf8.count + (header.value?.count ?? 0) + 10
  }

  // MARK: The log

  private mutating func note(_ letter: DeadLetter) {
    var notice =
      notices[letter.reason]?.untold
      ?? DeadLetterNotice(
        reason: letter.reason, error: letter.error, partition: letter.partition,
        offset: letter.offsets.lowerBound)
    notice.letters += 1
    notice.spans += UInt64(letter.spans ?? 0)
    notices[letter.reason] = (notices[letter.reason]?.toldAt ?? .distantPast, notice)
    hasUntold = true
  }

  /// What is to be said now: each reason at once when it comes up, then no more than once in a while, with
  /// the number since and the first place.
  mutating func takeNotices(at now: Instant, all: Bool = false) -> [DeadLetterNotice] {
    guard hasUntold else { return [] }
    var due: [DeadLetterNotice] = []
    hasUntold = false
    for reason in notices.keys.sorted() {
      guard let notice = notices[reason], let untold = notice.untold else { continue }
      guard all || notice.toldAt + DeadLetterOutput.noticeInterval <= now else {
        hasUntold = true
        continue
      }
      due.append(untold)
      notices[reason] = (now, nil)
    }
    return due
  }
}

/// Dead letters for one reason, since something was last said of it.
public struct DeadLetterNotice: Equatable, Sendable {
  /// The reason.
  public var reason: String
  /// What was wrong with the first of them,
  public var error: String
  /// and where it, or the first record that it may have been in, stands.
  public var partition: PartitionID
  /// See `partition`.
  public var offset: Offset
  /// How many letters there were.
  public var letters: UInt64 = 0
  /// How many spans are in them, as far as they could be told apart.
  public var spans: UInt64 = 0
}

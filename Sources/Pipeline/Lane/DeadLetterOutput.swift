// Records and spans that could not be processed: written unchanged, with the reason and their place in the
// input.

internal import OTLP
public import Sampling
import Topology

/// Writes dead letters, counts them, and collects notices about them for the log.
struct DeadLetterOutput {
  let topic: String
  /// The most bytes of key, value and headers together.
  let bytesMax: Int
  /// Dead letters by reason,
  private(set) var letters: [String: UInt64] = [:]
  /// and their spans, if they could be counted.
  private(set) var spans: [String: UInt64] = [:]
  /// By reason: when the last notice was reported, and the one not reported yet.
  private var notices: [String: (toldAt: Instant, untold: DeadLetterNotice?)] = [:]
  /// Whether a notice is pending.
  private var hasUntold = false

  /// A record's own headers beyond this many are counted, not copied.
  static let sourceHeadersMax = 256
  /// The minimum time between two notices for one reason.
  static let noticeInterval = Interval.seconds(60)
  /// The names of all of a dead letter's own headers.
  private static let ownNames: Set<String> = [
    "reason", "error", "source_topic", "source_partition", "source_offset", "source_offset_last",
    "source_timestamp", "looks_like", "spans", "trace_id", "span_id", "value_left_out_bytes",
    "key_left_out_bytes", "headers_left_out",
  ]
  /// The size of the headers that report what was left out.
  private static let leftOutBytesMax = bytes(
    of: ["value_left_out_bytes", "key_left_out_bytes", "headers_left_out"].map {
      RecordHeaderField($0, "2147483647")
    })

  init(topic: String, bytesMax: Int) {
    self.topic = topic
    self.bytesMax = bytesMax
  }

  /// Writes a letter. If it is about the record being delivered, that record's own headers are copied.
  ///
  /// - Parameter isOfLentRecord: whether it is about the record that `link` is delivering.
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

  /// Writes an unreadable record unchanged.
  ///
  /// - Parameters:
  ///   - rejected: its rejected spans, if nothing else is wrong with it and it was read as protobuf.
  ///   - decoder: the decoder that converted it, if it was converted.
  mutating func writeRecord(
    _ place: RecordPlace, _ malformed: MalformedInput, _ rejected: [RejectedSpans], _ decoder: InputDecoder,
    key: RawSpan?, value: RawSpan?, to link: some BrokerLink
  ) throws(BrokerError) {
    var rejected = rejected
    var shift = 0
    var letter = DeadLetter(place, malformed)
    if let value, decoder.isPlain(value) {
      letter.recognise(value, insteadOf: decoder.encoding)
    } else if let value {
      shift = decoder.prefixBytes
      if !decoder.rejected.isEmpty { rejected = decoder.rejected }
      if decoder.hasDecompressed { letter.error += " of the decompressed value" }
      decoder.withContent(of: value) { letter.recognise($0, insteadOf: decoder.encoding) }
    }
    // Spans may be rejected for several reasons; the letter has the first.
    if let first = rejected.first, first.error.reason == malformed.reason,
      first.error.offset + shift == malformed.offset
    {
      letter.note(first)
      letter.spans = first.count
      for others in rejected.dropFirst() { count(others.count, others.error.reason.rawValue) }
    }
    try write(letter, key: key, value: value, isOfLentRecord: true, to: link)
  }

  /// Writes a document's spans that could not be converted, unchanged.
  mutating func writeRejected(
    _ decoder: InputDecoder, of document: RawSpan, at place: RecordPlace, key: RawSpan?,
    to link: some BrokerLink
  ) throws(BrokerError) {
    for rejected in decoder.rejected {
      var part = WireWriter()
      decoder.appendRejected(rejected.error.reason, of: document, to: &part)
      try part.bytes.withRawBytes { (bytes) throws(BrokerError) in
        try write(DeadLetter(place, rejected), key: key, value: bytes, isOfLentRecord: true, to: link)
      }
    }
  }

  /// Counts spans of dead letters.
  private mutating func count(_ count: Int, _ reason: String) {
    if count > 0 { spans[reason, default: 0] += UInt64(count) }
  }

  /// Writes what fits: the value first, then the key, then the record's own headers. Headers report what was
  /// left out, and the record's place in its own topic.
  private func write(
    _ own: [RecordHeaderField], _ source: (headers: [RecordHeaderField], count: Int), _ key: RawSpan?,
    _ value: RawSpan?, to link: some BrokerLink
  ) throws(BrokerError) {
    var headers = own
    let (keyBytes, valueBytes) = (key?.byteCount ?? 0, value?.byteCount ?? 0)
    // Sizes come from outside: each is subtracted from what is left, and none are added up.
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

  /// The size of headers in a record: their names, their values and the length of each.
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
        topic: topic, reason: letter.reason, error: letter.error, partition: letter.partition,
        offset: letter.offsets.lowerBound)
    notice.letters += 1
    notice.spans += UInt64(letter.spans ?? 0)
    notices[letter.reason] = (notices[letter.reason]?.toldAt ?? .distantPast, notice)
    hasUntold = true
  }

  /// The notices due now: each reason at once when it first occurs, then at most once per interval, with the
  /// number since and the first place.
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

/// Dead letters for one reason since its last notice.
public struct DeadLetterNotice: Equatable, Sendable {
  /// The topic that they come from.
  public var topic: String
  /// The reason.
  public var reason: String
  /// What was wrong with the first of them,
  public var error: String
  /// its partition,
  public var partition: PartitionID
  /// and the offset of its record, or of the first record that it may have been in.
  public var offset: Offset
  /// How many letters there were.
  public var letters: UInt64 = 0
  /// How many spans are in them, if they could be counted.
  public var spans: UInt64 = 0
}

// Deals with requests of logs: asks what became of their traces, and writes what is kept.

internal import OTLP
internal import Sampling
internal import Topology

/// Sorts the log records of requests by their traces' verdicts. Reused: it keeps its storage.
struct LogOutput {
  let configuration: LogsConfiguration
  private let limits: Limits
  /// What holds pieces instead of their being written, while a request is read again for recalls.
  private var recalled: RecalledLogs?
  private var record = ScannedRecord()
  private var groups = TraceGroups()
  private var converted = WireWriter()
  private var piece = WireWriter()
  private var key = TraceKey()
  /// When the request being dealt with was written.
  private var time = Instant.distantPast
  var deadLetters: DeadLetterOutput
  var counters = LogCounters()

  /// - Parameter limits: those of the lane's samplers.
  init(_ configuration: LogsConfiguration, limits: Limits, deadLetterBytesMax: Int) {
    self.configuration = configuration
    self.limits = limits
    deadLetters = DeadLetterOutput(topic: configuration.topic, bytesMax: deadLetterBytesMax)
  }

  /// Bytes of memory in use.
  var byteCount: Int { record.byteCount + groups.byteCount + converted.byteCount + piece.byteCount }

  /// Releases its storage.
  mutating func release() {
    record = ScannedRecord()
    groups = TraceGroups()
    converted = WireWriter()
    piece = WireWriter()
  }

  /// Deals with a request as a whole, or not at all.
  ///
  /// - Parameter time: when it was written, by the stream clock.
  /// - Returns: an undecided trace that it has to wait for; nil if it is dealt with.
  mutating func deal(
    with place: RecordPlace, writtenAt time: Instant, key: RawSpan?, value: RawSpan?,
    asking sampler: inout Sampler, to link: some BrokerLink
  ) throws(BrokerError) -> TraceID? {
    self.time = time
    guard let value else { return try reject(MalformedInput(.tombstone, at: 0), place, key, nil, to: link) }
    guard value.byteCount <= configuration.requestBytesMax else {
      return try reject(MalformedInput(.recordTooLarge, at: 0), place, key, value, to: link)
    }
    guard configuration.encoding == .otlpJSON else {
      return try sort(value, of: value, place, key, asking: &sampler, to: link)
    }
    converted.removeAll()
    do { try OTLPJSON.convertLogs(value, into: &converted) } catch {
      return try reject(error, place, key, value, to: link)
    }
    let bytes = converted.bytes
    return try bytes.withRawBytes { (bytes) throws(BrokerError) in
      try sort(bytes, of: value, place, key, asking: &sampler, to: link)
    }
  }

  private mutating func reject(
    _ error: MalformedInput, _ place: RecordPlace, _ key: RawSpan?, _ value: RawSpan?,
    to link: some BrokerLink
  ) throws(BrokerError) -> TraceID? {
    count(value)
    counters.malformed += 1
    try deadLetters.write(DeadLetter(place, error), key: key, value: value, isOfLentRecord: false, to: link)
    return nil
  }

  private mutating func count(_ value: RawSpan?) {
    counters.requests += 1
    counters.bytes += UInt64(value?.byteCount ?? 0)
  }

  /// Reads a request again, and adds the pieces of it that belong to recalled traces to `recalled`.
  mutating func collect(
    from place: RecordPlace, _ value: RawSpan?, into recalled: inout RecalledLogs, to link: some BrokerLink
  ) throws(BrokerError) {
    guard let value, value.byteCount <= configuration.requestBytesMax else { return }
    self.recalled = recalled
    defer {
      if let filled = self.recalled { recalled = filled }
      self.recalled = nil
    }
    recalled = RecalledLogs()
    // What can't be read was a dead letter the first time.
    guard configuration.encoding == .otlpJSON else {
      return try collect(value, from: place, to: link)
    }
    converted.removeAll()
    do { try OTLPJSON.convertLogs(value, into: &converted) } catch { return }
    let bytes = converted.bytes
    try bytes.withRawBytes { (bytes) throws(BrokerError) in try collect(bytes, from: place, to: link) }
  }

  private mutating func collect(
    _ bytes: RawSpan, from place: RecordPlace, to link: some BrokerLink
  ) throws(BrokerError) {
    do {
      try record.scanLogs(bytes)
      if record.spans.isEmpty { return }
      try groups.group(&record, bytesMax: limits.splitBytes(ofRecord: bytes.byteCount))
    } catch {
      return
    }
    for number in groups.groups.indices {
      let group = groups.groups[number]
      guard recalled?.wants(group.traceID, at: place.offset) == true else { continue }
      try write(group.spans, bytes, of: group.traceID, from: place, to: link)
    }
  }

  /// Writes logs of a trace that is recalled.
  mutating func write(_ pieces: [RecalledLogs.Piece], to link: some BrokerLink) throws(BrokerError) {
    for piece in pieces {
      counters.recalled += piece.count
      try piece.value.withRawBytes { (value) throws(BrokerError) in
        try write(piece: value, of: piece.count, piece.traceID, from: piece.place, to: link)
      }
    }
  }

  /// Sorts a request's log records.
  ///
  /// - Parameters:
  ///   - bytes: the request as protobuf.
  ///   - value: the request as it was read.
  private mutating func sort(
    _ bytes: RawSpan, of value: RawSpan, _ place: RecordPlace, _ key: RawSpan?, asking sampler: inout Sampler,
    to link: some BrokerLink
  ) throws(BrokerError) -> TraceID? {
    do {
      try record.scanLogs(bytes)
      if record.spans.isEmpty {
        count(value)
        return nil
      }
      try groups.group(&record, bytesMax: limits.splitBytes(ofRecord: bytes.byteCount))
    } catch {
      return try reject(error, place, key, value, to: link)
    }
    for group in groups.groups where !group.traceID.isZero {
      if sampler.fate(of: group.traceID, at: time) == .undecided { return group.traceID }
    }
    count(value)
    for number in groups.groups.indices {
      let group = groups.groups[number]
      let fate = group.traceID.isZero ? nil : sampler.fate(of: group.traceID, at: time)
      if let chosen = choose(group, fate) {
        try write(chosen, bytes, of: group.traceID, from: place, to: link)
      }
    }
    return nil
  }

  // MARK: What is kept

  /// The log records of a trace that are kept; nil if none is.
  private mutating func choose(_ group: TraceGroups.Group, _ fate: TraceFate?) -> Range<Int>? {
    guard let fate else { return chooseTraceFree(group.spans) }
    let count = logCount(group.spans)
    switch fate {
    case .kept:
      counters.kept += count
      return group.spans
    case .undecided, .dropped:
      counters.dropped += count
      return nil
    case .forgotten:
      counters.forgottenKept += count
      return group.spans
    case .unknown:
      guard configuration.keepsWithoutVerdict else {
        counters.unknownDropped += count
        return nil
      }
      counters.unknownKept += count
      return group.spans
    }
  }

  /// Those without a trace that are kept: they move to the front of their range.
  private mutating func chooseTraceFree(_ logs: Range<Int>) -> Range<Int>? {
    let all = logCount(logs)
    let least = configuration.withoutTrace.severityMin
    let wanted = least.map { least in logs.filter { record.spans[$0].severity >= least } } ?? []
    let chosen = wanted.count == logs.count ? logs : record.moveToFront(wanted, of: logs)
    let kept = logCount(chosen)
    counters.traceFreeKept += kept
    counters.traceFreeDropped += all - kept
    return chosen.isEmpty ? nil : chosen
  }

  private func logCount(_ logs: Range<Int>) -> UInt64 {
    logs.reduce(0) { $0 + UInt64(record.spans[$1].logCount) }
  }

  // MARK: Writing

  private mutating func write(
    _ logs: Range<Int>, _ bytes: RawSpan, of traceID: TraceID, from place: RecordPlace,
    to link: some BrokerLink
  ) throws(BrokerError) {
    let bytesMax = configuration.sampledBytesMax
    if logs.count == record.spans.count, record.isWhole, bytes.byteCount <= bytesMax {
      return try write(piece: bytes, of: logCount(logs), traceID, from: place, to: link)
    }
    // What its portions may have together depends on this piece, not on the request: a request has many.
    let pieceBytes = record.size(ofPiece: logs)
    var cutter = PortionCutter(recordBytes: pieceBytes, bytesMax: bytesMax)
    var start = logs.lowerBound
    for end in logs where cutter.add(record.spans[end], of: record) != nil {
      try writePortion(start..<end, bytes, of: traceID, from: place, to: link)
      start = end
    }
    try writePortion(start..<logs.upperBound, bytes, of: traceID, from: place, to: link)
  }

  private mutating func writePortion(
    _ logs: Range<Int>, _ bytes: RawSpan, of traceID: TraceID, from place: RecordPlace,
    to link: some BrokerLink
  ) throws(BrokerError) {
    piece.removeAll()
    piece.appendPiece(logs, of: record, bytes: bytes)
    let piece = piece.bytes
    try piece.withRawBytes { (value) throws(BrokerError) in
      try write(piece: value, of: logCount(logs), traceID, from: place, to: link)
    }
  }

  /// Writes log records, or makes them a dead letter if their topic refuses them; or collects them.
  private mutating func write(
    piece value: RawSpan, of count: UInt64, _ traceID: TraceID, from place: RecordPlace,
    to link: some BrokerLink
  ) throws(BrokerError) {
    if recalled != nil {
      recalled?.hold(RecalledLogs.Piece(traceID: traceID, place: place, value: value.copied(), count: count))
      return
    }
    guard value.byteCount > configuration.sampledBytesMax else {
      return try write(value, of: traceID, from: place, to: link)
    }
    counters.tooLarge += count
    let letter = DeadLetter(
      tooLargeLogs: value.byteCount, count: count, traceID: traceID,
      bytesMax: configuration.sampledBytesMax, place)
    try key.lendAny(traceID) { (key) throws(BrokerError) in
      try deadLetters.write(letter, key: key, value: value, isOfLentRecord: false, to: link)
    }
  }

  private mutating func write(
    _ value: RawSpan, of traceID: TraceID, from place: RecordPlace, to link: some BrokerLink
  ) throws(BrokerError) {
    counters.written += 1
    try key.lendAny(traceID) { (key) throws(BrokerError) in
      try link.write(.sampledLogs, partition: place.partition, key: key, value: value, headers: [])
    }
  }
}

extension TraceKey {
  /// Lends the key of a trace's log records; those without a trace have none.
  fileprivate mutating func lendAny(
    _ traceID: TraceID, _ body: (RawSpan?) throws(BrokerError) -> Void
  ) throws(BrokerError) {
    guard !traceID.isZero else { return try body(nil) }
    try lend(traceID) { (key) throws(BrokerError) in try body(key) }
  }
}

extension TraceFreeLogs {
  /// The least severity number that is kept; nil if none is.
  fileprivate var severityMin: UInt8? {
    switch self {
    case .keep: 0
    case .drop: nil
    case .trace: 1
    case .debug: 5
    case .info: 9
    case .warn: 13
    case .error: 17
    case .fatal: 21
    }
  }
}

// The index of kept traces: what a search needs of each, in bounded memory. The oldest leave first.

public import OTLP
internal import Sampling

/// Where a record is.
public struct RecordPosition: Hashable, Comparable, Sendable {
  /// A topic that the index reads.
  public enum Topic: UInt32, Sendable {
    /// The kept spans.
    case sampled
    /// The decisions.
    case decisions
    /// The logs of kept traces.
    case logs
  }

  /// Its topic, partition and offset.
  public var topic: Topic
  /// Its partition.
  public var partition: Int32
  /// Its offset.
  public var offset: Int64

  /// Names a record.
  public init(_ topic: Topic, partition: Int32, offset: Int64) {
    self.topic = topic
    self.partition = partition
    self.offset = offset
  }

  /// In the order in which reading them takes the fewest jumps.
  public static func < (left: RecordPosition, right: RecordPosition) -> Bool {
    (left.topic.rawValue, left.partition, left.offset)
      < (right.topic.rawValue, right.partition, right.offset)
  }
}

/// Recalls that decision records tell of.
public struct RecallCounts: Sendable {
  /// Requested; answered; and those whose spans were gone or that were refused.
  public var requested = 0, done = 0, gone = 0
}

/// An index of kept traces. Values of it are filled by one reader and asked by others, one at a time.
public struct KeptTraceIndex: Sendable {
  var rows = Chunks<TraceRow>()
  var numbers: [TraceID: Int] = [:]
  var words = WordPool()
  var names: NamePool
  var pairs: PairPool
  var calls: PairPool
  var linker: CallLinker
  var graph: ServiceGraph
  var halves: CallHalves
  /// By minutes since 1970.
  var steps: [Int64: TrafficStep] = [:]
  private var stepBytes = 0
  private var reader = BriefReader()
  private let slowPolicies: Set<String>
  let sharesRandomness: Bool
  private var earlyLogs = EarlyLogs()
  /// The limit on memory.
  public let bytesMax: Int
  /// Traces that left to make room.
  public private(set) var evicted: UInt64 = 0
  /// Records that could not be read.
  public private(set) var unreadable: UInt64 = 0
  /// Spans read.
  public private(set) var spansRead: UInt64 = 0
  /// Recalls.
  public private(set) var recalls = RecallCounts()
  /// The latest log time seen, in nanoseconds.
  public private(set) var clock: Int64 = 0

  /// A trace's operations beyond these are one.
  private static let pairsMax = 64
  /// A trace's records beyond these are not found again.
  private static let placesMax = 4096
  /// A trace with this many has its further records of logs left out: they must not crowd out its spans.
  private static let placesOfLogsMax = 1024
  /// A dictionary's entry for a row, with its share of empty room.
  private static let numberBytes = 48
  private static let minute: Int64 = 60_000_000_000

  /// Makes an empty index.
  ///
  /// - Parameters:
  ///   - bytesMax: the limit on memory; at least 1 MiB.
  ///   - slowPolicies: the policies that keep traces for their latency.
  ///   - sharesRandomness: whether linked traces are decided by the same random value.
  public init(bytesMax: Int, slowPolicies: Set<String> = [], sharesRandomness: Bool = false) {
    self.bytesMax = max(1 << 20, bytesMax)
    self.slowPolicies = slowPolicies
    self.sharesRandomness = sharesRandomness
    names = NamePool(bytesMax: self.bytesMax / 8)
    pairs = PairPool(countMax: min(65_536, self.bytesMax / 8 / 256))
    calls = PairPool(countMax: min(65_536, self.bytesMax / 8 / 256))
    linker = CallLinker(bytesMax: self.bytesMax / 8)
    graph = ServiceGraph(bytesMax: self.bytesMax)
    halves = CallHalves(bytesMax: self.bytesMax)
  }

  /// Memory in use.
  public var byteCount: Int {
    rows.byteCount + rows.count * KeptTraceIndex.numberBytes + words.byteCount + names.byteCount
      + pairs.byteCount + calls.byteCount + linker.byteCount + graph.byteCount + halves.byteCount + stepBytes
  }

  /// How many traces it has.
  public var count: Int { rows.count }

  // MARK: Decisions

  /// Adds a record of the topic of decisions; `time` is the record's.
  public mutating func add(decision value: RawSpan, at position: RecordPosition) {
    guard let facts = DecisionFacts(record: value) else {
      unreadable += 1
      return
    }
    clock = max(clock, facts.decidedAt.nanoseconds)
    if facts.isLate {
      switch facts.recall {
      case "requested": recalls.requested += 1
      case "refused": recalls.gone += 1
      default: break
      }
    } else if facts.isRevised {
      if facts.recall == "gone" { recalls.gone += 1 } else { recalls.done += 1 }
    }
    guard facts.isKept else { return }
    let number = row(of: facts.traceID, time: facts.decidedAt.nanoseconds, start: facts.start)
    note(position, in: number)
    // An early record after the final one was read out of turn.
    guard facts.isFinal || !rows[number].flags.contains(.isFinal) else { return }
    apply(facts, to: number)
    shrink()
  }

  private mutating func apply(_ facts: DecisionFacts, to number: Int) {
    func take(_ text: String, _ place: WritableKeyPath<TraceRow, UInt32>, _ index: inout KeptTraceIndex) {
      let name = index.names.take(text)
      index.names.release(index.rows[number][keyPath: place])
      index.rows[number][keyPath: place] = name
    }
    take(facts.policy, \.policy, &self)
    take(facts.reasons.joined(separator: KeptTraceIndex.separator), \.reasons, &self)
    if let service = facts.rootService, let operation = facts.rootOperation {
      take(service, \.rootService, &self)
      take(operation, \.rootOperation, &self)
      rows[number].flags.insert(.hasRoot)
    }
    rows[number].time = facts.decidedAt.nanoseconds
    if let start = facts.start { rows[number].start = UInt64(max(0, start)) }
    rows[number].duration = UInt64(facts.duration)
    rows[number].weight = facts.adjustedCount
    rows[number].spanCount = UInt32(clamping: facts.spanCount)
    rows[number].errorCount = UInt32(clamping: facts.errorCount)
    rows[number].byteCount = UInt32(clamping: facts.byteCount)
    rows[number].flags.insert(.isDecided)
    if facts.isFinal { rows[number].flags.insert(.isFinal) }
    if facts.errorCount > 0 { rows[number].flags.insert(.hasError) }
    if facts.reasons.contains(where: slowPolicies.contains) { rows[number].flags.insert(.isSlow) }
    if facts.isLate { rows[number].flags.insert(.isLate) }
    if facts.isRevised { rows[number].flags.insert(.isRecalled) }
    if facts.truncatedCount > 0 { rows[number].flags.insert(.isTruncated) }
  }

  /// Between the policies of a row.
  static let separator = "\u{1f}"

  // MARK: Spans

  /// Adds a record of the topic of kept spans.
  ///
  /// - Parameters:
  ///   - time: the record's, in nanoseconds.
  ///   - isPast: whether it was there before the index began to follow: the service graph leaves it out.
  public mutating func add(
    spans value: RawSpan, at position: RecordPosition, time: Int64, isPast: Bool = false
  ) {
    clock = max(clock, time)
    graph.isCounting = !isPast
    var briefs: [SpanBrief] = []
    guard reader.read(value, { briefs.append($0) }) else {
      unreadable += 1
      return
    }
    let resources = value.resourceAttributeHashes()
    var last: Int?
    for brief in briefs {
      let number = row(of: brief.traceID, time: time, start: Int64(clamping: brief.start))
      if number != last {
        note(position, in: number)
        for hash in resources { rows[number].tags.insert(hash) }
        last = number
      }
      add(brief, of: value, to: number, time: time)
    }
    spansRead += UInt64(briefs.count)
    shrink()
  }

  // MARK: Logs

  /// Notes where a record of a kept trace's logs is. One that is read before its trace waits for it.
  public mutating func add(logsOf id: TraceID, at position: RecordPosition) {
    guard let number = numbers[id] else { return earlyLogs.add(position, of: id) }
    noteLogs(position, in: number)
    shrink()
  }

  private mutating func noteLogs(_ position: RecordPosition, in number: Int) {
    guard rows[number].places.count < KeptTraceIndex.placesOfLogsMax * 3 else {
      rows[number].flags.insert(.hasMoreLogs)
      return
    }
    note(position, in: number)
  }

  private mutating func add(_ brief: SpanBrief, of record: RawSpan, to number: Int, time: Int64) {
    let service = names.take(brief.service)
    // Its producer has sent it twice, or an exporter that got no answer.
    let known = linker.origin(of: CallLinker.key(brief.traceID, brief.spanID))
    if let known, known.isRepeated(by: CallOrigin(brief, service: service)) { return names.release(service) }
    let operation = names.take(brief.operation)
    let isDecided = rows[number].flags.contains(.isDecided)
    if !isDecided { rows[number].weight = brief.weight }
    // One without a start would make the trace last since 1970.
    if brief.start > 0 { rows[number].reach(brief, isDecided: isDecided) }
    if brief.parentID == 0, !rows[number].flags.contains(.hasRoot) {
      names.retain(service)
      names.retain(operation)
      rows[number].rootService = service
      rows[number].rootOperation = operation
      rows[number].flags.insert(.hasRoot)
    }
    rows[number].spansRead &+= 1
    if brief.isError {
      rows[number].errorsRead &+= 1
      rows[number].flags.insert(.hasError)
    }
    record.forEachAttributeHash(of: brief) { rows[number].tags.insert($0) }
    let minute = time / KeptTraceIndex.minute
    let bytesBefore = steps[minute]?.byteCount ?? 0
    let info = PairInfo(count: 1, hasError: brief.isError, duration: brief.duration)
    let pair = pairs.take(PairPool.Pair(first: service, second: operation), &names)
    pairs.note(kind: brief.kind, of: pair)
    // In use while it is counted, whether the trace's list has room for it or not.
    pairs.retain(pair)
    let spansBefore = list(pair, info, in: number)
    count(
      pair, weight: brief.weight, before: Double(spansBefore), duration: brief.duration,
      isError: brief.isError, minute)
    pairs.release(pair, &names)
    var call = WaitingCall(
      trace: brief.traceID, isEntry: brief.isEntry, service: service, weight: brief.weight,
      before: Double(spansBefore), duration: brief.duration, isError: brief.isError, kind: brief.kind)
    if brief.isEntry { call.before = countEntry(call, minute) }
    let isClient = brief.kind == 3 || brief.kind == 4
    let peer = isClient && graph.isCounting ? CalledPeer(of: brief, in: record) : nil
    link(brief, call, record.links(of: brief), peer, minute)
    names.release(service)
    names.release(operation)
    stepBytes += (steps[minute]?.byteCount ?? 0) - bytesBefore
  }

  /// Notes a span of a pair in the trace's list; returns how many there were before. The caller's use of the
  /// pair becomes the list's, or ends.
  mutating func list(_ pair: UInt32, _ info: PairInfo, in number: Int) -> Int {
    if let place = words.find(pair, in: rows[number].pairs) {
      var known = PairInfo(word: words[after: place])
      let before = known.count
      known.add(info)
      words[after: place] = known.word
      pairs.release(pair, &names)
      return before
    }
    guard rows[number].pairs.count < KeptTraceIndex.pairsMax * 2 else {
      rows[number].flags.insert(.hasMorePairs)
      pairs.release(pair, &names)
      return 0
    }
    words.append(pair, to: &rows[number].pairs)
    words.append(info.word, to: &rows[number].pairs)
    return 0
  }

  mutating func count(
    _ pair: UInt32, weight: Double, before: Double, duration: UInt64, isError: Bool, _ minute: Int64
  ) {
    if steps[minute]?.operations[pair] == nil { pairs.retain(pair) }
    var step = steps.removeValue(forKey: minute) ?? TrafficStep()
    step.operations[pair, default: Tally()].add(weight: weight, count: 1, before: before, isError: isError)
    let cell = UInt64(pair) << 8 | UInt64(LatencyScale.number(of: duration))
    step.operationCells[cell, default: LatencyCell()].add(
      LatencyCell(weight: weight, samples: 1, errors: isError ? 1 : 0))
    steps[minute] = step
  }

  // MARK: Rows

  /// The row of a trace, made if need be.
  private mutating func row(of id: TraceID, time: Int64, start: Int64?) -> Int {
    if let number = numbers[id] { return number }
    rows.append(TraceRow(id: id, start: UInt64(max(0, start ?? time)), time: time))
    let number = rows.end - 1
    numbers[id] = number
    for position in earlyLogs.take(id) { noteLogs(position, in: number) }
    return number
  }

  private mutating func note(_ position: RecordPosition, in number: Int) {
    guard rows[number].places.count < KeptTraceIndex.placesMax * 3 else { return }
    let offset = UInt64(bitPattern: position.offset)
    words.append(
      position.topic.rawValue << 30 | UInt32(bitPattern: position.partition) & 0x3fff_ffff,
      to: &rows[number].places)
    words.append(UInt32(truncatingIfNeeded: offset >> 32), to: &rows[number].places)
    words.append(UInt32(truncatingIfNeeded: offset), to: &rows[number].places)
  }

  /// Makes room: the oldest minutes and the oldest traces leave.
  private mutating func shrink() {
    while stepBytes > bytesMax / 4, let oldest = steps.keys.min() { forget(step: oldest) }
    while byteCount > bytesMax, rows.count > 1 {
      let row = rows[rows.start]
      for name in [row.rootService, row.rootOperation, row.policy, row.reasons] { names.release(name) }
      var listed: [UInt32] = []
      words.forEach(row.pairs, of: 2) { entry in
        listed.append(entry.0)
        return true
      }
      for pair in listed { pairs.release(pair, &names) }
      words.remove(row.pairs)
      words.remove(row.places)
      numbers[row.id] = nil
      rows.removeFirst()
      evicted += 1
      if words.isLoose { packWords() }
    }
  }

  /// Releases what the lists of traces that left took, if those that stay don't need it. It goes through all
  /// of them, and so happens only once a quarter of the lists' memory is free.
  private mutating func packWords() {
    // Taken out for as long as the rows' lists change.
    var pool = WordPool()
    swap(&pool, &words)
    pool.pack { move in
      for number in rows.start..<rows.end {
        move(&rows[number].pairs)
        move(&rows[number].places)
      }
    }
    swap(&pool, &words)
  }

  private mutating func forget(step minute: Int64) {
    guard let step = steps.removeValue(forKey: minute) else { return }
    stepBytes -= step.byteCount
    for pair in step.operations.keys { pairs.release(pair, &names) }
    for call in step.calls.keys { calls.release(call, &names) }
    for link in step.links.keys { calls.release(link, &names) }
  }
}

extension RawSpan {
  /// The hashes of a span's attributes, and of what Jaeger shows as its tags.
  func forEachAttributeHash(of brief: SpanBrief, _ body: (UInt64) -> Void) {
    var cursor = WireCursor(brief.content)
    do throws(MalformedInput) {
      while let message = try cursor.next(SpanField.attributes, in: self) {
        let attribute = try Attribute(message, self)
        body(TagFilter.hash(key: attribute.key, value: attribute.value.text))
      }
    } catch {}
    if brief.isError {
      body(TagFilter.hash(key: Array("error".utf8), value: Array("true".utf8)))
      body(TagFilter.hash(key: Array("otel.status_code".utf8), value: Array("ERROR".utf8)))
    }
    if let kind = SpanKind.jaegerName(brief.kind) {
      body(TagFilter.hash(key: Array("span.kind".utf8), value: Array(kind.utf8)))
    }
  }

  /// The hashes of the attributes of all resources of a record.
  func resourceAttributeHashes() -> [UInt64] {
    var hashes: [UInt64] = []
    var record = WireCursor(ByteRange(offset: 0, count: UInt32(clamping: byteCount)))
    do throws(MalformedInput) {
      while let group = try record.next(TracesDataField.resourceSpans, in: self) {
        var fields = WireCursor(group)
        while let resource = try fields.next(ResourceSpansField.resource, in: self) {
          for attribute in try Attribute.list(resource, ResourceField.attributes, in: self) {
            hashes.append(TagFilter.hash(key: attribute.key, value: attribute.value.text))
          }
        }
      }
    } catch {}
    return hashes
  }
}

/// The kinds of spans.
enum SpanKind {
  private static let names = ["unspecified", "internal", "server", "client", "producer", "consumer"]

  static func name(_ kind: UInt8) -> String {
    names.indices.contains(Int(kind)) ? names[Int(kind)] : names[0]
  }

  /// Nil where Jaeger shows none.
  static func jaegerName(_ kind: UInt8) -> String? { (1...5).contains(kind) ? names[Int(kind)] : nil }
}

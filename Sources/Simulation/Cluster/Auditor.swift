// The auditor: knows the workload's truth and the logs, and nothing about the sampler.

import OTLP
import Pipeline
import Sampling

/// What was published of a trace.
struct PublishedTrace {
  var truth: TraceTruth?
  var partition = PartitionID(0)
  var spans: Set<UInt64> = []
  var errorSpans = 0
  /// The numbers of its log records.
  var logs: Set<UInt64> = []
}

/// Checks a simulated run, as a read_committed reader would.
struct Auditor {
  /// Whether outputs may be duplicated: without transactions they may.
  private let allowsRepeats: Bool
  /// Whether chance may decide a trace otherwise the second time: by other randomness, if it has been told of
  /// other links meanwhile.
  private let mayChangeVerdicts: Bool
  /// Whether the ledger has pages that can't be read. Then some verdicts may be missing, and logs of traces
  /// without one are kept.
  private let isLedgerDamaged: Bool
  private(set) var objections: [String] = []
  private(set) var published: [TraceID: PublishedTrace] = [:]
  /// The traces of each record of the input, by partition and offset.
  private var contents: [PartitionID: [[TraceID]]] = [:]
  /// How often spans of each series were published; nil if they are not counted.
  private var calls: [SpanSeries: UInt64]?
  /// How far each partition's commits have been checked.
  private var checked: [PartitionID: Int64] = [:]
  private var scanned = ScannedRecord()

  /// How verdicts spread along links; nil if they do not.
  var links: LinksConfiguration?
  /// How many traces they reach.
  var storyTraces = 0

  /// How many log records were published, and which of them without a trace.
  private var logCount: UInt64 = 0
  private var traceFreeLogs: Set<UInt64> = []

  /// How many malformed records were published, and as many unusable spans in readable records.
  private var spoilt = 0

  /// An unreadable record.
  static let malformedRecord: [UInt8] = [0x0b, 0x01]
  /// A span without ids, in a resource and a scope without anything else. As a dead letter it looks the same.
  static let rejectedSpan: [UInt8] = {
    var writer = WireWriter()
    writer.message(TracesDataField.resourceSpans) { resource in
      resource.message(ResourceSpansField.scopeSpans) { $0.message(ScopeSpansField.spans) { _ in } }
    }
    return writer.bytes
  }()

  /// The key of records that no worker wrote.
  static let stranger = Array("stranger".utf8)

  /// A shadow policy that drops traces with an error, and one that keeps all.
  static let dropsErrors = "drops errors"
  static let keepsAll = "keeps all"

  /// Further objections tell nothing new.
  private static let objectionsMax = 20

  init(
    allowsRepeats: Bool, mayChangeVerdicts: Bool = false, isLedgerDamaged: Bool = false,
    hasMetrics: Bool = false
  ) {
    self.allowsRepeats = allowsRepeats
    self.mayChangeVerdicts = mayChangeVerdicts
    if hasMetrics { calls = [:] }
    self.isLedgerDamaged = isLedgerDamaged
  }

  mutating func object(_ text: String) {
    if objections.count < Auditor.objectionsMax { objections.append(text) }
  }

  // MARK: What is published

  mutating func note(_ record: WorkloadRecord?, in partition: PartitionID) {
    guard let record else {
      contents[partition, default: []].append([])
      return
    }
    do {
      try record.bytes.withRawBytes { (bytes) throws(MalformedInput) in try scanned.scan(bytes) }
    } catch {
      object("the generator wrote a record that can't be read: \(error)")
    }
    for span in scanned.spans {
      published[span.traceID, default: PublishedTrace()].partition = partition
      published[span.traceID]?.spans.insert(span.spanID)
      if span.status == .error { published[span.traceID]?.errorSpans += 1 }
      // As often as it is published.
      let series = record.bytes.withRawBytes { SpanSeries(span, of: scanned, $0) }
      calls?[series, default: 0] += 1
    }
    contents[partition, default: []].append(Array(Set(scanned.spans.map(\.traceID))))
  }

  /// A log record is published: its number.
  mutating func noteLog(of trace: TraceID?) -> UInt64 {
    logCount += 1
    if let trace { published[trace]?.logs.insert(logCount) } else { traceFreeLogs.insert(logCount) }
    return logCount
  }

  /// A malformed record was published, and an unusable span.
  mutating func noteSpoilt() { spoilt += 1 }

  mutating func note(_ truths: [TraceTruth]) {
    for truth in truths {
      // The last record may not be published yet: the generator runs ahead.
      let trace = TraceID(high: truth.traceIDHigh, low: truth.traceIDLow)
      published[trace, default: PublishedTrace()].truth = truth
    }
  }

  // MARK: While it runs

  /// A commit must not be past a span of a trace that is not decided for good.
  mutating func checkCommit(_ partition: PartitionID, _ offset: Offset, _ cluster: SimulatedCluster) {
    let from = checked[partition] ?? 0
    guard offset.value > from else { return }
    checked[partition] = offset.value
    var decided: Set<TraceID> = []
    for topic in SimulatedTopic.ofVerdicts {
      let log = LogID(topic: topic, partition: partition)
      for record in cluster.committedRecords(of: log, includesUnstable: true) {
        // What is no verdict is objected to at the end.
        try? (record.value ?? []).withRawBytes { (record) throws(VerdictRecordError) in
          try RestoredVerdict.read(record) { if $0.isFinal { decided.insert($0.traceID) } }
        }
      }
    }
    for place in Int(from)..<Int(offset.value) {
      for trace in contents[partition]?[place] ?? [] where !decided.contains(trace) {
        object(
          "offset \(offset.value) of partition \(partition.value) is committed, but trace \(trace) "
            + "of the record at "
            + "\(place) is not decided")
      }
    }
  }

  // MARK: At the end

  /// Compares everything that was committed with the truth.
  mutating func checkOutputs(_ cluster: SimulatedCluster)
    -> (hash: UInt64, kept: Int, recalled: Int)
  {
    var finals: [TraceID: [RestoredVerdict]] = [:]
    var revised: [TraceID: [RestoredVerdict]] = [:]
    var kept: [TraceID: [UInt64: Int]] = [:]
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    for partition in (0..<cluster.partitionCount).map({ PartitionID($0) }) {
      for topic in SimulatedTopic.ofVerdicts {
        let log = LogID(topic: topic, partition: partition)
        for record in cluster.committedRecords(of: log) where record.key != Auditor.stranger {
          hash = Auditor.mix(hash, record.value ?? [])
          for verdict in verdicts(in: record.value ?? [], of: topic) {
            if verdict.isRevised { revised[verdict.traceID, default: []].append(verdict) }
            if verdict.isFinal, !verdict.isRevised { finals[verdict.traceID, default: []].append(verdict) }
          }
        }
      }
      for record in cluster.committedRecords(of: LogID(topic: SimulatedTopic.sampled, partition: partition)) {
        hash = Auditor.mix(hash, record.value ?? [])
        count(record.value ?? [], into: &kept)
      }
    }
    checkDeadLetters(cluster)
    checkMetrics(cluster, kept, &hash)
    let logs = keptLogs(cluster, &hash)
    check(traceFreeLogs, of: "no trace", mustBeKept: true, in: logs)
    checkStories(finals, revised)
    for (trace, facts) in published.sorted(by: { $0.key.low < $1.key.low }) {
      let isChanged = isChanged(finals[trace] ?? [], of: facts)
      check(
        trace, facts, finals[trace] ?? [], revised[trace] ?? [], kept[trace] ?? [:],
        mayBePartial: isChanged)
      // A recall brings the logs that were dropped with the trace.
      let isKept =
        revised[trace] != nil || (!isChanged && finals[trace]?.contains(where: \.isKept) ?? false)
      check(facts.logs, of: "trace \(trace)", mustBeKept: isKept, in: logs)
    }
    return (hash, finals.values.count { $0.contains(where: \.isKept) } + revised.count, revised.count)
  }

  /// Whether chance alone kept a trace and dropped it when it was decided again: what came in between follows
  /// the later verdict.
  private func isChanged(_ finals: [RestoredVerdict], of facts: PublishedTrace) -> Bool {
    guard mayChangeVerdicts, let truth = facts.truth, !truth.hasError, !truth.isSlow else { return false }
    return finals.contains(where: \.isKept) && finals.contains { !$0.isKept }
  }

  /// Every span is counted once, whatever became of it, and exemplars are of kept spans.
  private mutating func checkMetrics(
    _ cluster: SimulatedCluster, _ kept: [TraceID: [UInt64: Int]], _ hash: inout UInt64
  ) {
    guard let calls else { return }
    var found = CountedSpans()
    for partition in (0..<cluster.partitionCount).map({ PartitionID($0) }) {
      let log = LogID(topic: SimulatedTopic.metrics, partition: partition)
      for record in cluster.committedRecords(of: log) {
        hash = Auditor.mix(hash, record.value ?? [])
        do {
          try (record.value ?? []).withRawBytes { (bytes) throws(MalformedInput) in try found.read(bytes) }
        } catch { object("a record of metrics can't be read: \(error)") }
      }
    }
    for series in Set(calls.keys).union(found.calls.keys).sorted() {
      let (published, counted) = (calls[series] ?? 0, found.calls[series] ?? 0)
      if counted != found.durations[series] ?? 0 { object("\(series): other calls than durations") }
      guard counted < published || (counted > published && !allowsRepeats) else { continue }
      object("\(series): \(published) spans are published, but \(counted) are counted")
    }
    if found.repeated > 0 { object("\(found.repeated) series of metrics are twice in a record") }
    for exemplar in found.exemplars where kept[exemplar.trace]?[exemplar.span] == nil {
      object("an exemplar is a span of trace \(exemplar.trace) that is not kept")
    }
  }

  /// How often each log record was kept.
  private mutating func keptLogs(_ cluster: SimulatedCluster, _ hash: inout UInt64) -> [UInt64: Int] {
    var kept: [UInt64: Int] = [:]
    for partition in (0..<cluster.partitionCount).map({ PartitionID($0) }) {
      let log = LogID(topic: SimulatedTopic.sampledLogs, partition: partition)
      for record in cluster.committedRecords(of: log) {
        hash = Auditor.mix(hash, record.value ?? [])
        do {
          let numbers = try (record.value ?? []).withRawBytes { (bytes) throws(MalformedInput) in
            try LogRequest.numbers(in: bytes)
          }
          for number in numbers { kept[number, default: 0] += 1 }
        } catch { object("a record of kept logs can't be read: \(error)") }
      }
    }
    return kept
  }

  /// Checks log records of one trace or none.
  ///
  /// - Parameter mustBeKept: whether they are kept.
  private mutating func check(
    _ logs: Set<UInt64>, of what: String, mustBeKept: Bool, in kept: [UInt64: Int]
  ) {
    let missing = logs.count { kept[$0] == nil }
    let twice = logs.count { kept[$0] ?? 0 > 1 }
    if mustBeKept, missing > 0 {
      object("\(missing) of \(logs.count) log records of \(what) are missing")
    }
    // Without transactions a trace may be decided twice, and its logs kept by the verdict that is lost.
    guard !allowsRepeats else { return }
    if !mustBeKept, !isLedgerDamaged, missing < logs.count {
      object("\(logs.count - missing) log records of \(what), which is dropped, are kept")
    }
    if twice > 0 { object("\(twice) log records of \(what) are kept more than once") }
  }

  /// The verdicts of a record of either topic, their span counts checked.
  private mutating func verdicts(in record: [UInt8], of topic: String) -> [RestoredVerdict] {
    var verdicts: [RestoredVerdict] = []
    var counts: [(TraceID, Int64?)] = []
    do {
      try record.withRawBytes { record in
        try RestoredVerdict.read(record) { verdicts.append($0) }
        guard var ledger = try LedgerReader(page: record) else {
          let (count, shadow) = try Auditor.fields(ofDecision: record)
          if let verdict = verdicts.first { check(shadow: shadow, verdict) }
          return counts = verdicts.filter(\.isFinal).map { ($0.traceID, count) }
        }
        while let entry = try ledger.next(in: record) {
          counts.append((entry.traceID, Int64(clamping: entry.spanCount)))
        }
      }
    } catch { object("a record of '\(topic)' can't be read: \(error)") }
    for (trace, count) in counts { checkCount(count, trace) }
    return verdicts
  }

  /// A span that is published twice counts once.
  private mutating func checkCount(_ said: Int64?, _ trace: TraceID) {
    let published = published[trace]?.spans.count ?? 0
    guard let said, said <= published else {
      object("trace \(trace) has \(published) spans, but its verdict has \(said ?? -1)")
      return
    }
  }

  /// Shadow policies are named where they would change a final verdict.
  private mutating func check(shadow names: [String], _ verdict: RestoredVerdict) {
    guard !names.isEmpty else { return }
    guard verdict.isFinal, !verdict.isRevised else {
      return object("trace \(verdict.traceID): shadow policies in a record that is not of its verdict")
    }
    let (drops, keeps) = (names.contains(Auditor.dropsErrors), names.contains(Auditor.keepsAll))
    let hasErrors = published[verdict.traceID]?.errorSpans ?? 0 > 0
    if verdict.isKept ? !drops || names.count > 1 || !hasErrors : drops || !keeps {
      object("trace \(verdict.traceID) would not have been decided otherwise by \(names)")
    }
  }

  /// The number of spans, and the shadow policies.
  private static func fields(
    ofDecision record: RawSpan
  ) throws(MalformedInput) -> (spans: Int64?, shadow: [String]) {
    var cursor = JSONCursor()
    var count: Int64?
    var shadow: [String] = []
    try cursor.openObject(in: record)
    while let key = try cursor.nextKey(in: record) {
      if try key.spells("span_count", in: record) {
        count = try cursor.number(in: record).int64
      } else if try key.spells("shadow", in: record) {
        try cursor.openArray(in: record)
        while try cursor.nextElement(in: record) {
          shadow.append(String(decoding: try cursor.string(in: record).utf8(in: record), as: UTF8.self))
        }
      } else {
        try cursor.skipValue(in: record)
      }
    }
    return (count, shadow)
  }

  /// Each has its dead letter: without repeats, exactly one.
  private mutating func checkDeadLetters(_ cluster: SimulatedCluster) {
    let letters = cluster.committedRecords(
      of: LogID(topic: SimulatedTopic.deadLetters, partition: PartitionID(0)))
    for (value, what) in [(Auditor.malformedRecord, "records"), (Auditor.rejectedSpan, "spans")] {
      let count = letters.count { $0.value == value }
      if allowsRepeats ? count < spoilt : count != spoilt {
        object("\(spoilt) \(what) were malformed, but there are \(count) dead letters")
      }
    }
  }

  private mutating func count(_ bytes: [UInt8], into kept: inout [TraceID: [UInt64: Int]]) {
    do {
      try bytes.withRawBytes { (bytes) throws(MalformedInput) in try scanned.scan(bytes) }
      for span in scanned.spans {
        kept[span.traceID, default: [:]][span.spanID, default: 0] += 1
        guard links != nil else { continue }
        let sampling = bytes.withRawBytes { TraceStateSampling(span.traceState, of: $0) }
        if sampling.contradictsItself { object("trace \(span.traceID): rv is less than th") }
      }
    } catch {
      object("a record of kept spans can't be read: \(error)")
    }
  }

  private mutating func check(
    _ trace: TraceID, _ facts: PublishedTrace, _ finals: [RestoredVerdict], _ revised: [RestoredVerdict],
    _ kept: [UInt64: Int], mayBePartial: Bool
  ) {
    guard let truth = facts.truth else { return object("trace \(trace) was not published completely") }
    // A trace that is decided again may be kept the second time: its late spans have arrived by then.
    guard finals.count == 1 || allowsRepeats, let final = finals.first(where: \.isKept) ?? finals.first
    else {
      return object("trace \(trace) has \(finals.count) final decisions")
    }
    if revised.count > 1, !allowsRepeats { object("trace \(trace) is recalled \(revised.count) times") }
    if final.isKept, !revised.isEmpty, !allowsRepeats { object("trace \(trace) is kept, and recalled") }
    let verdict = revised.first ?? final
    let twice = kept.count { $0.value > 1 }
    if twice > 0, !allowsRepeats { object("trace \(trace): \(twice) spans are kept more than once") }
    if verdict.isKept {
      let missing = facts.spans.subtracting(kept.keys).count
      if missing > 0, !mayBePartial {
        object("trace \(trace) is kept, but \(missing) of its \(facts.spans.count) spans are missing")
      }
    } else if !kept.isEmpty {
      object("trace \(trace) is dropped, but \(kept.count) of its spans are kept")
    }
    // Whenever the error comes: late spans come within the recall window.
    if truth.hasError || truth.isSlow, !verdict.isKept {
      let when = truth.isOutcomeLate ? ", late," : ""
      object("trace \(trace) has \(truth.hasError ? "an error" : "a slow root")\(when) and is dropped")
    }
  }

  private static func mix(_ hash: UInt64, _ bytes: [UInt8]) -> UInt64 {
    bytes.reduce(hash) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
  }
}

// Searching the index.

public import OTLP

/// What a search asks for.
public struct TraceQuery: Sendable {
  /// In which order traces come.
  public enum Order: String, Sendable {
    case newest
    /// By the duration of the root.
    case longest
    /// By the duration of the whole trace.
    case longestWhole = "longest_whole"
  }

  /// The service of one of the trace's spans, and its operation.
  public var service, operation: String?
  /// Attributes that one span has, its resource's included.
  public var tags: [(key: String, value: String)] = []
  /// A policy among those that keep it; the first of them.
  public var reason, policy: String?
  /// Whether it has an error; nil for either.
  public var hasError: Bool?
  /// Bounds of the root's duration in nanoseconds.
  public var durations: ClosedRange<UInt64> = 0...UInt64.max
  /// Whether the bounds are those of the service's spans, as in Jaeger.
  public var areDurationsOfSpans = false
  /// When the trace started, in nanoseconds since 1970.
  public var times: ClosedRange<Int64> = Int64.min...Int64.max
  /// How many are wanted.
  public var limit = 200
  /// The order.
  public var order = Order.newest

  /// Asks for the newest traces.
  public init() {}
}

/// A trace that a search found.
public struct FoundTrace: Sendable {
  /// Its id, start and duration.
  public var id: TraceID
  /// When it started: nanoseconds since 1970.
  public var start: UInt64
  /// How long its root lasted, in nanoseconds; without a root, the whole trace.
  public var duration: UInt64
  /// From the first start to the last end of any of its spans that were read; at least `duration`.
  public var wholeDuration: UInt64
  /// Its root's names, or empty texts.
  public var service, operation: String
  public var spans, errors: Int
  public var isFinal, isSlow, isLate, isRecalled, isTruncated: Bool
  /// Whether it has logs that are not among its positions.
  public var hasMoreLogs: Bool
  /// The first policy that keeps it, and all of them.
  public var policy: String
  /// All policies that keep it.
  public var reasons: [String]
  /// How many traces it stands for.
  public var adjustedCount: Double
  /// The services with the most spans, at most ten.
  public var services: [(name: String, spans: Int)]
  /// Where its records are.
  public var positions: [RecordPosition]

  /// Appends it as a row of `/v1/traces`.
  public func append(to json: inout JSONText) {
    json.object { json in
      json.set("trace_id", id.description)
      json.set("start_ns", String(start))
      json.set("duration_ns", Double(duration))
      json.set("whole_duration_ns", Double(wholeDuration))
      json.set("service", service)
      json.set("operation", operation)
      json.set("spans", spans)
      json.set("errors", errors)
      json.set("error", errors > 0)
      json.set("slow", isSlow)
      json.set("reason", reasons.first ?? policy)
      json.set("reasons", reasons)
      json.set("policy", policy)
      json.set("adjusted_count", adjustedCount)
      json.key("services")
      json.array { json in
        for each in services {
          json.object {
            $0.set("name", each.name)
            $0.set("spans", each.spans)
          }
        }
      }
      json.set("final", isFinal)
      json.set("late", isLate)
      json.set("recalled", isRecalled)
      json.set("truncated", isTruncated)
    }
  }
}

/// A query with its names as numbers.
private struct Resolved {
  let query: TraceQuery
  var service: UInt32?
  var pair: UInt32?
  var policy: UInt32?
  var tags: [UInt64]

  /// Nil if the index has no such name: then nothing is found.
  init?(_ query: TraceQuery, _ index: borrowing KeptTraceIndex) {
    self.query = query
    tags = query.tags.map { TagFilter.hash(key: Array($0.key.utf8), value: Array($0.value.utf8)) }
    if let name = query.service {
      guard let number = index.names.find(name) else { return nil }
      service = number
      if let operation = query.operation {
        guard let second = index.names.find(operation),
          let found = index.pairs.find(PairPool.Pair(first: number, second: second))
        else { return nil }
        pair = found
      }
    }
    if let name = query.policy {
      guard let number = index.names.find(name) else { return nil }
      policy = number
    }
  }
}

extension KeptTraceIndex {
  /// The traces that a query asks for, and how many there are. Tags are compared by a filter that lets a few
  /// others through: who asks for tags asks the spans again.
  public func search(_ query: TraceQuery) -> (found: [FoundTrace], total: Int) {
    guard let wanted = Resolved(query, self), query.limit > 0 else { return ([], 0) }
    var hits: [(key: UInt64, number: Int)] = []
    for number in rows.start..<rows.end where matches(rows[number], wanted) {
      let row = rows[number]
      let key =
        switch query.order {
        case .newest: row.start
        case .longest: row.duration
        case .longestWhole: row.wholeDuration
        }
      hits.append((key, number))
    }
    hits.sort { $0.key > $1.key }
    return (hits.prefix(query.limit).map { found($0.number) }, hits.count)
  }

  private func matches(_ row: TraceRow, _ wanted: Resolved) -> Bool {
    let query = wanted.query
    guard query.times.contains(Int64(clamping: row.start)) else { return false }
    if let hasError = query.hasError, hasError != row.flags.contains(.hasError) { return false }
    if !query.areDurationsOfSpans, !query.durations.contains(row.duration) { return false }
    if let policy = wanted.policy, row.policy != policy { return false }
    for hash in wanted.tags where !row.tags.mayContain(hash) { return false }
    if let reason = query.reason {
      guard names[row.reasons].split(separator: "\u{1f}").contains(where: { $0 == reason }) else {
        return false
      }
    }
    guard wanted.service != nil || query.operation != nil || query.areDurationsOfSpans else { return true }
    return matchesPairs(row, wanted)
  }

  private func matchesPairs(_ row: TraceRow, _ wanted: Resolved) -> Bool {
    let query = wanted.query
    // Where not all of a trace's operations are listed, its spans decide.
    var isFound = row.flags.contains(.hasMorePairs) && !query.tags.isEmpty
    words.forEach(row.pairs, of: 2) { entry in
      let pair = pairs[entry.0]
      if let service = wanted.service, pair.first != service { return true }
      if let wantedPair = wanted.pair, entry.0 != wantedPair { return true }
      if wanted.service == nil, let operation = query.operation {
        guard PairPool.isName(pair.second), names[pair.second] == operation else { return true }
      }
      if query.areDurationsOfSpans {
        let duration = PairInfo(word: entry.1).duration
        // The list has the longest span of each operation; a shorter one may match.
        guard duration >= query.durations.lowerBound - query.durations.lowerBound / 512 else { return true }
      }
      isFound = true
      return false
    }
    return isFound
  }

  /// A trace by its id.
  public func trace(_ id: TraceID) -> FoundTrace? {
    numbers[id].map { found($0) }
  }

  func found(_ number: Int) -> FoundTrace {
    let row = rows[number]
    var services: [UInt32: Int] = [:]
    words.forEach(row.pairs, of: 2) { entry in
      let pair = pairs[entry.0]
      if PairPool.isName(pair.second) {
        services[pair.first, default: 0] += PairInfo(word: entry.1).count
      }
      return true
    }
    let most = services.map { (name: names[$0.key], spans: $0.value) }
      .sorted { ($1.spans, $0.name) < ($0.spans, $1.name) }
    var positions: [RecordPosition] = []
    words.forEach(row.places, of: 3) { entry in
      let offset = UInt64(entry.1) << 32 | UInt64(entry.2)
      positions.append(
        RecordPosition(
          RecordPosition.Topic(rawValue: entry.0 >> 30) ?? .sampled, partition: Int32(entry.0 & 0x3fff_ffff),
          offset: Int64(bitPattern: offset)))
      return true
    }
    func has(_ flag: TraceRow.Flags) -> Bool { row.flags.contains(flag) }
    return FoundTrace(
      id: row.id, start: row.start, duration: row.duration, wholeDuration: row.wholeDuration,
      service: has(.hasRoot) ? names[row.rootService] : "",
      operation: has(.hasRoot) ? names[row.rootOperation] : "", spans: Int(row.spans),
      errors: Int(row.errors), isFinal: has(.isFinal), isSlow: has(.isSlow), isLate: has(.isLate),
      isRecalled: has(.isRecalled),
      isTruncated: has(.isTruncated), hasMoreLogs: has(.hasMoreLogs),
      policy: has(.isDecided) ? names[row.policy] : "",
      reasons: has(.isDecided) ? names[row.reasons].split(separator: "\u{1f}").map(String.init) : [],
      adjustedCount: row.weight, services: Array(most.prefix(10)), positions: positions)
  }

  /// The traces that are new since `number`, which is 0 or the `end` of an earlier answer: how many, and the
  /// newest, at most 20.
  public func news(
    since number: Int
  ) -> (kept: Int, errors: Int, slow: Int, traces: [FoundTrace], end: Int) {
    let new = max(rows.start, min(number, rows.end))..<rows.end
    let (errors, slow) = new.reduce(into: (0, 0)) { sums, number in
      if rows[number].flags.contains(.hasError) { sums.0 += 1 }
      if rows[number].flags.contains(.isSlow) { sums.1 += 1 }
    }
    return (new.count, errors, slow, new.suffix(20).reversed().map { found($0) }, rows.end)
  }

  /// A service's operations with the kinds of their spans, as Jaeger names them: empty for none. In order of
  /// their names.
  public func operationKinds(of service: String) -> [(name: String, kind: String)] {
    guard let first = names.find(service) else { return [] }
    var found: [(name: String, kind: String)] = []
    for pair in pairs.inUse where pair.first == first && PairPool.isName(pair.second) {
      for kind in pairs.find(pair).map({ pairs.kinds(of: $0) }) ?? [] {
        found.append((names[pair.second], SpanKind.jaegerName(kind) ?? ""))
      }
    }
    return found.sorted { ($0.name, $0.kind) < ($1.name, $1.kind) }
  }

  /// Services and their operations, in order of their names.
  public func serviceNames() -> [(name: String, operations: [String])] {
    var found: [UInt32: Set<UInt32>] = [:]
    for pair in pairs.inUse {
      if PairPool.isName(pair.second) {
        found[pair.first, default: []].insert(pair.second)
      } else {
        found[pair.first, default: []].formUnion([])
      }
    }
    return found.map { service, operations in
      (name: names[service], operations: operations.map { names[$0] }.sorted())
    }.sorted { $0.name < $1.name }
  }
}

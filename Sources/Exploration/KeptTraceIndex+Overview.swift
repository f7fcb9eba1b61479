// Sums over the index: what was kept, by time, reason and service.

/// What was kept in a stretch of log time, cut into steps.
public struct KeptOverview: Sendable {
  /// One reason's share.
  public struct Reason: Sendable {
    /// The first policy.
    public var policy: String
    /// Traces, spans and bytes by step.
    public var kept, spans, bytes: [Double]
  }

  /// One service's share: of the traces that it has spans in.
  public struct Service: Sendable {
    /// Its name.
    public var name: String
    /// Traces, what they stand for, those with an error in this service, its spans.
    public var kept, weight, errors, spans: Double
  }

  /// Where it begins and how long a step is, in nanoseconds.
  public var from, step: Int64
  /// Traces, what they stand for, spans, bytes by step.
  public var kept, weight, spans, bytes: [Double]
  /// By reason, the most frequent first; and by service.
  public var reasons: [Reason]
  /// By service, the most frequent first.
  public var services: [Service]
  /// Traces with an error, and slow ones.
  public var errors = 0, slow = 0

  static let reasonsMax = 64
}

extension KeptTraceIndex {
  /// When the oldest and the newest trace were decided.
  public var span: ClosedRange<Int64>? {
    guard rows.count > 0 else { return nil }
    let oldest = rows[rows.start].time
    return oldest...max(oldest, clock)
  }

  /// Sums up the traces decided from `from` to `to`, in `count` steps.
  public func overview(from: Int64, to: Int64, steps count: Int) -> KeptOverview {
    let count = max(1, count)
    let step = max(1, (to - from) / Int64(count))
    let zeros = [Double](repeating: 0, count: count)
    var sums = KeptOverview(
      from: from, step: step, kept: zeros, weight: zeros, spans: zeros, bytes: zeros, reasons: [],
      services: [])
    var reasons: [UInt32: KeptOverview.Reason] = [:]
    var services: [UInt32: KeptOverview.Service] = [:]
    for number in rows.start..<rows.end where rows[number].time >= from && rows[number].time <= to {
      let row = rows[number]
      let place = min(count - 1, Int((row.time - from) / step))
      sums.kept[place] += 1
      sums.weight[place] += row.weight
      sums.spans[place] += Double(row.spans)
      sums.bytes[place] += Double(row.byteCount)
      if row.flags.contains(.hasError) { sums.errors += 1 }
      if row.flags.contains(.isSlow) { sums.slow += 1 }
      let policy =
        reasons[row.policy] != nil || reasons.count < KeptOverview.reasonsMax ? row.policy : NamePool.other
      var reason =
        reasons.removeValue(forKey: policy)
        ?? KeptOverview.Reason(policy: names[policy], kept: zeros, spans: zeros, bytes: zeros)
      reason.kept[place] += 1
      reason.spans[place] += Double(row.spans)
      reason.bytes[place] += Double(row.byteCount)
      reasons[policy] = reason
      add(row, to: &services)
    }
    sums.reasons = reasons.values.sorted {
      ($1.kept.reduce(0, +), $0.policy) < ($0.kept.reduce(0, +), $1.policy)
    }
    sums.services = services.values.sorted { ($1.kept, $0.name) < ($0.kept, $1.name) }
    return sums
  }

  private func add(_ row: TraceRow, to services: inout [UInt32: KeptOverview.Service]) {
    var own: [UInt32: (spans: Int, hasError: Bool)] = [:]
    words.forEach(row.pairs, of: 2) { entry in
      let pair = pairs[entry.0]
      guard pair.second != PairPool.entry else { return true }
      let info = PairInfo(word: entry.1)
      let known = own[pair.first] ?? (0, false)
      own[pair.first] = (known.spans + info.count, known.hasError || info.hasError)
      return true
    }
    for (service, share) in own {
      services[
        service,
        default: KeptOverview.Service(name: names[service], kept: 0, weight: 0, errors: 0, spans: 0)
      ].add(row.weight, share.spans, share.hasError)
    }
  }
}

extension KeptOverview.Service {
  fileprivate mutating func add(_ weight: Double, _ spans: Int, _ hasError: Bool) {
    kept += 1
    self.weight += weight
    self.spans += Double(spans)
    if hasError { errors += 1 }
  }
}

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
    /// Traces, what they stand for, those with an error in this service, its spans, and its share of the
    /// traces' bytes: as large as its share of their spans.
    public var kept, weight, errors, spans, bytes: Double
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
  ///
  /// It goes through all rows, so it allocates nothing for one: a million take a fraction of a second.
  public func overview(from: Int64, to: Int64, steps count: Int) -> KeptOverview {
    let count = max(1, count)
    let step = max(1, (to - from) / Int64(count))
    let zeros = [Double](repeating: 0, count: count)
    var sums = KeptOverview(
      from: from, step: step, kept: zeros, weight: zeros, spans: zeros, bytes: zeros, reasons: [],
      services: [])
    var reasons = NumberedSums<KeptOverview.Reason>(names: names.capacity)
    var services = NumberedSums<ServiceSum>(names: names.capacity)
    for number in rows.start..<rows.end where rows[number].time >= from && rows[number].time <= to {
      let row = rows[number]
      let place = min(count - 1, Int((row.time - from) / step))
      let (spans, bytes) = (Double(row.spans), Double(row.byteCount))
      sums.kept[place] += 1
      sums.weight[place] += row.weight
      sums.spans[place] += spans
      sums.bytes[place] += bytes
      if row.flags.contains(.hasError) { sums.errors += 1 }
      if row.flags.contains(.isSlow) { sums.slow += 1 }
      let isNamed = reasons.contains(row.policy) || reasons.sums.count < KeptOverview.reasonsMax
      let policy = isNamed ? row.policy : NamePool.other
      let reason = reasons.place(of: policy) {
        KeptOverview.Reason(policy: names[policy], kept: zeros, spans: zeros, bytes: zeros)
      }
      reasons.sums[reason].kept[place] += 1
      reasons.sums[reason].spans[place] += spans
      reasons.sums[reason].bytes[place] += bytes
      add(row, number, to: &services)
    }
    sums.reasons = reasons.sums.sorted {
      ($1.kept.reduce(0, +), $0.policy) < ($0.kept.reduce(0, +), $1.policy)
    }
    sums.services = services.sums.map(\.service).sorted { ($1.kept, $0.name) < ($0.kept, $1.name) }
    return sums
  }

  private func add(_ row: TraceRow, _ number: Int, to services: inout NumberedSums<ServiceSum>) {
    words.forEach(row.pairs, of: 2) { entry in
      let pair = pairs[entry.0]
      guard PairPool.isName(pair.second) else { return true }
      let place = services.place(of: pair.first) {
        ServiceSum(
          service: KeptOverview.Service(
            name: names[pair.first], kept: 0, weight: 0, errors: 0, spans: 0, bytes: 0))
      }
      services.sums[place].add(PairInfo(word: entry.1), of: row, number)
      return true
    }
  }
}

/// A service's sums while rows are gone through, each of which may name it several times.
private struct ServiceSum {
  var service: KeptOverview.Service
  /// The last rows with spans and with errors of it.
  private var lastRow = -1
  private var lastError = -1

  init(service: KeptOverview.Service) { self.service = service }

  mutating func add(_ info: PairInfo, of row: TraceRow, _ number: Int) {
    service.spans += Double(info.count)
    service.bytes += Double(row.byteCount) * Double(info.count) / Double(max(1, row.spans))
    if lastRow != number {
      lastRow = number
      service.kept += 1
      service.weight += row.weight
    }
    if info.hasError, lastError != number {
      lastError = number
      service.errors += 1
    }
  }
}

/// Sums by the numbers of names.
private struct NumberedSums<Sum> {
  var sums: [Sum] = []
  /// By the name's number, the place in `sums`; negative if it has none.
  private var places: [Int32]

  /// - Parameter names: no number is as large.
  init(names: Int) { places = Array(repeating: -1, count: names) }

  func contains(_ name: UInt32) -> Bool { places[Int(name)] >= 0 }

  mutating func place(of name: UInt32, _ make: () -> Sum) -> Int {
    let known = places[Int(name)]
    if known >= 0 { return Int(known) }
    places[Int(name)] = Int32(truncatingIfNeeded: sums.count)
    sums.append(make())
    return sums.count - 1
  }
}

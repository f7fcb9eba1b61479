// What a lane knows of the fleet's kept traces and their links: the topic `links`, read whole.

import OTLP

/// Kept traces whose verdict spreads, and the traces that they link to, as the topic says.
///
/// The lane's samplers share it. Bounded: beyond its limit the oldest entries are forgotten.
public final class LinkTable {
  /// Traces that kept ones link to, and how they are reached.
  private var linked: [TraceID: Known] = [:]
  /// Kept traces, and how many hops away from a trace that policies keep.
  private var kept: [TraceID: Known] = [:]
  /// The same, each once, in the order in which they came; one that has come again since moves on when its
  /// turn to be forgotten comes.
  private var order: [Dated] = []
  private var first = 0
  private let configuration: LinksConfiguration
  /// Entries forgotten because there were too many.
  public private(set) var forgotten: UInt64 = 0

  private struct Known {
    var from: TraceID
    var hops: Int
    var time: Instant
  }

  private struct Dated {
    var traceID: TraceID
    var time: Instant
    var isKept: Bool
  }

  /// Makes an empty table.
  public init(_ configuration: LinksConfiguration) {
    self.configuration = configuration
  }

  /// How many traces it knows.
  public var count: Int { linked.count + kept.count }

  /// Bytes of memory in use, about: a dictionary has an id, a value and a bit for each of its places.
  public var byteCount: Int {
    let place = MemoryLayout<TraceID>.stride + MemoryLayout<Known>.stride + 1
    return (linked.capacity + kept.capacity) * place * 4 / 3 + order.capacity * MemoryLayout<Dated>.stride
  }

  /// Adds an entry of the topic.
  public func merge(_ entry: LinkEntry) {
    guard entry.hops < configuration.maxHops else { return }
    var known = Known(from: entry.traceID, hops: entry.hops, time: entry.keptAt)
    if LinkTable.merge(known, of: entry.traceID, into: &kept) {
      note(entry.traceID, known.time, isKept: true)
    }
    guard configuration.direction.reachesLinked else { return }
    known.hops += 1
    for link in entry.links where LinkTable.merge(known, of: link, into: &linked) {
      note(link, known.time, isKept: false)
    }
  }

  /// Adds what is known of a trace: the way with the fewest hops counts, and it is known for as long as any.
  /// Returns whether nothing was known of it.
  private static func merge(
    _ known: Known, of traceID: TraceID, into table: inout [TraceID: Known]
  ) -> Bool {
    guard let old = table.updateValue(known, forKey: traceID) else { return true }
    var best = known
    if old.hops <= known.hops { (best.from, best.hops) = (old.from, old.hops) }
    best.time = max(old.time, known.time)
    table[traceID] = best
    return false
  }

  private func note(_ traceID: TraceID, _ time: Instant, isKept: Bool) {
    order.append(Dated(traceID: traceID, time: time, isKept: isKept))
    while count > configuration.tracesMax, first < order.endIndex { if forgetFirst() { forgotten += 1 } }
    pack()
  }

  /// Forgets what was kept before `time`, as far as it came before anything later.
  public func forget(before time: Instant) {
    while first < order.endIndex, order[first].time < time { _ = forgetFirst() }
    pack()
  }

  /// Forgets the first trace; one that has come again since moves to the end instead, with its time. So each
  /// is passed at most once more than it came. Returns whether one was forgotten.
  private func forgetFirst() -> Bool {
    var dated = order[first]
    first += 1
    let known = dated.isKept ? kept[dated.traceID] : linked[dated.traceID]
    if let known, known.time > dated.time {
      dated.time = known.time
      order.append(dated)
      return false
    }
    if dated.isKept { kept[dated.traceID] = nil } else { linked[dated.traceID] = nil }
    return true
  }

  private func pack() {
    guard first > 1024, first > order.count / 2 else { return }
    order.removeFirst(first)
    first = 0
  }

  /// How a kept trace that links to `traceID` reaches it, for a partition whose clock is `clock`; nil if none
  /// is known.
  func reach(linked traceID: TraceID, at clock: Instant) -> LinkReach? {
    guard !linked.isEmpty, let known = linked[traceID], isRemembered(known, at: clock) else { return nil }
    return LinkReach(from: known.from, hops: known.hops)
  }

  /// How a trace that links to `traceID` is reached, if that is kept and its verdict spreads to it.
  func reach(linkingTo traceID: TraceID, at clock: Instant) -> LinkReach? {
    guard configuration.direction.reachesLinking, let known = kept[traceID], isRemembered(known, at: clock)
    else { return nil }
    return LinkReach(from: traceID, hops: known.hops + 1)
  }

  /// How many hops away a kept trace is from one that policies keep; nil if its verdict does not spread.
  func hops(ofKept traceID: TraceID) -> Int? { kept[traceID]?.hops }

  /// Passes all traces that kept ones link to, in the order in which they came.
  func forEachLinked(at clock: Instant, _ body: (TraceID, LinkReach) -> Void) {
    for dated in order[first...] where !dated.isKept {
      guard let known = linked[dated.traceID], isRemembered(known, at: clock) else { continue }
      body(dated.traceID, LinkReach(from: known.from, hops: known.hops))
    }
  }

  private func isRemembered(_ known: Known, at clock: Instant) -> Bool {
    known.time + configuration.remember > clock
  }
}

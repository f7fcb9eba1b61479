// One trace before it is encoded: a tree of spans in time.

import OTLP

/// A span to encode.
struct PlannedSpan {
  var id: UInt64
  /// The parent's index in the plan; nil for the root.
  var parent: Int?
  var service: Int
  var operation: Int
  /// 1 internal, 2 server, 3 client, 4 producer, 5 consumer.
  var kind: UInt64
  /// By a clock that all services agree on.
  var start: Int64
  var end: Int64
  var isError = false
  /// The traces that it links to.
  var links: [TraceID] = []
}

/// Grows traces: services call services, do internal work, and now and then send a message.
struct TracePlanner {
  let options: WorkloadOptions

  /// Plans the spans of one trace, parents before children.
  func plan(startingAt start: Int64, using random: inout RandomSource) -> [PlannedSpan] {
    let count = spanCount(using: &random)
    var spans = [root(startingAt: start, using: &random)]
    while spans.count < count {
      // Most work hangs off one of the latest spans: that gives both deep chains and wide fans.
      let recent = max(0, spans.count - 8)
      let parent =
        random.chance(0.6) ? random.number(in: recent...spans.count - 1) : random.number(in: 0...recent)
      grow(&spans, under: parent, room: count - spans.count, using: &random)
    }
    if random.chance(options.asyncShare) { sendMessage(&spans, using: &random) }
    if random.chance(options.errorShare) { fail(&spans, using: &random) }
    return spans
  }

  private func spanCount(using random: inout RandomSource) -> Int {
    max(1, Int(random.skewed(mean: options.spansPerTrace * 0.98).rounded()))
  }

  private func root(startingAt start: Int64, using random: inout RandomSource) -> PlannedSpan {
    let threshold = Double(options.slowThresholdNanoseconds)
    let isSlow = random.chance(options.slowShare)
    let duration =
      isSlow
      ? random.number(from: 1.25, to: 4) * threshold
      : min(0.75 * threshold, 1e6 + random.skewed(mean: 0.05 * threshold))
    // Entry points follow a power law: the first services get most of the traffic.
    let rank = random.unit() * random.unit()
    let service = Int(rank * Double(options.services))
    return PlannedSpan(
      id: nonZero(&random), parent: nil, service: service, operation: random.number(in: 0...4), kind: 2,
      start: start, end: start + Int64(duration))
  }

  /// Adds a call to another service (a client span and its server span) or some internal work.
  private func grow(
    _ spans: inout [PlannedSpan], under parent: Int, room: Int, using random: inout RandomSource
  ) {
    let (start, end) = interval(inside: spans[parent], using: &random)
    let service = spans[parent].service
    if room < 2 || random.chance(0.3) {
      spans.append(
        PlannedSpan(
          id: nonZero(&random), parent: parent, service: service, operation: random.number(in: 5...9),
          kind: 1,
          start: start, end: end))
      return
    }
    // A service calls a few others, always the same ones.
    let callee = (service * 7 + 3 + random.number(in: 0...2)) % options.services
    let operation = random.number(in: 0...4)
    spans.append(
      PlannedSpan(
        id: nonZero(&random), parent: parent, service: service, operation: operation, kind: 3, start: start,
        end: end))
    let network = (end - start) / 10
    spans.append(
      PlannedSpan(
        id: nonZero(&random), parent: spans.count - 1, service: callee, operation: operation, kind: 2,
        start: start + network, end: end - network))
  }

  private func interval(inside parent: PlannedSpan, using random: inout RandomSource) -> (Int64, Int64) {
    let length = Double(parent.end - parent.start)
    let start = parent.start + Int64(length * random.number(from: 0.02, to: 0.6))
    let rest = Double(parent.end - start)
    return (start, start + Int64(rest * random.number(from: 0.1, to: 0.95)))
  }

  /// A message goes to a queue; its consumer works after the sender has continued, perhaps after the root's
  /// end.
  private func sendMessage(_ spans: inout [PlannedSpan], using random: inout RandomSource) {
    let sender = random.number(in: 0...spans.count - 1)
    let (start, end) = interval(inside: spans[sender], using: &random)
    let operation = random.number(in: 10...11)
    spans.append(
      PlannedSpan(
        id: nonZero(&random), parent: sender, service: spans[sender].service, operation: operation, kind: 4,
        start: start, end: end))
    let wait = Int64(random.number(from: 2e8, to: 2e9))
    spans.append(
      PlannedSpan(
        id: nonZero(&random), parent: spans.count - 1,
        service: (spans[sender].service + 5) % options.services,
        operation: operation, kind: 5, start: end + wait, end: end + wait + Int64(random.skewed(mean: 1e8))))
  }

  /// A deep span fails; its callers fail with it, up to one that handles the error.
  private func fail(_ spans: inout [PlannedSpan], using random: inout RandomSource) {
    var failing: Int? = random.number(in: spans.count / 2...spans.count - 1)
    while let current = failing {
      spans[current].isError = true
      failing = random.chance(0.6) ? spans[current].parent : nil
    }
  }

  private func nonZero(_ random: inout RandomSource) -> UInt64 {
    random.next() | 1
  }
}

/// Decides which traces link to which.
struct LinkPlanner: Sendable {
  private let share: Double
  /// A separate source, so that links change nothing else.
  private var random: RandomSource
  /// The latest traces,
  private var latest: [TraceID] = []
  /// and the one that comes next.
  private var next: TraceID

  private static let latestMax = 6

  init(_ options: WorkloadOptions) {
    share = options.linkShare
    random = RandomSource(seed: options.seed ^ 0x11_4c)
    next = TraceID(high: random.next(), low: random.next() | 1)
  }

  /// Gives the next trace its id, and some of its spans their links.
  mutating func link(_ spans: inout [PlannedSpan], of identity: inout TraceIdentity) {
    (identity.high, identity.low) = (next.high, next.low)
    let own = next
    next = TraceID(high: random.next(), low: random.next() | 1)
    if random.chance(share), let last = latest.last {
      let place = random.chance(0.5) ? 0 : random.number(in: 0...spans.count - 1)
      let other = random.chance(0.6) ? last : latest[random.number(in: 0...latest.count - 1)]
      spans[place].links.append(other)
      if random.chance(0.2) { spans[place].links.append(latest[0]) }
    }
    if random.chance(share / 8) { spans[random.number(in: 0...spans.count - 1)].links.append(next) }
    latest.append(own)
    if latest.count > LinkPlanner.latestMax { latest.removeFirst() }
  }
}

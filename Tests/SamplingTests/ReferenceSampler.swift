// The sampler again, without any of its data structures: dictionaries, arrays and decoded spans.

import Testing

@testable import OTLP
@testable import Sampling

/// A decision in the form that both samplers can express.
struct Verdict: Equatable {
  var trace: UInt64
  var isKept, isFinal, isLate: Bool
  var trigger: Decision.Trigger
  var reasons: [String]
  var threshold: SamplingThreshold
  var spanCount, errorCount, truncatedCount: Int
  var root: String?
  var origin: UInt64?
  var duration: Int64
  var firstOffset, lastOffset: Int64
  var decidedAt: Instant
  /// The shadow policies that would change it.
  var shadow: [String] = []
}

enum ReferenceEvent: Equatable {
  case verdict(Verdict)
  /// Spans forwarded for a trace: ids and thresholds.
  case kept(UInt64, [UInt64], [String])
}

/// Keeps every span and examines all of them each time. For records of small traces that fit one portion.
struct ReferenceSampler {
  private struct Trace {
    var id: UInt64
    var firstOffset, lastOffset: Int64
    var openedAt: Instant
    var rootArrivedAt: Instant?
    var isRootWaitOver = false
    var waitsOn = false
    var spans: [TestSpan] = []
    /// The bytes of the spans that are remembered: all, except in a trace that stays over a limit for long.
    var known: [[UInt8]] = []
    var isKept = false
    var isSkeleton = false
    var beyondLimit = 0
    var truncated = 0
    var threshold = SamplingThreshold.never
  }

  private struct Past {
    var isKept: Bool
    var isSkeleton: Bool
    var threshold: SamplingThreshold
    var decidedAt: Instant
    var reported: [String] = []
    /// For a dropped trace: when it began, and whether its root has arrived, as they are remembered.
    var facts: PastVerdict
    var known: [[UInt8]]
  }

  var configuration: SamplerConfiguration
  private var open: [Trace] = []
  private var past: [UInt64: Past] = [:]
  private(set) var clock = Instant.distantPast
  private(set) var events: [ReferenceEvent] = []

  init(_ configuration: SamplerConfiguration) {
    self.configuration = configuration
  }

  var safeOffset: Int64? {
    (open.map(\.firstOffset) + (isSettled ? dissents.prefix(1).map(\.offset) : [])).min()
  }

  /// The offset of the next record.
  private var nextOffset: Int64 = 0

  mutating func read(_ spans: [TestSpan], offset: Int64, at time: Instant) {
    observe(time, at: offset)
    nextOffset = offset + 1
    var order: [UInt64] = []
    for span in spans where !order.contains(span.trace) { order.append(span.trace) }
    for id in order { take(id, spans.filter { $0.trace == id }, offset) }
  }

  // MARK: The clock, each time from all timestamps since the last ordinary one

  fileprivate struct Dissent {
    var time: Instant
    var offset: Int64
    var clock: Instant
    var isAhead: Bool
  }

  private var dissents: [Dissent] = []
  private var votes = 0
  private var firstOffset: Int64 = 0
  private var isSettled = false
  private(set) var refuted = 0

  private mutating func observe(_ time: Instant, at offset: Int64) {
    let (lead, witnesses) = (configuration.clockLead, configuration.clockWitnesses)
    guard clock != .distantPast, witnesses > 1 else {
      (votes, firstOffset, isSettled) = (1, offset, witnesses == 1)
      return pass(to: time)
    }
    guard time > clock + lead || time < clock - lead else {
      votes += 1
      if !isSettled, votes < min(8, witnesses) { return pass(to: time) }
      refuted += dissents.count(where: \.isAhead)
      settle()
      return pass(to: time)
    }
    let isAhead = time > clock
    if !isAhead, !isSettled, dissents.contains(where: { !$0.isAhead && $0.isApart(from: time, lead) }) {
      dissents.removeAll { !$0.isAhead }
    }
    dissents.append(Dissent(time: time, offset: offset, clock: clock, isAhead: isAhead))
    let alike = dissents.filter { $0.isAhead == isAhead }
    let times = alike.map(\.time)
    guard let first = alike.first, let earliest = times.min(), let latest = times.max() else { return }
    let isRight =
      isSettled
      ? alike.count >= witnesses && latest - earliest >= lead
      : alike.count >= (isAhead ? min(8, witnesses) : 2)
    guard isRight else { return }
    guard isAhead else { return turnBack(to: latest) }
    if isSettled {
      jump(alike, since: first.offset, first.clock)
    } else {
      jump(alike, since: firstOffset, .distantPast)
    }
  }

  /// Whether the clock was set back since it last jumped.
  private var isTurnedBack = false

  private mutating func settle() {
    isSettled = true
    dissents = []
  }

  private mutating func jump(_ ahead: [Dissent], since offset: Int64, _ clockThen: Instant) {
    var own = ahead[0].time
    for time in ahead.map(\.time) {
      if time < own - configuration.clockLead || (time > own && time <= own + configuration.clockLead) {
        own = time
      }
    }
    settle()
    guard own > clock else { return }
    // After it was set back, the clock returns to where it was: everything open is recent.
    for place in open.indices {
      if isTurnedBack || open[place].firstOffset >= offset { open[place].openedAt = own }
      if let root = open[place].rootArrivedAt, isTurnedBack || root >= clockThen {
        open[place].rootArrivedAt = own
      }
    }
    isTurnedBack = false
    pass(to: own)
  }

  private mutating func turnBack(to time: Instant) {
    if time < clock { trickle.turnBack(from: clock, to: time) }
    if !isSettled { refuted += votes }
    settle()
    isTurnedBack = isTurnedBack || time < clock
    clock = time
    if let last = steps.last { steps[steps.count - 1].clock = min(last.clock, time) }
    for place in open.indices {
      open[place].openedAt = min(open[place].openedAt, time)
      open[place].rootArrivedAt = open[place].rootArrivedAt.map { min($0, time) }
    }
    past = past.mapValues { verdict in
      var verdict = verdict
      verdict.decidedAt = min(verdict.decidedAt, time)
      verdict.facts.turnBack(to: time)
      return verdict
    }
  }

  /// Time passes without a record.
  mutating func wait(to time: Instant) {
    pass(to: time)
    guard isSettled, let first = dissents.first, !open.contains(where: { $0.firstOffset >= first.offset })
    else { return }
    dissents = []
  }

  private mutating func pass(to time: Instant) {
    guard time > clock else { return }
    clock = time
    while let (place, deadline, trigger) = nextDeadline(), deadline <= clock {
      if trigger == .root, !isComplete(open[place]) || waitsOn(place) {
        open[place].isRootWaitOver = true
      } else {
        close(place, trigger)
      }
    }
    forget()
  }

  /// The offsets from which verdicts were forgotten, and the clock then.
  private var steps: [(offset: Int64, clock: Instant)] = []

  /// Forgets verdicts in steps of a 32nd of the late window, or a quarter of the time since the safe offset.
  private mutating func forget() {
    let late = configuration.windows.lateWindow
    if steps.isEmpty { steps = [(nextOffset, clock)] }
    guard past.values.contains(where: { $0.decidedAt + late <= clock }), moveStep() else { return }
    past = past.filter { $0.value.decidedAt + late > clock }
  }

  /// Makes a step unless the last one is too near.
  private mutating func moveStep() -> Bool {
    while steps.count > 1, steps[1].offset <= safeOffset ?? nextOffset { steps.removeFirst() }
    guard let first = steps.first, let last = steps.last else { return false }
    let stretch = steps.count < 20 ? 0 : (clock - first.clock).nanoseconds / 4
    let least = max(configuration.windows.lateWindow.nanoseconds / 16, stretch, 1)
    guard (clock - last.clock).nanoseconds >= least else { return false }
    if last.offset == nextOffset { steps.removeLast() }
    steps.append((nextOffset, clock))
    return true
  }

  mutating func relieveAll() {
    while let place = open.firstIndex(where: { !$0.isKept }) { close(place, .memory) }
  }

  /// The trace whose window ends first. The end of the whole wait comes before an equal end of the root's.
  private func nextDeadline() -> (place: Int, deadline: Instant, trigger: Decision.Trigger)? {
    var ends: [(place: Int, deadline: Instant, trigger: Decision.Trigger)] = []
    if let first = open.first { ends.append((0, first.openedAt + configuration.windows.decisionWait, .wait)) }
    // Those whose roots arrived at the same time end in the order of the records, and of the spans in them.
    let rooted = open.indices.filter { open[$0].rootArrivedAt != nil && !open[$0].isRootWaitOver }
    for place in rooted {
      guard let root = open[place].rootArrivedAt else { continue }
      ends.append((place, root + configuration.windows.decisionWaitAfterRoot, .root))
    }
    return ends.min { left, right in
      if left.deadline != right.deadline { return left.deadline < right.deadline }
      if left.trigger != right.trigger { return left.trigger == .wait }
      return rootOrder(left.place) < rootOrder(right.place)
    }
  }

  private func rootOrder(_ place: Int) -> Int { rootSequence[open[place].id] ?? 0 }

  private var rootSequence: [UInt64: Int] = [:]
  private var rootsSeen = 0

  private mutating func take(_ id: UInt64, _ spans: [TestSpan], _ offset: Int64) {
    if let place = open.firstIndex(where: { $0.id == id }) {
      takeOpen(place, spans, offset)
    } else if let verdict = past[id] {
      var known = verdict.known
      let new = verdict.isSkeleton ? spans : fresh(spans, &known)
      past[id]?.known = known
      if !new.isEmpty { takeLate(id, new, offset, verdict) }
    } else {
      open.append(Trace(id: id, firstOffset: offset, lastOffset: offset, openedAt: clock))
      takeOpen(open.count - 1, spans, offset)
    }
  }

  /// The spans that are new, byte for byte. Beyond a limit only a number of spans is remembered; errors and
  /// roots, which are forwarded, up to half as many more.
  private func fresh(_ spans: [TestSpan], _ known: inout [[UInt8]], limit: Int? = nil) -> [TestSpan] {
    spans.filter { span in
      let isWanted = span.parent == 0 || span.status == .error
      if known.contains(span.bytes) { return false }
      let most = limit.map { $0 * (isWanted ? 3 : 2) } ?? .max
      if known.count < most { known.append(span.bytes) }
      return true
    }
  }

  private mutating func takeOpen(_ place: Int, _ all: [TestSpan], _ offset: Int64) {
    var known = open[place].known
    let spans = fresh(all, &known, limit: open[place].isKept ? configuration.limits.spansPerTrace : nil)
    open[place].known = known
    guard !spans.isEmpty else { return }
    let before = open[place].spans
    open[place].lastOffset = offset
    open[place].spans += spans
    if open[place].rootArrivedAt == nil, spans.contains(where: { $0.parent == 0 }) {
      open[place].rootArrivedAt = clock
      rootSequence[open[place].id] = rootsSeen
      rootsSeen += 1
    }
    let isOver = open[place].spans.count > configuration.limits.spansPerTrace
    if !open[place].isKept, isOver || !certain(open[place]).isEmpty {
      open[place].isKept = true
      open[place].threshold = .always
      say(place, isOver ? .limit : .eager, certain(open[place]), isFinal: false)
      if isOver {
        hand(open[place].id, before, .always)
      } else {
        hand(open[place].id, open[place].spans, .always)
      }
      if isOver { takeOverLimit(place, spans) }
    } else if open[place].isKept {
      if isOver { takeOverLimit(place, spans) } else { hand(open[place].id, spans, .always) }
    }
    if open[place].isRootWaitOver, isComplete(open[place]), !waitsOn(place) { close(place, .root) }
  }

  /// A trace that has shown asynchronous work, or nothing but its root, waits, unless its keep is certain:
  /// any trace may still get an error.
  private mutating func waitsOn(_ place: Int) -> Bool {
    let spans = open[place].spans
    let isLone = configuration.windows.loneRootsWait && spans.count == 1
    let mayGoOn = isLone || spans.contains { $0.kind == 4 || $0.kind == 5 || $0.links > 0 }
    if mayGoOn, certain(open[place]).isEmpty { open[place].waitsOn = true }
    return open[place].waitsOn
  }

  private mutating func takeOverLimit(_ place: Int, _ spans: [TestSpan]) {
    open[place].isSkeleton = true
    var chosen: [TestSpan] = []
    var number = open[place].spans.count - spans.count
    for span in spans {
      number += 1
      if number <= configuration.limits.spansPerTrace {
        chosen.append(span)
      } else if span.parent == 0 || span.status == .error,
        open[place].beyondLimit < configuration.limits.spansPerTrace
      {
        open[place].beyondLimit += 1
        chosen.append(span)
      } else {
        open[place].truncated += 1
      }
    }
    hand(open[place].id, chosen, .always)
  }

  private mutating func takeLate(_ id: UInt64, _ spans: [TestSpan], _ offset: Int64, _ verdict: Past) {
    guard !verdict.isSkeleton else { return }
    guard !verdict.isKept else { return hand(id, spans, verdict.threshold) }
    let errors = spans.filter { $0.status == .error }.count
    let starts = spans.map(\.startNanoseconds).min() ?? 0
    let ends = spans.map(\.endNanoseconds).max() ?? 0
    let roots = spans.filter { $0.parent == 0 }
    var facts = verdict.facts
    facts.note(
      earliestStart: min(facts.earliestStart, starts), hasRoot: facts.hasRoot || !roots.isEmpty,
      isVetoed: false)
    past[id]?.facts = facts
    var missed: [String] = []
    if errors > 0 { missed.append("errors") }
    let isLong = ends > facts.earliestStart && ends - facts.earliestStart >= 2_010_000_000
    let isSlow = facts.hasRoot ? roots.contains { $0.end - $0.start >= 2000 } : isLong
    if isSlow { missed.append("slow") }
    missed.removeAll(where: verdict.reported.contains)
    guard !missed.isEmpty else { return }
    past[id]?.reported += missed
    events.append(
      .verdict(
        Verdict(
          trace: id, isKept: false, isFinal: false, isLate: true, trigger: .late, reasons: missed,
          threshold: .never, spanCount: spans.count, errorCount: errors, truncatedCount: 0,
          root: roots.first?.name, origin: nil, duration: Int64(max(ends, starts) - starts),
          firstOffset: offset, lastOffset: offset, decidedAt: clock)))
  }

  private mutating func close(_ place: Int, _ trigger: Decision.Trigger) {
    let wasKept = open[place].isKept
    let reasons = certain(open[place], atEnd: true)
    let isSampled = baseline(open[place])
    if !wasKept {
      open[place].isKept = !reasons.isEmpty || isSampled
      if open[place].isKept { open[place].threshold = reasons.isEmpty ? baselineThreshold : .always }
    }
    let shadow = shadowed(open[place])
    say(place, trigger, reasons + (isSampled ? ["baseline"] : []), isFinal: true, shadow: shadow)
    if open[place].isKept, !wasKept { hand(open[place].id, open[place].spans, open[place].threshold) }
    var facts = PastVerdict(
      traceID: TraceID(high: 0, low: 1), isKept: open[place].isKept, threshold: open[place].threshold,
      decidedAt: clock)
    if !open[place].isKept {
      facts.note(
        earliestStart: open[place].spans.map(\.startNanoseconds).min() ?? 0,
        hasRoot: open[place].spans.contains { $0.parent == 0 }, isVetoed: false)
    }
    if past.isEmpty { _ = moveStep() }
    past[open[place].id] = Past(
      isKept: open[place].isKept, isSkeleton: open[place].isSkeleton, threshold: open[place].threshold,
      decidedAt: clock, facts: facts, known: open[place].known)
    open.remove(at: place)
  }

  // MARK: Shadow policies

  /// Tokens in billionths, counted from the start.
  private struct Trickle {
    static let perSecond: Int64 = 2
    static let burst: Int64 = 12
    var level = Trickle.burst * 1_000_000_000
    var at = Instant.distantPast

    private mutating func fill(to time: Instant) {
      guard time > at else { return }
      let isLong = at == .distantPast || time - at > .seconds(100)
      let elapsed = isLong ? 100_000_000_000 : (time - at).nanoseconds
      level = min(Trickle.burst * 1_000_000_000, level + elapsed * Trickle.perSecond)
      at = time
    }

    mutating func take(_ spans: Int, at time: Instant) -> Bool {
      fill(to: time)
      guard Int64(spans) * 1_000_000_000 <= level else { return false }
      level -= Int64(spans) * 1_000_000_000
      return true
    }

    mutating func turnBack(from clock: Instant, to time: Instant) {
      fill(to: clock)
      at = time
    }
  }

  /// Four policies that decide nothing, of one kind each.
  static let shadow = [
    Policy(name: "ok", rule: .statusCode([.ok])),
    Policy(name: "few", rule: .drop([.spanCount(least: 1, most: 2)])),
    Policy(
      name: "trickle", rule: .rateLimiting(RateLimit(perSecond: Trickle.perSecond, burst: Trickle.burst))),
    Policy(
      name: "first", rule: .patternAttribute(key: "service.name", patterns: ["^service [12]$"])),
  ]

  private var trickle = Trickle()

  /// The shadow policies that would change the verdict on a trace.
  private mutating func shadowed(_ trace: Trace) -> [String] {
    guard !configuration.shadow.isEmpty else { return [] }
    let hasRoom = trickle.take(trace.spans.count, at: clock)
    if trace.isKept { return trace.spans.count <= 2 && !trace.isSkeleton ? ["few"] : [] }
    var names: [String] = []
    if trace.spans.contains(where: { $0.status == .ok }) { names.append("ok") }
    if hasRoom { names.append("trickle") }
    if trace.spans.contains(where: { ["service 1", "service 2"].contains($0.service) }) {
      names.append("first")
    }
    return names
  }

  // MARK: What is known of a trace, each time from all its spans

  private let baselineThreshold = SamplingThreshold(probability: 0.25)

  /// The policies that match for good; `atEnd`, those that match, except the baseline.
  private func certain(_ trace: Trace, atEnd: Bool = false) -> [String] {
    var names: [String] = []
    if trace.spans.contains(where: { $0.status == .error }) { names.append("errors") }
    let roots = trace.spans.filter { $0.parent == 0 }
    if roots.contains(where: { $0.end - $0.start >= 2000 }) { names.append("slow") }
    if roots.isEmpty, atEnd, envelope(trace) >= 2_010_000_000 { names.append("slow") }
    return names
  }

  private func envelope(_ trace: Trace) -> Int64 {
    let start = trace.spans.map(\.startNanoseconds).min() ?? 0
    let end = trace.spans.map(\.endNanoseconds).max() ?? 0
    return end > start ? Int64(end - start) : 0
  }

  private func baseline(_ trace: Trace) -> Bool {
    baselineThreshold.keeps(randomness: trace.id & 0x00ff_ffff_ffff_ffff)
  }

  /// As the sampler sees it: by filters, which have their own tests.
  private func isComplete(_ trace: Trace) -> Bool {
    var seen = IdentifierFilter()
    var named = IdentifierFilter()
    for span in trace.spans {
      seen.insert(span.id)
      if span.parent != 0 { named.insert(span.parent) }
    }
    return named.isCovered(by: seen)
  }

  private func incoming(_ trace: Trace) -> SamplingThreshold {
    let roots = trace.spans.filter { $0.parent == 0 }
    let heads = roots.isEmpty ? trace.spans : roots
    return heads.map(\.headThreshold).max() ?? .always
  }

  private func origin(_ trace: Trace) -> UInt64? {
    let errors = trace.spans.filter { $0.status == .error }.prefix(configuration.limits.errorSpansPerTrace)
    let childless = errors.filter { candidate in !errors.contains { $0.parent == candidate.id } }
    let candidates = childless.isEmpty ? Array(errors) : Array(childless)
    return candidates.min { ($0.end, $0.id) < ($1.end, $1.id) }?.id
  }

  private mutating func say(
    _ place: Int, _ trigger: Decision.Trigger, _ matching: [String], isFinal: Bool, shadow: [String] = []
  ) {
    let trace = open[place]
    let roots = trace.spans.filter { $0.parent == 0 }
    let firstRoot = roots.min { $0.start < $1.start }
    var reasons = matching
    if trace.isSkeleton || (trace.isKept && matching.isEmpty) { reasons.append("trace_limit") }
    events.append(
      .verdict(
        Verdict(
          trace: trace.id, isKept: trace.isKept, isFinal: isFinal, isLate: false, trigger: trigger,
          reasons: reasons, threshold: trace.isKept ? max(trace.threshold, incoming(trace)) : .never,
          spanCount: trace.spans.count, errorCount: trace.spans.filter { $0.status == .error }.count,
          truncatedCount: trace.truncated, root: firstRoot?.name, origin: origin(trace),
          duration: roots.map { max(0, $0.end - $0.start) * 1_000_000 }.max() ?? envelope(trace),
          firstOffset: trace.firstOffset, lastOffset: trace.lastOffset, decidedAt: clock, shadow: shadow)))
  }

  private mutating func hand(_ id: UInt64, _ spans: [TestSpan], _ threshold: SamplingThreshold) {
    guard !spans.isEmpty else { return }
    let states = spans.map { span in
      var text = Array("ot=th:".utf8)
      max(threshold, span.headThreshold).appendHexadecimal(to: &text)
      return String(decoding: text, as: UTF8.self)
    }
    events.append(.kept(id, spans.map(\.id), states))
  }
}

extension ReferenceSampler.Dissent {
  func isApart(from other: Instant, _ lead: Interval) -> Bool { time > other + lead || time < other - lead }
}

extension TestSpan {
  fileprivate var bytes: [UInt8] {
    var writer = WireWriter()
    write(to: &writer)
    return writer.bytes
  }

  /// The threshold in a tracestate of the form `ot=th:` and hexadecimal digits.
  fileprivate var headThreshold: SamplingThreshold {
    let digits = traceState.dropFirst("ot=th:".count)
    guard let value = UInt64(digits, radix: 16) else { return .always }
    return SamplingThreshold(rejected: value << UInt64(4 * (14 - digits.count)))
  }
}

// Random streams: the sampler and the reference must agree, event by event.

import Simulation
import Testing

@testable import OTLP
@testable import Sampling

/// One step of a random stream.
enum Step {
  case spans([TestSpan], at: Int64)
  case time(Int64)
  case relief
}

/// A random stream of small traces: children before roots, errors, slow roots, missing parents, mixed
/// records, late spans, silences, thresholds of head sampling, traces that exceed `spansPerTrace`, and
/// redelivered spans, whole records and single ones.
func randomStream(seed: UInt64, steps: Int) -> [Step] {
  var random = RandomSource(seed: seed)
  var time: Int64 = 0
  var traces: [UInt64] = []
  var sent: [[TestSpan]] = []
  return (0..<steps).map { _ in
    if random.chance(0.01) { return .relief }
    if random.chance(0.1) {
      time += Int64(random.chance(0.1) ? random.number(in: 10_000...90_000) : random.number(in: 1...3000))
      return .time(time)
    }
    if let again = sent.suffix(random.chance(0.5) ? 5 : 100).randomElement(using: &random),
      random.chance(0.08)
    {
      return .spans(
        random.chance(0.5) ? again : again.filter { _ in random.chance(0.7) } + [again[0]], at: time)
    }
    var spans = (0..<random.number(in: 1...5)).map { _ -> TestSpan in
      if traces.isEmpty || random.chance(0.3) { traces.append(random.next()) }
      let trace = traces[random.number(in: max(0, traces.count - 30)...traces.count - 1)]
      var span = TestSpan(trace: trace, id: UInt64(random.number(in: 1...9)))
      span.parent = span.id == 1 || random.chance(0.03) ? 0 : UInt64(random.number(in: 1...9))
      span.start = Int64(random.number(in: 0...400))
      span.end = span.start + Int64(random.chance(0.04) ? 2500 : random.number(in: 0...1500))
      span.status = random.chance(0.05) ? .error : random.chance(0.3) ? .ok : .unset
      span.service = "service \(random.number(in: 1...4))"
      span.name = "operation \(random.number(in: 1...4)) from \(span.start)"
      // Head sampling is consistent: a trace's spans have one threshold, or were made before it and have
      // none.
      if trace % 5 == 0 { span.kind = UInt64(random.number(in: 1...5)) }
      if trace % 7 == 0, random.chance(0.2) { span.links = random.number(in: 1...2) }
      if trace % 3 == 0, random.chance(0.8) { span.traceState = trace % 2 == 0 ? "ot=th:8" : "ot=th:fa" }
      return span
    }
    if random.chance(0.05) { spans += sent.last?.prefix(2) ?? spans.prefix(1) }
    if random.chance(0.05) { spans.append(spans[0]) }
    sent.append(spans)
    if random.chance(0.8) { time += Int64(random.number(in: 0...500)) }
    return .spans(spans, at: time)
  }
}

/// The stream with gaps, and with records of hosts whose clocks are wrong, some of them many at once.
func withWrongClocks(_ steps: [Step], seed: UInt64) -> [Step] {
  var random = RandomSource(seed: seed ^ 0xc10c)
  var gaps: Int64 = 0
  var (wrong, left): (Int64, Int) = (3_000_000, seed % 3 == 0 ? 1 : 0)
  return steps.map { step in
    if random.chance(0.01) { gaps += Int64(random.number(in: 2000...80_000)) }
    if left == 0, random.chance(0.04) {
      left = random.number(in: 1...12)
      wrong = Int64(random.number(in: 0...200)) * 1000 - 100_000
    }
    switch step {
    case .spans(let spans, let time):
      guard left > 0 else { return .spans(spans, at: time + gaps) }
      left -= 1
      return .spans(spans, at: time + gaps + wrong)
    case .time(let time): return .time(time + gaps)
    case .relief: return .relief
    }
  }
}

@Suite struct ReferenceTests {
  private func configuration() -> SamplerConfiguration {
    var configuration = SamplerConfiguration()
    configuration.windows.lateWindow = .seconds(40)
    configuration.limits.spansPerTrace = 6
    configuration.limits.segmentBytes = 1 << 12
    configuration.policies[2].rule = .probabilistic(SamplingThreshold(probability: 0.25))
    configuration.dropped = .full
    return configuration
  }

  @Test(arguments: 1...12) func sayTheSame(seed: UInt64) throws {
    var configuration = configuration()
    configuration.clockWitnesses = 1
    configuration.windows.loneRootsWait = seed % 2 == 0
    if seed % 4 < 2 { configuration.shadow = ReferenceSampler.shadow }
    let counters = try sayTheSame(randomStream(seed: seed, steps: 1500), configuration)
    // The stream has a bit of everything.
    for count in [
      counters.tracesKept, counters.tracesDropped, counters.tracesKeptEarly, counters.tracesTruncated,
      counters.tracesShed, counters.lateSpansKept, counters.lateSpansDropped,
      counters.tracesWaitingOn, counters.missedByPolicy["errors"] ?? 0, counters.missedByPolicy["slow"] ?? 0,
      counters.spansTruncated, counters.spansRedelivered,
    ] { #expect(count > 0) }
  }

  @Test(arguments: 1...12) func sayTheSameByWrongClocks(seed: UInt64) throws {
    var configuration = configuration()
    configuration.clockLead = .seconds(1)
    configuration.clockWitnesses = 2 + Int(seed) % 6
    if seed % 4 < 2 { configuration.shadow = ReferenceSampler.shadow }
    let counters = try sayTheSame(
      withWrongClocks(randomStream(seed: seed, steps: 1500), seed: seed), configuration)
    #expect(counters.timestampsClamped > 0 && counters.clockTurnedBack > 0)
  }

  private func sayTheSame(_ steps: [Step], _ configuration: SamplerConfiguration) throws -> SamplerCounters {
    let world = World { $0 = configuration }
    var reference = ReferenceSampler(configuration)
    var said = 0
    for step in steps {
      var events: [Event]
      switch step {
      case .spans(let spans, let time):
        reference.read(spans, offset: world.offset, at: .at(time))
        events = try world.send(spans, at: time)
      case .time(let time):
        reference.wait(to: .at(time))
        events = try world.pass(to: time)
      case .relief:
        reference.relieveAll()
        world.sampler.relieve(toBytes: 0, into: &world.effects)
        events = try world.take()
      }
      try #require(events.map(ReferenceEvent.init) == Array(reference.events[said...]))
      said = reference.events.count
      #expect(
        world.commitPoint?.safeOffset.value == reference.safeOffset ?? world.commitPoint?.highWater.value)
      try #require(world.clock == reference.clock)
      #expect(world.counters.timestampsClamped == reference.refuted)
    }
    return world.counters
  }
}

extension ReferenceEvent {
  init(_ event: Event) {
    switch event {
    case .kept(let traceID, let spans, _):
      self = .kept(traceID.low, spans.map(\.id), spans.map(\.traceState))
    case .leftOut(let traceID, let spans):
      self = .kept(traceID.low, spans.map(\.id), ["too large"])
    case .decision(let decision, _):
      let written = event.written
      self = .verdict(
        Verdict(
          trace: decision.traceID.low, isKept: decision.isKept, isFinal: decision.isFinal,
          isLate: decision.isLate, trigger: decision.trigger, reasons: written?.reasons ?? [],
          threshold: decision.threshold, spanCount: decision.spanCount, errorCount: decision.errorCount,
          truncatedCount: decision.truncatedCount, root: written?.root?.operation,
          origin: written?.errorOrigin.flatMap { UInt64($0.spanId, radix: 16) }, duration: decision.duration,
          firstOffset: decision.firstOffset.value, lastOffset: decision.lastOffset.value,
          decidedAt: decision.decidedAt, shadow: written?.shadow ?? []))
    }
  }
}

@Suite struct DeterminismTests {
  private struct Output: Equatable {
    var bytes: [UInt8] = []
    var counters = SamplerCounters()
  }

  /// Runs a stream and empties the effects after each step where `drains` is true.
  private func run(_ steps: [Step], hashSeed: UInt64, drains: (Int) -> Bool) -> Output {
    let world = World {
      $0.hashSeed = hashSeed
      $0.limits.spansPerTrace = 6
      $0.windows.lateWindow = .seconds(40)
      $0.dropped = .full
    }
    var output = Output()
    for (number, step) in steps.enumerated() {
      switch step {
      case .spans(let spans, let time):
        let error = world.ingest(record(spans), key: nil, at: .at(time))
        #expect(error == nil)
      case .time(let time): world.sampler.advance(to: .at(time), into: &world.effects)
      case .relief: world.sampler.relieve(toBytes: 500, into: &world.effects)
      }
      guard drains(number) || number == steps.count - 1 else { continue }
      output.bytes += world.effects.bytes
      world.effects.removeAll()
    }
    output.counters = world.counters
    return output
  }

  @Test(arguments: 1...4) func theSameInputsGiveTheSameBytes(seed: UInt64) {
    let steps = randomStream(seed: seed, steps: 2000)
    let once = run(steps, hashSeed: 1) { _ in false }
    #expect(once.bytes.count > 100_000)
    #expect(run(steps, hashSeed: 1) { _ in true } == once)
    #expect(run(steps, hashSeed: 0xdead_beef) { $0 % 7 == 3 } == once)
    #expect(run(steps, hashSeed: .max) { $0 % 100 == 0 } == once)
  }
}

// Traffic of traces with shapes through real samplers, whose counts come back as rates, as in a fleet.

import Foundation
import Simulation

@testable import OTLP
@testable import Sampling

/// The traces of one kind: the same calls every time, some of them repeated.
struct TraceKind {
  var service: String
  var operation: String
  /// Services called by the root, each with one operation.
  var calls: [String] = []
  var repeats = 1
  /// How often it comes, against others.
  var weight = 1.0
}

/// Some partitions with the same configuration.
final class ShapeFleet {
  private(set) var samplers: [Ref] = []
  private var fleet: FleetTraffic
  private let baseline: BaselineConfiguration
  private var random: RandomSource
  private var number: UInt64 = 0
  private var numbers: [UInt64: UInt64] = [:]
  private var effects = Effects()
  /// Nanoseconds after the start.
  private(set) var now: Int64 = 0

  /// Final verdicts: by the trace's number.
  private(set) var decisions: [(number: UInt64, decision: Decision, reason: String)] = []
  /// The services of each trace, by its number less one.
  private(set) var services: [[String]] = []
  /// Its number of spans.
  private(set) var sizes: [Int] = []

  /// A sampler can't be in an array.
  final class Ref {
    var sampler: Sampler
    var offset: Int64 = 0

    init(_ partition: Int, _ configuration: SamplerConfiguration) {
      sampler = Sampler(partition: PartitionID(Int32(partition)), configuration: configuration)
    }
  }

  init(
    _ baseline: BaselineConfiguration, partitions: Int = 1, seed: UInt64 = 1,
    _ adjust: (inout SamplerConfiguration) -> Void = { _ in }
  ) {
    self.baseline = baseline
    fleet = FleetTraffic(configuration: baseline)
    random = RandomSource(seed: seed)
    var configuration = SamplerConfiguration()
    configuration.policies = [
      Policy(name: "errors", rule: .statusCode([.error])), Policy(name: "baseline", rule: .adaptive),
    ]
    configuration.windows.decisionWait = .seconds(2)
    configuration.windows.decisionWaitAfterRoot = .seconds(0)
    configuration.clockWitnesses = 1
    configuration.dropped = .none
    configuration.baseline = baseline
    adjust(&configuration)
    samplers = (0..<partitions).map { Ref($0, configuration) }
    for place in samplers.indices { samplers[place].sampler.adopt(BaselineRates(starting: baseline)) }
  }

  /// Lets traces arrive at this rate for some seconds, of kinds that `choose` draws from.
  func run(
    seconds: Int, tracesPerSecond: Double, errors: Double = 0,
    _ choose: (inout RandomSource, Int) -> TraceKind
  ) {
    let end = now + Int64(seconds) * 1_000_000_000
    while true {
      let pause = -log(1 - random.number(from: 0, to: 0.999_999)) / tracesPerSecond
      now += Int64(pause * 1e9) + 1
      guard now < end else { break }
      let kind = choose(&random, Int(number))
      send(kind, isFailed: random.chance(errors))
    }
    now = end
    for place in samplers.indices { advance(place) }
  }

  private func advance(_ place: Int) {
    let time = Instant(nanoseconds: Instant.at(0).nanoseconds + now)
    samplers[place].sampler.advance(to: time, into: &effects)
    settle()
  }

  /// Sends one trace in a record of its own.
  func send(_ kind: TraceKind, isFailed: Bool = false) {
    number += 1
    let trace = random.next()
    numbers[trace] = number
    var spans = [TestSpan(trace: trace, id: 1, service: kind.service, name: kind.operation)]
    if isFailed { spans[0].status = .error }
    for call in kind.calls {
      for _ in 0..<kind.repeats {
        let id = UInt64(spans.count + 1)
        spans.append(TestSpan(trace: trace, id: id, parent: 1, service: call, name: "GET /" + call))
      }
    }
    sizes.append(spans.count)
    services.append(Array(Set([kind.service] + kind.calls)).sorted())
    let value = record(spans)
    let ref = samplers[Int(number) % samplers.count]
    let time = Instant(nanoseconds: Instant.at(0).nanoseconds + now)
    let error = value.withRawBytes { bytes in
      ref.sampler.ingest(offset: Offset(ref.offset), timestamp: time, key: nil, value: bytes, into: &effects)
    }
    ref.offset += 1
    if error != nil { fatalError("unreadable") }
    settle()
    // Its wait after the root is over.
    now += 1_000_000
    advance(Int(number) % samplers.count)
  }

  private func settle() {
    var hasCounts = false
    for output in effects.outputs {
      switch output {
      case .decide(let decision, let range) where decision.isFinal:
        let record = range.map { String(decoding: effects.bytes[$0], as: UTF8.self) } ?? ""
        let policy = record.split(separator: #""policy":""#).dropFirst().first
        let reason = policy.map { String($0.prefix { $0 != "\"" }) } ?? ""
        decisions.append((numbers[decision.traceID.low] ?? 0, decision, reason))
      case .count(_, let range):
        guard let record = try? TrafficRecord(decoding: Array(effects.bytes[range])) else {
          fatalError("unreadable counts")
        }
        _ = fleet.merge(record, latest: IntervalNumber(.max / 2))
        hasCounts = true
      default: break
      }
    }
    effects.removeAll()
    guard hasCounts else { return }
    let rates = RateController(configuration: baseline).rates(for: fleet)
    for ref in samplers { ref.sampler.adopt(rates) }
  }

  // MARK: What came of it

  /// The share of traces kept.
  var shareKept: Double {
    Double(decisions.count { $0.decision.isKept }) / Double(max(1, decisions.count))
  }

  /// How many are kept for this reason.
  func kept(for reason: String) -> Int { decisions.count { $0.decision.isKept && $0.reason == reason } }

  /// The spans of all decided traces,
  var spans: Int { decisions.reduce(0) { $0 + sizes[Int($1.number) - 1] } }

  /// and of those that are kept; for this reason, if one is given.
  func spansKept(for reason: String? = nil) -> Int {
    decisions.filter { $0.decision.isKept && (reason == nil || $0.reason == reason) }
      .reduce(0) { $0 + sizes[Int($1.number) - 1] }
  }

  /// The shapes of kept traces.
  var shapesKept: Set<UInt64> { Set(decisions.filter { $0.decision.isKept }.map(\.decision.shape)) }

  /// The shapes of all traces.
  var shapes: Set<UInt64> { Set(decisions.map(\.decision.shape)) }
}

/// Kinds by weight.
func draw(_ kinds: [TraceKind], _ random: inout RandomSource) -> TraceKind {
  var left = random.number(from: 0, to: kinds.reduce(0) { $0 + $1.weight })
  for kind in kinds {
    left -= kind.weight
    if left < 0 { return kind }
  }
  return kinds[kinds.count - 1]
}

/// A dozen kinds over a few services, the last a thousandth of the first.
let usualKinds: [TraceKind] = (0..<12).map { usualKind($0) }

private func usualKind(_ place: Int) -> TraceKind {
  var calls: [String] = []
  for call in 0..<place % 4 { calls.append("back-\((place + call) % 6)") }
  let weight = 1 / Double((place + 1) * (place + 1))
  return TraceKind(
    service: "front-\(place % 3)", operation: "GET /\(place)", calls: calls, repeats: 1 + place % 2,
    weight: weight)
}

func shapeBaseline(_ share: Double, key: BaselineKey = .parts([.traceShape]), first: Double = 0.96)
  -> BaselineConfiguration
{
  var baseline = BaselineConfiguration()
  baseline.budget = .shareOfTraces(share)
  baseline.key = key
  baseline.isWithinBudget = true
  baseline.firstOfShapeShare = first
  return baseline
}

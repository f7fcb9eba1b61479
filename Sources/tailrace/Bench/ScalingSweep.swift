// What bench-scaling varies: one quantity per sweep, everything else constant.

import Sampling
import Simulation

/// One quantity that grows while all others stay constant.
enum ScalingSweep: String, CaseIterable, Encodable {
  case spansPerTrace = "spans-per-trace"
  case openTraces = "open-traces"
  case services
  case policies
  case spansPerRecord = "spans-per-record"

  /// The quantity's name in a table.
  var name: String { rawValue.split(separator: "-").joined(separator: " ") }

  /// The quantity's values; the others are compared with the first.
  func values(isQuick: Bool) -> [Int] {
    switch (self, isQuick) {
    case (.spansPerTrace, false): [5, 10, 20, 50, 150, 500, 1_500, 5_000]
    case (.spansPerTrace, true): [5, 50]
    case (.openTraces, false): [10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000, 10_000_000]
    case (.openTraces, true): [100, 1_000]
    case (.services, false): [10, 30, 100, 300, 1_000, 3_000, 10_000]
    case (.services, true): [10, 100]
    case (.policies, false): [3, 6, 12, 25, 50]
    case (.policies, true): [3, 50]
    case (.spansPerRecord, false): [1, 2, 5, 15, 50, 150, 500]
    case (.spansPerRecord, true): [1, 50]
    }
  }

  /// The largest value that makes sense.
  var valueMax: Int {
    switch self {
    case .spansPerTrace: 100_000
    case .openTraces: 1_000_000_000
    case .services: 10_000
    // One word's bits, as in `Limits` of ARCHITECTURE.md.
    case .policies: 64
    case .spansPerRecord: 10_000
    }
  }

  /// The work at one of its values.
  func work(at value: Int, isQuick: Bool) -> ScalingWork {
    var work = ScalingWork()
    work.corpusSpans = isQuick ? 2_000 : 60_000
    // All points of a sweep have equally many open spans, so that only one quantity varies.
    let openSpans = isQuick ? 4_000 : 500_000
    switch self {
    case .spansPerTrace:
      work.options.spansPerTrace = Double(value)
      work.openTraces = max(1, openSpans / value)
    case .openTraces:
      // Two spans per trace: the table grows, and ten million traces fit into a machine.
      work.options.spansPerTrace = 2
      work.openTraces = value
    case .services:
      work.options.services = value
      work.openTraces = openSpans / 50
    case .policies:
      work.policies = ScalingPolicies.make(value)
      work.openTraces = openSpans / 50
    case .spansPerRecord:
      // One service, so that a trace's spans are only split by record size; and long traces, to fill records.
      work.options.services = 1
      work.options.spansPerTrace = isQuick ? 100 : 2_000
      work.options.spansPerRecord = value
      work.openTraces = max(1, openSpans / Int(work.options.spansPerTrace))
    }
    return work
  }
}

/// One point of a sweep.
struct ScalingWork {
  var options = WorkloadOptions()
  var policies = Policy.defaults
  var openTraces = 0
  /// Generated spans; they are reused.
  var corpusSpans = 0

  init() {
    // As in `tailrace bench`, but with the smallest spans, so that many fit.
    options.spansPerRecord = 8
    options.spanBytes = 310
  }

  /// The sampler's configuration: no trace is truncated, since the cost of a trace is the question.
  var configuration: SamplerConfiguration {
    var configuration = SamplerConfiguration()
    configuration.policies = policies
    configuration.dropped = .ledger
    configuration.limits.spansPerTrace = 1 << 30
    configuration.limits.bytesPerTrace = 1 << 30
    return configuration
  }

  /// How many traces are generated: at least ten, each with its own length.
  var corpusTraces: Int { max(10, Int(Double(corpusSpans) / options.spansPerTrace)) }
}

/// Policies in addition to the defaults; none samples anything: only evaluation is measured.
enum ScalingPolicies {
  static func make(_ count: Int) -> [Policy] {
    Policy.defaults
      + (0..<max(0, count - Policy.defaults.count)).map { number in
        Policy(name: "extra-\(number)", rule: rule(number))
      }
  }

  private static func rule(_ number: Int) -> Policy.Rule {
    switch number % 5 {
    case 0: .stringAttribute(key: "url.path", values: ["/no-such-path-\(number)"])
    case 1: .numericAttribute(key: "http.response.status_code", range: 600 + Int64(number)...700)
    case 2: .stringAttribute(key: "tenant-\(number)", values: ["gold"])
    case 3: .booleanAttribute(key: "debug-\(number)", value: true)
    default: .spanCount(least: 1_000_000 + number, most: nil)
    }
  }
}

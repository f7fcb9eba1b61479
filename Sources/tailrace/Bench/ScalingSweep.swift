// What bench-scaling varies: one quantity a sweep, everything else held.

import Sampling
import Simulation

/// One quantity that grows while all others stay.
enum ScalingSweep: String, CaseIterable, Encodable {
  case spansPerTrace = "spans-per-trace"
  case openTraces = "open-traces"
  case services
  case policies
  case spansPerRecord = "spans-per-record"

  /// What the quantity is called in a table.
  var name: String { rawValue.split(separator: "-").joined(separator: " ") }

  /// The values that the quantity takes; the first is what the others are compared with.
  func values(isQuick: Bool) -> [Int] {
    switch (self, isQuick) {
    case (.spansPerTrace, false): [5, 15, 50, 150, 500, 1_500, 5_000]
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
    // The same spans wait in all points of a sweep, so that only what is varied varies.
    let openSpans = isQuick ? 4_000 : 500_000
    switch self {
    case .spansPerTrace:
      work.options.spansPerTrace = Double(value)
      work.openTraces = max(1, openSpans / value)
    case .openTraces:
      // Two spans a trace: what grows is the table, and ten million traces fit into a machine.
      work.options.spansPerTrace = 2
      work.openTraces = value
    case .services:
      work.options.services = value
      work.openTraces = openSpans / 50
    case .policies:
      work.policies = ScalingPolicies.make(value)
      work.openTraces = openSpans / 50
    case .spansPerRecord:
      // One service, so that it alone cuts a trace's spans into records; and long traces, to fill them.
      work.options.services = 1
      work.options.spansPerTrace = isQuick ? 100 : 2_000
      work.options.spansPerRecord = value
      work.openTraces = max(1, openSpans / Int(work.options.spansPerTrace))
    }
    return work
  }
}

/// What one point of a sweep measures.
struct ScalingWork {
  var options = WorkloadOptions()
  var policies = Policy.defaults
  var openTraces = 0
  /// Spans that are generated; they are run over again and again.
  var corpusSpans = 0

  init() {
    // As `tailrace bench` has it, but for the size: spans as small as they come, so that many fit.
    options.spansPerRecord = 8
    options.spanBytes = 310
  }

  /// The sampler's configuration: no trace is cut short, since what a trace costs is the question.
  var configuration: SamplerConfiguration {
    var configuration = SamplerConfiguration()
    configuration.policies = policies
    configuration.limits.spansPerTrace = 1 << 30
    configuration.limits.bytesPerTrace = 1 << 30
    return configuration
  }

  /// How many traces are generated: at least ten, of which each has its own length.
  var corpusTraces: Int { max(10, Int(Double(corpusSpans) / options.spansPerTrace)) }
}

/// Policies beside the defaults, none of which samples anything: what is measured is asking.
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

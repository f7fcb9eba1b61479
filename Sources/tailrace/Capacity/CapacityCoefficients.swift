// What a span, a trace and a byte cost: each figure with its source.

import Foundation

/// One measured or chosen figure that a plan is based on.
struct CapacityCoefficient: Encodable, Equatable {
  /// Its name for `--set`.
  let name: String
  /// The figure, in `unit`.
  var value: Double
  let unit: String
  /// How it was measured or why it was chosen.
  let source: String

  /// In a command's output: `256 bytes`.
  var text: String { "\(CapacityPlan.number(value)) \(unit)".trimmingCharacters(in: .whitespaces) }
}

/// The figures that a plan is based on.
///
/// Measured on 2 cores of an AMD EPYC (family 25, model 17) in a virtual machine, November 2026.
struct CapacityCoefficients {
  private(set) var all: [CapacityCoefficient]

  /// The figures in this file.
  init() {
    all = CapacityCoefficients.processing + CapacityCoefficients.memory + CapacityCoefficients.outputs
  }

  private static let processing = [
    CapacityCoefficient(
      name: "cpu-per-million-spans", value: 0.33, unit: "s",
      source: "make bench-kafka: at most 0.67 s for 1,560 instructions a span, 770 of them its own"),
    CapacityCoefficient(
      name: "cpu-per-million-records", value: 1.17, unit: "s",
      source: "2,720 instructions at that rate; counted at 1 to 7 spans per record"),
    CapacityCoefficient(
      name: "cpu-per-million-traces", value: 1.58, unit: "s",
      source: "3,680 instructions at that rate; counted at 5 to 50 spans per trace"),
    CapacityCoefficient(
      name: "live-factor", value: 1.9, unit: "",
      source: "bench-kafka --live: 1.26 s at 150,000 spans/s, against the 0.67 s of a backlog"),
    CapacityCoefficient(
      name: "reference-span-bytes", value: 383, unit: "bytes",
      source: "the spans of make bench-kafka; the cost of larger ones is assumed to grow with their bytes"),
    CapacityCoefficient(
      name: "utilisation", value: 0.6, unit: "of a core",
      source: "chosen: the rest is for bursts, replay after a rebalance, and growth"),
    CapacityCoefficient(
      name: "lane-fetch-rate", value: 411e6, unit: "bytes/s",
      source: "make bench-kafka: a consumer that does nothing, 285,550 records/s of 1,440 bytes"),
    CapacityCoefficient(
      name: "partitions-per-lane", value: 2, unit: "",
      source: "chosen: the fleet can double without new partitions, which would split traces"),
    CapacityCoefficient(
      name: "spare-pods", value: 1, unit: "",
      source: "chosen: one pod may be down, as in a rollout (maxUnavailable: 1)"),
  ]

  private static let memory = [
    CapacityCoefficient(
      name: "memory-per-span-byte", value: 1.2, unit: "bytes",
      source: "tailrace bench: 1.21 resident per byte of undecided spans, uncompressed"),
    CapacityCoefficient(
      name: "uncompressed-share", value: 0.5, unit: "of their limit",
      source: "Lane: spans are compressed above it; the other half is for bursts"),
    CapacityCoefficient(
      name: "bytes-per-open-trace", value: 800, unit: "bytes",
      source: "tailrace bench: 800 in addition to its spans, duplicate detection included"),
    CapacityCoefficient(
      name: "bytes-per-verdict", value: 128, unit: "bytes",
      source: "VerdictCache: 64 to 128, as it grows by doubling"),
    CapacityCoefficient(
      name: "table-share", value: 0.25, unit: "of limits.memory",
      source: "Lane: the limit for open traces, and the limit for verdicts"),
    CapacityCoefficient(
      name: "queue-bytes-per-lane", value: 201_326_592, unit: "bytes",
      source: "librdkafka: 64 MiB to read, 128 MiB to write (Deploy/kubernetes/base/topology.yaml)"),
    CapacityCoefficient(
      name: "program-bytes", value: 536_870_912, unit: "bytes",
      source: "an allowance, as in Deploy/README.md: the program and data in flight"),
  ]

  private static let outputs = [
    CapacityCoefficient(
      name: "decision-bytes-kept", value: 1046, unit: "bytes",
      source: "generate, replay: 197 records of 632 bytes for 119 kept traces, 78 of them early"),
    CapacityCoefficient(
      name: "decision-bytes-dropped", value: 25, unit: "bytes",
      source: "the ledger: 24 to 25 on generated traffic (docs/ledger.md); 383 with dropped: compact"),
  ]

  /// The figure called `name`, one of those above.
  subscript(name: String) -> Double {
    guard let found = all.first(where: { $0.name == name }) else { fatalError("no coefficient \(name)") }
    return found.value
  }

  /// Replaces the figure called `name`; false if there is none.
  mutating func set(_ name: String, to value: Double) -> Bool {
    guard let place = all.firstIndex(where: { $0.name == name }) else { return false }
    all[place].value = value
    return true
  }

  /// One line each: name, figure, source.
  var text: String {
    (["coefficients"]
      + all.map { coefficient in
        "  \(coefficient.name.padding(toLength: 24, withPad: " ", startingAt: 0))"
          + "\(coefficient.text.padding(toLength: 22, withPad: " ", startingAt: 0))\(coefficient.source)"
      }).joined(separator: "\n")
  }
}

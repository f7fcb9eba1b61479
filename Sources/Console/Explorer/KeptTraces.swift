// What the explorer knows, all of it below one lock.

internal import Exploration
internal import Sampling
internal import Topology

/// The index of kept traces, and what is known of the traffic that they were taken from.
struct KeptTraces: Sendable {
  var traces: KeptTraceIndex
  /// Nil without an adaptive baseline, which alone writes `stats`.
  var arrivals: Arrivals?

  init(_ topology: TailSamplingTopology, bytesMax: Int) {
    let slow = topology.policies.filter {
      if case .latency = $0.rule { true } else { false }
    }
    traces = KeptTraceIndex(
      bytesMax: bytesMax, slowPolicies: Set(slow.map(\.name)),
      sharesRandomness: topology.links?.sharesRandomness ?? false)
    arrivals = SamplerConfiguration(topology).baseline.map { Arrivals($0) }
  }
}

// Whole stories: what links reach from a trace that policies keep is kept.

import OTLP
import Sampling

extension Auditor {
  /// Objects to each trace that is dropped though links reach it, from traces that policies keep: that it is
  /// whole is checked like that of any kept trace.
  mutating func checkStories(
    _ finals: [TraceID: [RestoredVerdict]], _ revised: [TraceID: [RestoredVerdict]]
  ) {
    guard let links else { return }
    for verdict in [finals, revised].flatMap({ $0.values.flatMap { $0 } }) {
      guard let reach = verdict.linked, reach.hops > links.maxHops else { continue }
      object("trace \(verdict.traceID) is kept over \(reach.hops) links")
    }
    var neighbours: [TraceID: [TraceID]] = [:]
    for (trace, facts) in published {
      for other in facts.truth?.links ?? [] where published[other] != nil {
        if links.direction.reachesLinked { neighbours[trace, default: []].append(other) }
        if links.direction.reachesLinking { neighbours[other, default: []].append(trace) }
      }
    }
    var hops: [TraceID: Int] = [:]
    var previous: [TraceID: TraceID] = [:]
    var front = published.filter { $0.value.truth?.isWanted == true }.map(\.key)
    front.sort { $0.low < $1.low }
    for trace in front { hops[trace] = 0 }
    for distance in 1...links.maxHops {
      var next: [TraceID] = []
      for trace in front {
        for other in neighbours[trace] ?? [] where hops[other] == nil {
          hops[other] = distance
          previous[other] = trace
          next.append(other)
        }
      }
      front = next
    }
    storyTraces = hops.values.count { $0 > 0 }
    for (trace, distance) in hops.sorted(by: { $0.key.low < $1.key.low }) where distance > 0 {
      let isKept = revised[trace] != nil || finals[trace]?.contains(where: \.isKept) ?? false
      if !isKept {
        var way = [trace]
        while let before = way.last.flatMap({ previous[$0] }) { way.append(before) }
        object(
          "trace \(trace) is \(distance) links away from one that policies keep, and is dropped: "
            + "it is reached over \(way.dropFirst().map(\.description).joined(separator: ", "))")
      }
    }
  }
}

extension TraceStateSampling {
  /// Whether the randomness that it states is less than the threshold: such a span would not be kept.
  var contradictsItself: Bool {
    guard let randomness, let threshold else { return false }
    return randomness < threshold.rejected
  }
}

extension TraceTruth {
  /// Whether a policy of the simulated topology keeps it, chance aside.
  fileprivate var isWanted: Bool { hasError || isSlow }
}

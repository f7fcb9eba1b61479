// Looks up old verdicts, by which very late spans go.

internal import OTLP
internal import Sampling

extension SamplingJob {
  /// Reads on in the verdicts that partitions want, as far as records have arrived.
  mutating func lookUp(at now: Instant, through link: some BrokerLink) throws(BrokerError) {
    guard lookUpAgainAt <= now else { return }
    let (partitions, restoring, isCertain) = (partitions, restoring, link.commitsTogether)
    for partition in partitions where !partition.state.sampler.isRecovering {
      guard let lookup = partition.state.sampler.nextLookup() else { continue }
      do {
        // Decisions are stamped with the time of day, which producers' clocks may be ahead of.
        let ahead = partition.state.committed?.clockAhead ?? .seconds(0)
        let since = lookup.since - ahead - configuration.sampler.clockLead
        let past = try link.readDecisions(partition.id, since: since, until: lookup.until) { id, verdict in
          if let other = restoring[id] {
            other.state.restore(verdict, isCertain: isCertain)
          } else {
            partitions.first { $0.id == id }?.state.sampler.found(verdict)
          }
        }
        guard case .read = past else { continue }
      } catch {
        guard error.remedy == .retry else { throw error }
        // A leader that does not answer costs one wait now and then, not one a round.
        lookUpAgainAt = now + Self.seekPause
        report(.disturbed(error))
        return
      }
      partition.state.sampler.endLookup(into: &effects)
      try drain(partition, to: link)
    }
  }
}

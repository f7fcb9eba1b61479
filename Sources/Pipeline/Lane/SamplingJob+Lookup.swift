// Looks up old verdicts, by which very late spans go.

internal import OTLP
internal import Sampling

extension SamplingJob {
  /// Reads on in the verdicts that partitions want, as far as records have arrived and the budget lasts.
  mutating func lookUp(at now: Instant, through link: some BrokerLink) throws(BrokerError) {
    guard lookUpAgainAt <= now else { return }
    let (partitions, restoring, isCertain) = (partitions, restoring, link.commitsTogether)
    for partition in partitions where !partition.state.sampler.isRecovering {
      // Asked even if nothing may be read: traces that have waited too long are decided without an answer.
      guard let lookup = partition.state.sampler.nextLookup(), lookUpBudget.fill(at: now) else { continue }
      do {
        defer { spendLookUps(of: link) }
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

  /// Spends what has been read since the last call.
  private mutating func spendLookUps(of link: some BrokerLink) {
    let total = link.bytesLookedUp
    let read = total - min(total, lookUpBytes)
    lookUpBytes = total
    lookUpBudget.spend(Int(clamping: read))
    written.lookUpBytes += read
  }
}

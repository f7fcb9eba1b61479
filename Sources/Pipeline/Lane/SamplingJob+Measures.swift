// The contents and counts of a lane's samplers, for monitoring.

internal import Sampling
internal import SpanStorage

extension SamplingJob {
  package func measured(by link: some BrokerLink) -> LaneMeasures {
    var all = measures
    all.rates = fleetRates?.rates
    for partition in partitions {
      all.addShares(of: partition.state.sampler)
      all.addServices(of: partition.state.sampler)
      let clock = partition.state.sampler.clock
      all.positions.append(
        PartitionPosition(
          partition: partition.id, next: partition.state.sampler.nextOffset,
          end: link.knownEnd(of: partition.id), clock: clock == .distantPast ? nil : clock,
          logsLag: logsLag(of: partition)))
    }
    return all
  }

  func logsLag(of partition: AssignedPartition) -> Interval? {
    guard let wait = logs?.configuration.wait else { return nil }
    return partition.state.logs?.lag(wait, behind: partition.state.sampler)
  }

  package func snapshot() -> LaneSnapshot {
    var snapshot = LaneSnapshot(counters: pastCounters, lane: written)
    snapshot.lane.add(skipped)
    snapshot.lane.deadLetters = deadLetters.letters
    snapshot.lane.deadLetterSpans = deadLetters.spans
    if let logs {
      snapshot.lane.logs = logs.counters
      snapshot.lane.deadLetters.merge(logs.deadLetters.letters, uniquingKeysWith: +)
    }
    for partition in partitions {
      snapshot.counters.add(partition.state.sampler.counters)
      let usage = partition.state.sampler.usage
      snapshot.openTraces += usage.openTraces
      snapshot.bufferedBytes += usage.bufferedBytes
      snapshot.recallBytes += usage.recallBytes
      snapshot.compressedSegments += usage.compressedSegments
      snapshot.pastVerdicts += usage.pastVerdicts
      snapshot.recallsPending += partition.state.sampler.recallsPending
      snapshot.recallAge = max(snapshot.recallAge, partition.state.sampler.recallAge)
      snapshot.handOutsPending += partition.state.sampler.handOutsPending
      snapshot.handOutAge = max(snapshot.handOutAge, partition.state.sampler.handOutAge)
      snapshot.followerLag += partition.state.sampler.followerLag
    }
    snapshot.residentBufferBytes = memory.usedBytes
    snapshot.residentBytes = memory.usedBytes + memory.tableBytes + memory.verdictBytes + workingBytes
    snapshot.partitions = partitionIDs
    snapshot.recovering = partitions.count { $0.state.sampler.isRecovering }
    return snapshot
  }
}

// The lane's memory: what spans may take of it, and what happens when it runs short.

internal import Sampling
internal import SpanStorage

extension SamplingJob {
  /// What spans may take. Room for the pieces of one record is left: when they are written it is too late to
  /// look.
  var spanBytesMax: Int {
    let others =
      memory.tableBytes + memory.verdictBytes + workingBytes + configuration.sampler.limits.splitBytes
    return max(configuration.memoryBytesMax - others, configuration.memoryBytesMax / 8)
  }

  /// Gives back what is not needed, once a round.
  mutating func manageMemory(at now: Instant) {
    // What a large record took is given back at once: traces would have to go for it.
    if workspace.scratchBytes > configuration.workingBytesKept { workspace.releaseScratch() }
    if effects.capacity > configuration.workingBytesKept { effects = Effects() }
    if decoder.byteCount > configuration.workingBytesKept { decoder.release() }
    if workspace.automataBytes > configuration.memoryBytesMax / 16 { workspace.releaseAutomata(all: true) }
    workingBytes =
      workspace.scratchBytes + effects.capacity + decoder.byteCount + workspace.automataBytes
      + (fleetRates?.byteCount ?? 0) + eagerSince.capacity * MemoryLayout<Instant>.stride
    memory.compressAbove = spanBytesMax / 100 * configuration.compressAbovePercent
    guard trimmedAt + Configuration.trimInterval <= now else { return }
    trimmedAt = now
    memory.trim()
    for partition in partitions { partition.state.sampler.trim() }
    workspace.releaseAutomata(all: false)
  }

  /// Takes memory from the partition that holds most, while spans of all together take too much.
  mutating func relieveMemory(to link: some BrokerLink) throws(BrokerError) {
    while memory.usedBytes > spanBytesMax {
      let largest = partitions.max {
        $0.state.sampler.usage.bufferedBytes < $1.state.sampler.usage.bufferedBytes
      }
      guard let largest else { return }
      let before = largest.state.sampler.usage.bufferedBytes
      // A tenth more than needed, so that the next record does not bring the lane here again.
      let excess = memory.usedBytes - spanBytesMax / 10 * 9
      largest.state.sampler.relieve(toBytes: max(0, before - excess), into: &effects)
      try drain(largest, to: link)
      guard largest.state.sampler.usage.bufferedBytes < before else { return }
    }
  }
}

// The lane's memory: the share for spans, and what happens when it runs short.

internal import Sampling
internal import SpanStorage

extension SamplingJob {
  /// The bytes that spans may use. It leaves room for the pieces of one record: when they are written it is
  /// too late to check.
  var spanBytesMax: Int {
    let others =
      memory.tableBytes + memory.verdictBytes + workingBytes + configuration.sampler.limits.splitBytes
    return max(configuration.memoryBytesMax - others, configuration.memoryBytesMax / 8)
  }

  /// Releases unused memory, once a round.
  mutating func manageMemory(at now: Instant) {
    // A large record's working memory is released at once: otherwise it would crowd out traces.
    if workspace.scratchBytes > configuration.workingBytesKept { workspace.releaseScratch() }
    if effects.capacity > configuration.workingBytesKept { effects = Effects() }
    if decoder.byteCount > configuration.workingBytesKept { decoder.release() }
    if logs?.byteCount ?? 0 > configuration.workingBytesKept { logs?.release() }
    if workspace.automataBytes > configuration.memoryBytesMax / 16 { workspace.releaseAutomata(all: true) }
    workingBytes =
      workspace.scratchBytes + effects.capacity + decoder.byteCount + workspace.automataBytes
      + logBytes + (fleetRates?.byteCount ?? 0) + fleetLimits.byteCount + (workspace.links?.byteCount ?? 0)
      + eagerSince.capacity * MemoryLayout<Instant>.stride
    memory.compressAbove = spanBytesMax / 100 * configuration.compressAbovePercent
    guard trimmedAt + Configuration.trimInterval <= now else { return }
    trimmedAt = now
    memory.trim()
    for partition in partitions { partition.state.sampler.trim() }
    workspace.releaseAutomata(all: false)
  }

  /// Frees memory of the partition that holds most, while all spans together use too much.
  mutating func relieveMemory(to link: some BrokerLink) throws(BrokerError) {
    while memory.usedBytes > spanBytesMax {
      let largest = partitions.max {
        $0.state.sampler.usage.bufferedBytes < $1.state.sampler.usage.bufferedBytes
      }
      guard let largest else { return }
      let before = largest.state.sampler.usage.bufferedBytes
      // A tenth more than needed, so that the next record does not trigger this again.
      let excess = memory.usedBytes - spanBytesMax / 10 * 9
      largest.state.sampler.relieve(toBytes: max(0, before - excess), into: &effects)
      try drain(largest, to: link)
      guard largest.state.sampler.usage.bufferedBytes < before else { return }
    }
  }
}

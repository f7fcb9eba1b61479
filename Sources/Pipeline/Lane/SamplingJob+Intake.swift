// The intake of records: to their partition's sampler, or to the dead letters.

internal import OTLP
internal import Sampling
internal import SpanStorage
internal import Topology

extension SamplingJob {
  package mutating func take(
    _ place: RecordPlace, key: RawSpan?, value: RawSpan?, at moment: Moment, to link: some BrokerLink
  ) throws(BrokerError) {
    guard let partition = partition(of: place) else {
      return skipped.noteNotAssigned()
    }
    try take(place, key: key, value: value, at: moment.steady, of: &partition.state, to: link)
    if memory.usedBytes > spanBytesMax { try relieveMemory(to: link) }
  }

  private mutating func take(
    _ place: RecordPlace, key: RawSpan?, value: RawSpan?, at steady: Instant,
    of partition: inout PartitionState, to link: some BrokerLink
  ) throws(BrokerError) {
    if let next = partition.sampler.nextOffset, place.offset < next {
      if let event = skipped.noteRepeated(place, before: next, at: steady) { report(event) }
      return
    }
    partition.wake(for: place, at: steady, idleAfter: configuration.idleAfter)
    let malformed = partition.ingest(
      place, key: key, value: value, decoder: &decoder, bytesMax: configuration.sampler.limits.recordBytes,
      into: &effects)
    if !partition.sampler.isReplayed(place.offset) {
      if let malformed {
        try deadLetters.writeRecord(
          place, malformed, workspace.rejectedSpans, decoder, key: key, value: value, to: link)
      } else if let value, !decoder.isPlain(value) {
        try deadLetters.writeRejected(decoder, of: value, at: place, key: key, to: link)
      }
    }
    try drain(place.partition, offset: place.offset, record: place, key: key, to: link)
  }
}

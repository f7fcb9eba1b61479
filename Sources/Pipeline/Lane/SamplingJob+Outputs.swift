// The samplers' outputs, and where they are written.

internal import OTLP
internal import Sampling

extension SamplingJob {
  /// Writes a sampler's effects.
  ///
  /// - Parameters:
  ///   - offset: the offset of the last record read.
  ///   - record: that record, if it caused the outputs.
  mutating func drain(
    _ partition: PartitionID, offset: Offset, record: RecordPlace? = nil, key recordKey: RawSpan? = nil,
    to link: some BrokerLink
  ) throws(BrokerError) {
    guard !effects.outputs.isEmpty else { return }
    defer { effects.removeAll() }
    var latest: Decision?
    for output in effects.outputs {
      switch output {
      case .decide(let decision, let range):
        note(decision, record?.timestamp)
        latest = decision
        if decision.isRevised { try writeRecalledLogs(of: decision.traceID, in: partition, to: link) }
        guard let range else { continue }
        written.decisions += 1
        try write(.decisions, partition, decision.traceID, range, to: link)
      case .account(let page, let traces): try writeLedger(page, traces, partition, to: link)
      case .measure(let range, _):
        if configuration.sampler.metrics?.isServed ?? false { measured.append(Array(effects.bytes[range])) }
        try effects.bytes.withRawBytes { (bytes) throws(BrokerError) in
          try link.write(
            .metrics, partition: partition, key: nil, value: bytes.extracting(range), headers: [])
        }
      case .link(let page, _):
        try effects.bytes.withRawBytes { (bytes) throws(BrokerError) in
          try link.write(.links, partition: nil, key: nil, value: bytes.extracting(page), headers: [])
        }
      case .count(let key, let record):
        try writeCounts(key, record, to: link)
      case .reject(let rejected, let range):
        guard let record else { continue }
        try effects.bytes.withRawBytes { (bytes) throws(BrokerError) in
          try deadLetters.write(
            DeadLetter(record, rejected), key: recordKey, value: bytes.extracting(range),
            isOfLentRecord: true, to: link)
        }
      case .forward(let traceID, let range, _):
        written.sampled += 1
        try write(.sampled, partition, traceID, range, to: link)
      case .leaveOut(let traceID, let range, let spans):
        // The spans' record is within the offsets of the trace being decided, or else it is the last one.
        let decided = latest?.traceID == traceID ? latest : nil
        let offsets = decided.map { $0.firstOffset...max($0.firstOffset, $0.lastOffset) } ?? offset...offset
        try writeTooLarge(partition, traceID, range, spans, from: offsets, to: link)
      }
    }
  }

  private mutating func note(_ decision: Decision, _ timestamp: Instant?) {
    measures.verdicts.note(decision)
    if decision.isRevised {
      // Its latency was observed when it was dropped.
    } else if decision.isFinal {
      measures.decisionLatencies.observe(decision.decidedAt - decision.openedAt)
    } else if decision.trigger == .eager, let timestamp {
      eagerSince.append(timestamp)
    }
  }

  private mutating func write(
    _ topic: OutputTopic, _ partition: PartitionID, _ traceID: TraceID, _ range: Range<Int>,
    to link: some BrokerLink
  ) throws(BrokerError) {
    try key.lend(traceID) { (key) throws(BrokerError) in
      try effects.bytes.withRawBytes { (bytes) throws(BrokerError) in
        try link.write(topic, partition: partition, key: key, value: bytes.extracting(range), headers: [])
      }
    }
  }

  private mutating func writeLedger(
    _ page: Range<Int>, _ traces: Int, _ partition: PartitionID, to link: some BrokerLink
  ) throws(BrokerError) {
    written.ledgerTraces += UInt64(traces)
    written.ledgerBytes += UInt64(page.count)
    try effects.bytes.withRawBytes { (bytes) throws(BrokerError) in
      try link.write(.verdicts, partition: partition, key: nil, value: bytes.extracting(page), headers: [])
    }
  }

  /// Writes the ledgers' pages and those of links, so that each commit has the verdicts given until then.
  package mutating func flush(to link: some BrokerLink) throws(BrokerError) {
    for partition in partitions where partition.state.sampler.hasLedgerEntries {
      partition.state.sampler.endLedgerPage(into: &effects)
      try drain(partition, to: link)
    }
    for partition in partitions where partition.state.sampler.hasLinkEntries {
      partition.state.sampler.endLinkPage(into: &effects)
      try drain(partition, to: link)
    }
  }

  private func writeCounts(
    _ key: Range<Int>, _ record: Range<Int>, to link: some BrokerLink
  ) throws(BrokerError) {
    try effects.bytes.withRawBytes { (bytes) throws(BrokerError) in
      try link.write(
        .stats, partition: nil, key: bytes.extracting(key), value: bytes.extracting(record), headers: [])
    }
  }

  /// Kept spans larger than their topic accepts are not lost: they become a dead letter.
  private mutating func writeTooLarge(
    _ partition: PartitionID, _ traceID: TraceID, _ range: Range<Int>, _ spans: Int,
    from offsets: ClosedRange<Offset>, to link: some BrokerLink
  ) throws(BrokerError) {
    try key.lend(traceID) { (key) throws(BrokerError) in
      try effects.bytes.withRawBytes { (bytes) throws(BrokerError) in
        let value = bytes.extracting(range)
        let letter = DeadLetter(
          tooLarge: value, spans: spans, traceID: traceID, bytesMax: configuration.sampledBytesMax,
          partition: partition, offsets: offsets)
        try deadLetters.write(letter, key: key, value: value, isOfLentRecord: false, to: link)
      }
    }
  }
}

/// A trace id as the key of a record. Reused: it keeps its storage.
struct TraceKey {
  private var digits: [UInt8] = []

  /// Lends the key of `traceID` to `body`.
  mutating func lend<Failure: Error>(
    _ traceID: TraceID, _ body: (RawSpan) throws(Failure) -> Void
  ) throws(Failure) {
    digits.removeAll(keepingCapacity: true)
    traceID.appendHexadecimal(to: &digits)
    try digits.withRawBytes(body)
  }
}

// The ledger of generated traffic: what an entry takes, and that it says what was decided.

import OTLP
import Sampling
import Simulation
import Testing

@Suite struct LedgerTrafficTests {
  /// 1,000 traces a second of 5 or 50 spans. An id takes 16 bytes of an entry.
  @Test(arguments: [(5.0, 4000), (50.0, 1000)])
  func anEntryTakesLessThanThirtyBytes(_ spansPerTrace: Double, _ traces: Int) throws {
    let traffic = try GeneratedTraffic(traces: traces) { options in
      options.spansPerTrace = spansPerTrace
      options.tracesPerSecond = 1000
      options.spanBytes = 320
      options.publishDelayMaxNanoseconds = 500_000_000
    }
    var configuration = SamplerConfiguration()
    configuration.dropped = .ledger
    configuration.windows.loneRootsWait = true
    var sampler = Sampler(partition: PartitionID(0), configuration: configuration)
    var effects = Effects()
    var dropped: [TraceID] = []
    var pages: [[UInt8]] = []
    func take() {
      for output in effects.outputs {
        switch output {
        case .decide(let decision, _) where decision.isFinal && !decision.isKept:
          dropped.append(decision.traceID)
        case .account(let page, _): pages.append(Array(effects.bytes[page]))
        default: break
        }
      }
      effects.removeAll()
    }
    for (number, record) in traffic.records.enumerated() {
      let error = record.bytes.withRawBytes { value in
        // As brokers stamp records: to the millisecond.
        sampler.ingest(
          offset: Offset(Int64(number)), timestamp: Instant(milliseconds: record.publishedAt / 1_000_000),
          key: nil, value: value, into: &effects)
      }
      #expect(error == nil)
      // A page for each commit: three thousand records are about a second's.
      if number % 3000 == 0 { sampler.endLedgerPage(into: &effects) }
      take()
    }
    sampler.advance(to: sampler.clock + .seconds(60), into: &effects)
    sampler.endLedgerPage(into: &effects)
    take()
    var found: [TraceID] = []
    for page in pages {
      try page.withRawBytes { page in try RestoredVerdict.read(page) { found.append($0.traceID) } }
    }
    #expect(found == dropped && found.count > traces / 4 * 3)
    let mean = Double(pages.reduce(0) { $0 + $1.count }) / Double(found.count)
    print("\(mean) bytes for each of \(found.count) traces of \(spansPerTrace) spans")
    #expect(mean < 26, "\(mean) bytes for each of \(found.count) traces")
  }
}

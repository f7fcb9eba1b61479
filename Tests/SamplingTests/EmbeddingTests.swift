// The program in the documentation does what its article states.

import OTLP
import Sampling
import Testing

@Suite struct EmbeddingTests {
  @Test func theArticlesProgramKeepsErrors() throws {
    var sampler = EmbeddedSampler()
    let spans = [TestSpan.root(1, of: 2, .error), .root(2, of: 3), .root(3, of: 4, lasting: 1000)]
    var kept = try sampler.spans(after: record(spans), at: .at(0))
    kept += try sampler.spans(after: nil, at: .at(60_000))
    var traces: [UInt64] = []
    var scanned = ScannedRecord()
    for bytes in kept {
      try bytes.withRawBytes { try scanned.scan($0) }
      traces += scanned.spans.map(\.traceID.low)
    }
    #expect(traces.sorted() == [2, 4])
  }

  @Test func aBadRequestCostsNoSpan() throws {
    var sampler = EmbeddedSampler()
    #expect(try sampler.spans(after: record([.root(1, of: 2)]), at: .at(0)).isEmpty)
    let child = TestSpan.child(2, of: 2, .error)
    // Kept at once, since the error makes it certain; the next request is malformed.
    let kept = try sampler.spans(after: record([child]), at: .at(10))
    do {
      _ = try sampler.spans(after: [0xff], at: .at(20))
      Issue.record("no error")
    } catch {
      #expect(error.offset == 0)
    }
    #expect(try kept.count + sampler.spans(after: nil, at: .at(60_000)).count >= 1)
  }
}

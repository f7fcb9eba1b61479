// The program of `Embedding.md`, verbatim: a tidy test compares the two.

import OTLP
import Sampling

struct EmbeddedSampler: ~Copyable {
  private var sampler: Sampler
  private var effects = Effects()

  init() {
    var configuration = SamplerConfiguration()
    configuration.policies = [
      Policy(name: "errors", rule: .statusCode([.error])),
      Policy(name: "slow", rule: .latency(threshold: .seconds(1), upper: nil)),
      Policy(name: "rest", rule: .probabilistic(SamplingThreshold(probability: 0.01))),
    ]
    sampler = Sampler(partition: PartitionID(0), configuration: configuration)
  }

  /// Takes a request's bytes, if there is one, and returns the spans to keep as of now.
  mutating func spans(after request: [UInt8]?, at now: Instant) throws(MalformedInput) -> [[UInt8]] {
    let offset = sampler.nextOffset ?? Offset(0)
    let problem = request?.withRawBytes {
      sampler.ingest(offset: offset, timestamp: now, key: nil, value: $0, into: &effects)
    }
    // The outputs in `effects` so far are returned by the next call.
    if let problem = problem ?? nil { throw problem }
    sampler.advance(to: now, into: &effects)
    defer { effects.removeAll() }
    return effects.outputs.compactMap { output in
      if case .forward(_, let bytes, _) = output { Array(effects.bytes[bytes]) } else { nil }
    }
  }
}

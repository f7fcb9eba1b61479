// What the job of a lane that samples goes by.

package import Topology
package import Sampling

extension SamplingJob {
  /// What a lane that samples does, beside its samplers' own configuration.
  package struct Configuration: Sendable {
    /// The samplers' configuration.
    package var sampler: SamplerConfiguration
    /// How records are encoded.
    package var encoding = SpanEncoding.otlpProto
    /// The input topic's name, for dead letters.
    package var topic: String
    /// How often it is committed.
    package var pace = CommitPace()
    /// Bytes of memory that all partitions of the lane may take together: for undecided spans, for what is
    /// known of open traces, and for past verdicts.
    package var memoryBytesMax = 1 << 30
    /// Memory that a burst has left over is given back after this long, twice at the most.
    static let trimInterval = Interval.seconds(60)
    /// Spans are compressed when they take this much of what they may.
    package var compressAbovePercent = 50
    /// A partition that is caught up and quiet for this long lets its clock run by itself.
    package var idleAfter = Interval.seconds(1)
    /// The largest value that the topic of kept spans takes.
    package var sampledBytesMax = 900_000
    /// The most bytes that key, value and headers of a dead letter may have together.
    package var deadLetterBytesMax = 900_000

    /// Makes a configuration with the defaults above.
    package init(sampler: SamplerConfiguration, topic: String) {
      self.sampler = sampler
      self.topic = topic
    }

    /// The most that the pieces of one record may take of memory: a sixteenth, or what it takes to double the
    /// largest record, if that is more and no more than a quarter.
    var splitBytesMax: Int {
      let doubled = min(2 * min(sampler.limits.recordBytes, memoryBytesMax), memoryBytesMax / 4)
      return min(sampler.limits.splitBytes, max(memoryBytesMax / 16, doubled))
    }

    /// What a record needs while it is read and written is kept up to this much for the next one.
    var workingBytesKept: Int { max(1 << 20, memoryBytesMax / 64) }
  }
}

// The configuration of a sampling lane's job.

package import Sampling
package import Topology

extension SamplingJob {
  /// What configures a sampling lane, including its samplers.
  package struct Configuration: Sendable {
    /// The samplers' configuration.
    package var sampler: SamplerConfiguration
    /// How records are encoded.
    package var encoding = SpanEncoding.otlpProto
    /// How their values may be compressed.
    package var compression = ValueCompression.auto
    /// The input topic's name, for dead letters.
    package var topic: String
    /// How often to commit.
    package var pace = CommitPace()
    /// Bytes of memory that all partitions of the lane may take together: for undecided spans, for the tables
    /// of open traces, and for past verdicts.
    package var memoryBytesMax = 1 << 30
    /// Memory left over from a burst is released after this long, or twice as long at most.
    static let trimInterval = Interval.seconds(60)
    /// Spans are compressed when they use this much of their share.
    package var compressAbovePercent = 50
    /// Bytes a second that may be read again for recalls.
    package var recallBytesPerSecond = 32 << 20
    /// Bytes of verdicts that are read in a second to look up old ones.
    package var lookUpBytesPerSecond = 32 << 20
    /// How logs follow verdicts; nil if none do.
    package var logs: LogsConfiguration?
    /// The clock of a partition that has caught up and been quiet for this long advances with time.
    package var idleAfter = Interval.seconds(1)
    /// The largest value that the topic of kept spans accepts.
    package var sampledBytesMax = 900_000
    /// The most bytes of a dead letter's key, value and headers together.
    package var deadLetterBytesMax = 900_000

    /// Makes a configuration with the defaults above.
    package init(sampler: SamplerConfiguration, topic: String) {
      self.sampler = sampler
      self.topic = topic
    }

    /// The most memory for the pieces of one record: a sixteenth of the lane's, or twice the largest record
    /// if that is more, but at most a quarter.
    var splitBytesMax: Int {
      let doubled = min(2 * min(sampler.limits.recordBytes, memoryBytesMax), memoryBytesMax / 4)
      return min(sampler.limits.splitBytes, max(memoryBytesMax / 16, doubled))
    }

    /// The most bytes of spans held for recalls: an eighth of the lane's memory. One trace may exceed it.
    var recallBytesMax: Int { min(sampler.limits.recallBytes, memoryBytesMax / 8) }

    /// Working memory up to this much is kept from one record to the next.
    var workingBytesKept: Int { max(1 << 20, memoryBytesMax / 64) }
  }
}

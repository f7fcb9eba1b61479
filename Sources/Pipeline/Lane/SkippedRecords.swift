// Records that are delivered but skipped: they are counted and reported.

internal import Sampling

/// What a lane has skipped.
struct SkippedRecords {
  /// Records of partitions that were no longer assigned; their current owner reads them.
  private(set) var notAssigned: UInt64 = 0
  /// Records with an offset before the next one to read.
  private(set) var repeated: UInt64 = 0
  /// When a repeated record was last reported, by the steady clock.
  private var toldAt = Instant.distantPast

  /// The minimum time between reports of repeated records.
  private static let interval = Interval.seconds(60)

  mutating func noteNotAssigned() { notAssigned += 1 }

  /// After a rebalance the broker may redeliver records fetched before. After an unclean leader election the
  /// log may have been truncated and grown again: then these are different records.
  ///
  /// - Returns: what to report, at most once a minute.
  mutating func noteRepeated(_ place: RecordPlace, before next: Offset, at steady: Instant) -> LaneEvent? {
    repeated += 1
    guard toldAt + SkippedRecords.interval <= steady else { return nil }
    toldAt = steady
    return .repeated(place.partition, place.offset, next: next)
  }
}

extension LaneCounters {
  mutating func add(_ skipped: SkippedRecords) {
    recordsNotAssigned += skipped.notAssigned
    recordsRepeated += skipped.repeated
  }
}

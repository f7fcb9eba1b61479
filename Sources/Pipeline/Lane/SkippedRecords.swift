// Records that were delivered and are not taken: counted, and reported.

internal import Sampling

/// What a lane has skipped.
struct SkippedRecords {
  /// Records of partitions that were not assigned any more; whoever has them now reads them.
  private(set) var notAssigned: UInt64 = 0
  /// Records with an offset before the next one to read.
  private(set) var repeated: UInt64 = 0
  /// When a record that came again was last reported, by the steady clock.
  private var toldAt = Instant.distantPast

  /// How often records that come again are reported.
  private static let interval = Interval.seconds(60)

  mutating func noteNotAssigned() { notAssigned += 1 }

  /// After a rebalance the broker may deliver records again that were fetched before. So it may when a log
  /// was cut short (an unclean election) and has grown again: then these are other records.
  ///
  /// - Returns: what to report, no more than once a minute.
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

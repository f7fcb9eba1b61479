// Where a partition can be taken up again, and what has to be known besides the offset.

/// What is committed for a partition: every span before the safe offset is dealt with for good.
public struct CommitPoint: Equatable, Sendable {
  /// The offset of the first span of the oldest open trace; the next offset to read if none is open.
  public var safeOffset: Offset
  /// The stream clock when the record at the safe offset was read: reading again from there starts with it.
  public var clockAtSafeOffset: Instant
  /// The next offset to read. Of the records before it, those of traces already decided are dealt with.
  public var highWater: Offset
  /// The stream clock after the record before the high water.
  public var clock: Instant

  /// Makes a commit point.
  public init(safeOffset: Offset, clockAtSafeOffset: Instant, highWater: Offset, clock: Instant) {
    self.safeOffset = safeOffset
    self.clockAtSafeOffset = clockAtSafeOffset
    self.highWater = highWater
    self.clock = clock
  }

  /// What is stored beside the safe offset: `1;` (the version), then high water, clock at the safe offset and
  /// clock, as decimal numbers with `;` between.
  public var metadata: String {
    "1;\(highWater.value);\(clockAtSafeOffset.nanoseconds);\(clock.nanoseconds)"
  }

  /// Reads back what `metadata` wrote; nil for anything else, as another program may have committed.
  public init?(safeOffset: Offset, metadata: String) {
    let parts = metadata.split(separator: ";", omittingEmptySubsequences: false)
    guard parts.count == 4, parts[0] == "1", let highWater = Int64(parts[1]), let atSafe = Int64(parts[2]),
      let clock = Int64(parts[3]), highWater >= safeOffset.value, clock >= atSafe
    else { return nil }
    self.init(
      safeOffset: safeOffset, clockAtSafeOffset: Instant(nanoseconds: atSafe), highWater: Offset(highWater),
      clock: Instant(nanoseconds: clock))
  }
}

// Where the partitions are of a lane that keeps no traces: it deals with records one by one.

internal import Sampling

/// The partitions that are read, and how far each is.
struct ReadPositions {
  /// A partition that is read.
  struct Position {
    let id: PartitionID
    /// Differs from that of the same partition's other assignments.
    let epoch: UInt64
    /// The next offset to read; nil before the first record of a partition without a commit.
    fileprivate(set) var next: Offset?
    /// The offset last committed by this lane, or found by it.
    fileprivate var committed: Offset?
    /// The largest timestamp.
    fileprivate var clock: Instant?
    /// Records that are read but not dealt with; none if that happens at once.
    var pending = PendingRecords()

    /// What may be committed.
    fileprivate var point: Offset? { pending.first ?? next }
  }

  private var all: [Position] = []
  private var epochs: UInt64 = 0
  private(set) var skipped = SkippedRecords()

  var ids: [PartitionID] { all.map(\.id) }
  /// The partitions, and where to read on.
  var places: [(PartitionID, Offset?)] { all.map { ($0.id, $0.next) } }
  var indices: Range<Int> { all.indices }

  subscript(index: Int) -> Position {
    get { all[index] }
    set { all[index] = newValue }
  }

  func index(of id: PartitionID) -> Int? { all.firstIndex { $0.id == id } }

  /// The partition, unless it has been released since.
  func index(of id: PartitionID, epoch: UInt64) -> Int? {
    all.firstIndex { $0.id == id && $0.epoch == epoch }
  }

  /// Adds a partition that is read from an offset, nil if none was committed.
  mutating func add(_ id: PartitionID, from offset: Offset?) {
    epochs += 1
    all.append(Position(id: id, epoch: epochs, next: offset, committed: offset))
  }

  /// Removes partitions, and returns what was pending of each.
  mutating func remove(_ ids: [PartitionID]) -> [PendingRecords] {
    let pending = all.filter { ids.contains($0.id) }.map(\.pending)
    all.removeAll { ids.contains($0.id) }
    return pending
  }

  /// Moves past a record that was delivered. Returns its partition's index, nil if the record is to be
  /// skipped.
  mutating func pass(_ place: RecordPlace, at steady: Instant, report: (LaneEvent) -> Void) -> Int? {
    guard let index = index(of: place.partition) else {
      skipped.noteNotAssigned()
      return nil
    }
    if let next = all[index].next, place.offset < next {
      if let event = skipped.noteRepeated(place, before: next, at: steady) { report(event) }
      return nil
    }
    all[index].next = place.offset.next
    if let timestamp = place.timestamp { all[index].clock = max(all[index].clock ?? timestamp, timestamp) }
    return index
  }

  /// Notes where to read on before anything has been read: asked again, `auto.offset.reset` might say a later
  /// place.
  mutating func begin(_ index: Int, at offset: Offset) {
    if all[index].next == nil { all[index].next = offset }
  }

  /// Moves past transaction markers at the log's end: no record would.
  mutating func passEnd(of id: PartitionID, at offset: Offset) {
    guard let index = index(of: id), all[index].next.map({ $0 < offset }) ?? true else { return }
    all[index].next = offset
  }

  func points(all wantsAll: Bool) -> [(PartitionID, CommitPoint)] {
    let time = Instant(nanoseconds: 0)
    return all.compactMap { position in
      guard let next = position.point, wantsAll || position.committed != next else { return nil }
      let point = CommitPoint(safeOffset: next, clockAtSafeOffset: time, highWater: next, clock: time)
      return (position.id, point)
    }
  }

  mutating func noteCommitted(_ points: [(PartitionID, CommitPoint)]) {
    for (id, point) in points {
      guard let index = index(of: id) else { continue }
      all[index].committed = point.safeOffset
    }
  }

  func measured(by link: some BrokerLink) -> [PartitionPosition] {
    all.map { position in
      PartitionPosition(
        partition: position.id, next: position.point, end: link.knownEnd(of: position.id),
        clock: position.clock)
    }
  }
}

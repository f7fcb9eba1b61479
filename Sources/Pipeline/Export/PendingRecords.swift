// A partition's records that a store has not answered for yet, in order.

internal import Sampling

/// A record, or a part of one, that becomes a dead letter once everything before it is dealt with.
struct HeldLetter {
  var letter: DeadLetter
  var key: [UInt8]?
  var value: [UInt8]?

  var byteCount: Int { (key?.count ?? 0) + (value?.count ?? 0) }
}

/// The records of a partition from the first that is not dealt with. What is committed is the offset of that
/// one, so dead letters wait for their turn: written out of turn, they would be written again after a crash.
struct PendingRecords {
  enum State {
    /// In a request, or about to be.
    case sent
    /// The store has it.
    case done
    /// It goes to the dead letters.
    case dead(HeldLetter)
  }

  private var records: [(offset: Offset, state: State)] = []
  /// The index of the first.
  private var start = 0

  /// The offset of the first record that is not dealt with.
  var first: Offset? { start < records.count ? records[start].offset : nil }
  var count: Int { records.count - start }
  /// Bytes of the dead letters that wait.
  var heldBytes: Int {
    records[start...].reduce(0) { bytes, record in
      guard case .dead(let held) = record.state else { return bytes }
      return bytes + held.byteCount
    }
  }

  /// - Parameter offset: after those of all others.
  mutating func append(_ offset: Offset, _ state: State) {
    records.append((offset, state))
  }

  /// Notes what has become of a record. Does nothing if it is not there.
  mutating func note(_ offset: Offset, _ state: State) {
    var (low, high) = (start, records.count)
    while low < high {
      let middle = (low + high) / 2
      if records[middle].offset < offset { low = middle + 1 } else { high = middle }
    }
    guard low < records.count, records[low].offset == offset else { return }
    records[low].state = state
  }

  /// Removes the first record if it is dealt with; nil if it is not, or there is none.
  mutating func takeFirst() -> State? {
    guard start < records.count else { return nil }
    let state = records[start].state
    if case .sent = state { return nil }
    // Not to keep a letter's bytes.
    records[start].state = .done
    start += 1
    if start == records.count {
      records.removeAll(keepingCapacity: true)
      start = 0
    } else if start >= 1024, start > records.count / 2 {
      records.removeFirst(start)
      start = 0
    }
    return state
  }
}

// Notes on open traces that do not fit a fixed slot: which services took part, which spans failed.

import OTLP
import SpanStorage

/// The services of one trace: the first few, and where the others are in `ServiceLists`.
struct ServiceList: BitwiseCopyable {
  fileprivate var first: [4 of UInt32] = [0, 0, 0, 0]
  /// The block being filled; those after it are full. Negative if there is none.
  fileprivate var block: Int32 = -1
  fileprivate(set) var count: UInt16 = 0
}

/// The services of each trace beyond the first few: short lists in blocks of one pool.
struct ServiceLists: ~Copyable {
  struct Block {
    var services: [7 of UInt32]
    var next: Int32
  }

  private static let inTrace = 4
  private static let perBlock = 7
  private var blocks = SlotPool<Block>()

  /// Bytes of memory in use.
  var byteCount: Int { blocks.byteCount }

  /// Whether `list` contains `service`.
  @inline(__always)
  func contains(_ service: NameID, _ list: ServiceList) -> Bool {
    for place in 0..<min(Int(list.count), ServiceLists.inTrace) where list.first[place] == service.slot {
      return true
    }
    return list.block >= 0 && containsMore(service, list)
  }

  private func containsMore(_ service: NameID, _ list: ServiceList) -> Bool {
    var left = Int(list.count) - ServiceLists.inTrace
    var block = list.block
    while left > 0 {
      let inBlock = (left - 1) % ServiceLists.perBlock + 1
      for place in 0..<inBlock where blocks[Int(block)].services[place] == service.slot { return true }
      left -= inBlock
      block = blocks[Int(block)].next
    }
    return false
  }

  /// Adds `service` to a list.
  @inline(__always)
  mutating func add(_ service: NameID, to list: inout ServiceList) {
    if list.count < ServiceLists.inTrace {
      list.first[Int(list.count)] = service.slot
    } else {
      addMore(service, to: &list)
    }
    list.count += 1
  }

  private mutating func addMore(_ service: NameID, to list: inout ServiceList) {
    let place = (Int(list.count) - ServiceLists.inTrace) % ServiceLists.perBlock
    if place == 0 {
      let block = Block(services: .init(repeating: 0), next: list.block)
      list.block = Int32(truncatingIfNeeded: blocks.take(block))
    }
    blocks[Int(list.block)].services[place] = service.slot
  }

  /// Calls `body` with each service, in the order they were added.
  @inline(__always)
  func forEach(_ list: ServiceList, _ body: (NameID) -> Void) {
    for place in 0..<min(Int(list.count), ServiceLists.inTrace) { body(NameID(slot: list.first[place])) }
    var left = Int(list.count) - ServiceLists.inTrace
    // Few traces have a second block.
    var before = left <= 0 ? 0 : (left - 1) / ServiceLists.perBlock
    while left > 0 {
      let block = Int(self.block(list.block, after: before))
      for place in 0..<min(left, ServiceLists.perBlock) {
        body(NameID(slot: blocks[block].services[place]))
      }
      left -= ServiceLists.perBlock
      before -= 1
    }
  }

  /// The block that is `steps` after `first`.
  private func block(_ first: Int32, after steps: Int) -> Int32 {
    var block = first
    for _ in 0..<steps { block = blocks[Int(block)].next }
    return block
  }

  /// Frees the list's blocks.
  @inline(__always)
  mutating func release(_ list: ServiceList) {
    var block = list.block
    while block >= 0 {
      blocks.release(Int(block))
      block = blocks[Int(block)].next
    }
  }

  /// Releases memory not needed since the last call.
  mutating func trim() { blocks.trim() }
}

/// What finding the error origin needs of a span with status ERROR.
struct ErrorNote {
  var spanID: UInt64
  var parentID: UInt64
  var end: UInt64
  var service: NameID
  var operation: NameID
  /// The trace's previous note.
  var previous: Int32
}

/// The error spans of each trace.
struct ErrorNotes: ~Copyable {
  private var notes = SlotPool<ErrorNote>()

  /// Bytes of memory in use.
  var byteCount: Int { notes.byteCount }

  /// Adds a note; returns where it is.
  mutating func add(_ note: ErrorNote) -> Int32 {
    Int32(truncatingIfNeeded: notes.take(note))
  }

  /// The error span with no error span among its children; of several the one that ended first, then the one
  /// with the smallest id. It answers "which service caused it".
  ///
  /// If spans name each other in a ring, none is childless: then the one that ended first of all.
  func origin(from last: Int32) -> ErrorNote? {
    var origin: ErrorNote?
    var earliest: ErrorNote?
    var slot = last
    while slot >= 0 {
      let note = notes[Int(slot)]
      if note.isEarlier(than: earliest) { earliest = note }
      if note.isEarlier(than: origin), !hasChild(note.spanID, from: last) { origin = note }
      slot = note.previous
    }
    return origin ?? earliest
  }

  private func hasChild(_ spanID: UInt64, from last: Int32) -> Bool {
    var slot = last
    while slot >= 0 {
      if notes[Int(slot)].parentID == spanID { return true }
      slot = notes[Int(slot)].previous
    }
    return false
  }

  /// Calls `body` with each note of a trace, the last one first.
  func forEach(from last: Int32, _ body: (ErrorNote) -> Void) {
    var slot = last
    while slot >= 0 {
      body(notes[Int(slot)])
      slot = notes[Int(slot)].previous
    }
  }

  /// Frees a trace's notes, passing each to `body` first.
  mutating func release(from last: Int32, _ body: (ErrorNote) -> Void) {
    var slot = last
    while slot >= 0 {
      let note = notes[Int(slot)]
      body(note)
      notes.release(Int(slot))
      slot = note.previous
    }
  }

  /// Releases memory not needed since the last call.
  mutating func trim() { notes.trim() }
}

extension ErrorNote {
  fileprivate func isEarlier(than other: ErrorNote?) -> Bool {
    guard let other else { return true }
    return (end, spanID) < (other.end, other.spanID)
  }
}

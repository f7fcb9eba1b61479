// Names of services and operations, each stored once, as records have them.

import Invariants
import OTLP

/// The number of a name in a `NameTable`.
struct NameID: Hashable, Sendable {
  let slot: UInt32

  /// No name: nothing was given, or there was no room for it.
  static let none = NameID(slot: .max)
}

/// Stores each name once and counts its references.
///
/// An unreferenced name stays until the table is over its capacity, so that the names of a steady stream are
/// found rather than added again. Pinned names (the services) stay for good; at its capacity the table pins
/// no more.
///
/// Names are read once and written many times, so they are stored as JSON strings.
struct NameTable {
  private struct Entry {
    /// The name as a JSON string. If that has not the name's own bytes between its quotes, these follow.
    var bytes: [UInt8]
    /// The length of the string.
    var textCount: UInt32
    var hash: UInt32
    var references: UInt32
    var isFree = false

    /// Where the name's own bytes are.
    @inline(__always)
    var name: Range<Int> {
      let text = Int(textCount)
      return bytes.count == text ? 1..<text - 1 : text..<bytes.count
    }
  }

  /// The string of an empty name.
  private static let noName = Array(#""""#.utf8)

  private var entries: [Entry] = []
  private var nameBytes = 0
  /// Room to write the string of a new name.
  private var scratch: [UInt8] = []
  private var free: [UInt32] = []
  private var index = HashIndex()
  private let seed: HashSeed
  private let capacity: Int
  private let bytesMax: Int

  /// - Parameters:
  ///   - capacity: how many names stay, referenced or not.
  ///   - bytesMax: longer names are cut to this many bytes.
  init(seed: HashSeed, capacity: Int, bytesMax: Int) {
    self.seed = seed
    self.capacity = capacity
    self.bytesMax = bytesMax
  }

  /// How many names there are.
  var count: Int { index.count }

  /// Bytes of memory in use; for each name, 32 are added for the header of its bytes.
  var byteCount: Int {
    nameBytes + index.count * 32 + entries.capacity * MemoryLayout<Entry>.stride + free.capacity * 4
      + index.byteCount
  }

  /// The most bytes that a name has taken as a JSON string.
  private(set) var textBytesMax = 2

  /// The name's bytes; empty for `none`.
  func bytes(of name: NameID) -> [UInt8] {
    withBytes(of: name) { $0.copied() }
  }

  /// Lends the name's bytes to `body`; none for `none`.
  @inline(__always)
  func withBytes<Result>(of name: NameID, _ body: (RawSpan) -> Result) -> Result {
    guard name != .none else { return [].withRawBytes(body) }
    let place = entries[Int(name.slot)].name
    return entries[Int(name.slot)].bytes.withRawBytes { body($0.extracting(place)) }
  }

  /// Appends the name as a JSON string, which takes `textBytesMax` at the most; an empty one for `none`.
  @inline(__always)
  func appendText(of name: NameID, to out: inout TextOutput) {
    guard name != .none else { return out.append(#""""#) }
    let count = Int(entries[Int(name.slot)].textCount)
    entries[Int(name.slot)].bytes.withRawBytes { out.append($0.extracting(first: count)) }
  }

  /// Finds or adds `name` and counts one more reference.
  mutating func intern(_ name: RawSpan) -> NameID {
    let cut = name.extracting(first: bytesMax)
    let hash = seed.hash(cut)
    let slot: Int
    if let known = find(cut, hash) {
      slot = known
    } else {
      if index.count >= capacity { sweepIfWorthwhile() }
      slot = add(cut, hash)
    }
    entries[slot].references += 1
    return NameID(slot: UInt32(truncatingIfNeeded: slot))
  }

  /// Finds `name` and counts one more reference; `none` if it is not in the table.
  mutating func internKnown(_ name: RawSpan) -> NameID {
    let cut = name.extracting(first: bytesMax)
    guard let slot = find(cut, seed.hash(cut)) else { return .none }
    entries[slot].references += 1
    return NameID(slot: UInt32(truncatingIfNeeded: slot))
  }

  /// Finds or adds `name` for good. Nil if it is new and the table is at its capacity.
  mutating func pin(_ name: RawSpan) -> NameID? {
    let cut = name.extracting(first: bytesMax)
    let hash = seed.hash(cut)
    if let known = find(cut, hash) { return NameID(slot: UInt32(truncatingIfNeeded: known)) }
    guard index.count < capacity else { return nil }
    let slot = add(cut, hash)
    entries[slot].references = 1
    return NameID(slot: UInt32(truncatingIfNeeded: slot))
  }

  /// The number of `name`, if it is in the table.
  func find(_ name: RawSpan) -> NameID? {
    let cut = name.extracting(first: bytesMax)
    return find(cut, seed.hash(cut)).map { NameID(slot: UInt32(truncatingIfNeeded: $0)) }
  }

  /// Counts one more reference to a name in the table.
  mutating func retain(_ name: NameID) {
    entries[Int(name.slot)].references += 1
  }

  /// Whether one more name fits the capacity, after freeing unreferenced ones.
  mutating func makeRoom() -> Bool {
    guard index.count >= capacity else { return true }
    // The count stands still while names are refused, so each refusal brings the next sweep nearer.
    nextSweepCount -= 1
    sweepIfWorthwhile()
    return index.count < capacity
  }

  private func find(_ name: RawSpan, _ hash: UInt32) -> Int? {
    index.find(hash) { slot in
      let place = entries[slot].name
      return entries[slot].bytes.withRawBytes { $0.extracting(place).isEqual(to: name) }
    }
  }

  private mutating func add(_ name: RawSpan, _ hash: UInt32) -> Int {
    scratch.removeAll(keepingCapacity: true)
    scratch.appendText(room: JSONSize.stringMax(name.byteCount)) { $0.appendJSONString(name) }
    let textCount = scratch.count
    textBytesMax = max(textBytesMax, textCount)
    let isAsWritten = scratch.withRawBytes { $0.extracting(1..<textCount - 1).isEqual(to: name) }
    if !isAsWritten { scratch += name.copied() }
    // A copy has no room to spare.
    let entry = Entry(
      bytes: scratch.withRawBytes { $0.copied() }, textCount: UInt32(truncatingIfNeeded: textCount),
      hash: hash, references: 0)
    nameBytes += entry.bytes.count
    let slot: Int
    if let reused = free.popLast() {
      slot = Int(reused)
      entries[slot] = entry
    } else {
      slot = entries.count
      entries.append(entry)
    }
    index.insert(hash, slot: slot)
    return slot
  }

  /// Drops one reference to `name`.
  mutating func release(_ name: NameID) {
    guard name != .none else { return }
    invariant(entries[Int(name.slot)].references > 0, "name \(name.slot) is released once too often")
    entries[Int(name.slot)].references -= 1
  }

  private var nextSweepCount = 0
  /// How often unreferenced names were freed: until the next time, each name keeps its number.
  private(set) var sweepCount = 0

  /// Frees unreferenced names. A sweep walks all entries, those of a past burst included, so the next one
  /// waits until half as many names have been added: sweeping costs a constant per name.
  private mutating func sweepIfWorthwhile() {
    guard index.count >= nextSweepCount else { return }
    for slot in entries.indices where entries[slot].references == 0 && !entries[slot].isFree {
      index.remove(entries[slot].hash, slot: slot)
      nameBytes -= entries[slot].bytes.count
      entries[slot].bytes = NameTable.noName
      entries[slot].textCount = UInt32(NameTable.noName.count)
      entries[slot].isFree = true
      free.append(UInt32(truncatingIfNeeded: slot))
    }
    sweepCount += 1
    nextSweepCount = max(capacity, index.count + entries.count / 2)
  }
}

// Names of services and operations, each stored once.

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
struct NameTable {
  private struct Entry {
    var bytes: [UInt8]
    var hash: UInt32
    var references: UInt32
    var isFree = false
  }

  private var entries: [Entry] = []
  private var nameBytes = 0
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

  /// The name's bytes; empty for `none`.
  func bytes(of name: NameID) -> [UInt8] {
    name == .none ? [] : entries[Int(name.slot)].bytes
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
    index.find(hash) { slot in entries[slot].bytes.withRawBytes { $0.isEqual(to: name) } }
  }

  private mutating func add(_ name: RawSpan, _ hash: UInt32) -> Int {
    let entry = Entry(bytes: name.copied(), hash: hash, references: 0)
    nameBytes += name.byteCount
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

  /// Frees unreferenced names. A sweep walks all entries, those of a past burst included, so the next one
  /// waits until half as many names have been added: sweeping costs a constant per name.
  private mutating func sweepIfWorthwhile() {
    guard index.count >= nextSweepCount else { return }
    for slot in entries.indices where entries[slot].references == 0 && !entries[slot].isFree {
      index.remove(entries[slot].hash, slot: slot)
      nameBytes -= entries[slot].bytes.count
      entries[slot].bytes = []
      entries[slot].isFree = true
      free.append(UInt32(truncatingIfNeeded: slot))
    }
    nextSweepCount = max(capacity, index.count + entries.count / 2)
  }
}

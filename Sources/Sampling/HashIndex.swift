// The open-addressing index behind every table of the core.

import Invariants
import OTLP

/// Maps 32-bit hashes to slots of a separate table: linear probing, deletion by backward shift, no
/// tombstones.
///
/// A bucket holds the hash and the slot, so growing and deleting never touch the table, and a probe touches
/// it only if the whole hash matches. At most three quarters of the buckets are in use. The order of buckets
/// depends on the hash seed; nothing iterates over it.
///
/// Source of the deletion: Knuth, The Art of Computer Programming, volume 3, section 6.4, algorithm R.
struct HashIndex {
  /// The high half is the hash, the low half the slot plus one; zero is an empty bucket.
  private var buckets: [UInt64]
  private(set) var count = 0

  init(capacity: Int = 0) {
    buckets = Array(repeating: 0, count: HashIndex.size(capacity))
  }

  /// How many buckets `capacity` slots need.
  private static func size(_ capacity: Int) -> Int {
    var size = 16
    while size * 3 / 4 < capacity { size *= 2 }
    return size
  }

  /// Bytes of an index with room for `capacity` slots.
  static func byteCount(capacity: Int) -> Int { size(capacity) * MemoryLayout<UInt64>.stride }

  /// Bytes of memory in use.
  var byteCount: Int { buckets.count * 8 }

  /// The first slot under `hash` that `isMatch` accepts, or nil.
  @inline(__always)
  func find(_ hash: UInt32, where isMatch: (Int) -> Bool) -> Int? {
    let mask = buckets.count - 1
    var position = Int(hash) & mask
    while true {
      let bucket = buckets[position]
      if bucket == 0 { return nil }
      if UInt32(truncatingIfNeeded: bucket >> 32) == hash {
        let slot = Int(UInt32(truncatingIfNeeded: bucket)) - 1
        if isMatch(slot) { return slot }
      }
      position = (position + 1) & mask
    }
  }

  /// Adds `slot` under `hash`. The caller has checked that it is not in the index.
  mutating func insert(_ hash: UInt32, slot: Int) {
    invariant(slot >= 0 && slot < Int(UInt32.max) - 1, "slot \(slot) does not fit the index")
    if (count + 1) * 4 > buckets.count * 3 { rebuild(2 * buckets.count) }
    place(UInt64(hash) << 32 | UInt64(slot + 1))
    count += 1
  }

  /// Removes `slot` under `hash`.
  mutating func remove(_ hash: UInt32, slot: Int) {
    let mask = buckets.count - 1
    let wanted = UInt64(hash) << 32 | UInt64(slot + 1)
    var buckets = self.buckets.mutableSpan
    var hole = Int(hash) & mask
    while buckets[hole] != wanted {
      invariant(buckets[hole] != 0, "slot \(slot) is not in the index")
      hole = (hole + 1) & mask
    }
    var next = (hole + 1) & mask
    while buckets[next] != 0 {
      let home = Int(UInt32(truncatingIfNeeded: buckets[next] >> 32)) & mask
      // The bucket may fill the hole unless its home lies between the hole and the bucket.
      if (next - home) & mask >= (next - hole) & mask {
        buckets[hole] = buckets[next]
        hole = next
      }
      next = (next + 1) & mask
    }
    buckets[hole] = 0
    count -= 1
  }

  /// Puts `slot` in the place of `old` under the same hash.
  mutating func replace(_ hash: UInt32, slot old: Int, by slot: Int) {
    let mask = buckets.count - 1
    let wanted = UInt64(hash) << 32 | UInt64(old + 1)
    var buckets = self.buckets.mutableSpan
    var position = Int(hash) & mask
    while buckets[position] != wanted {
      invariant(buckets[position] != 0, "slot \(old) is not in the index")
      position = (position + 1) & mask
    }
    buckets[position] = UInt64(hash) << 32 | UInt64(slot + 1)
  }

  /// Replaces each slot by what `number` returns for it.
  mutating func renumber(_ number: (Int) -> Int) {
    for position in buckets.indices where buckets[position] != 0 {
      let slot = Int(UInt32(truncatingIfNeeded: buckets[position])) - 1
      buckets[position] = (buckets[position] >> 32) << 32 | UInt64(number(slot) + 1)
    }
  }

  /// Releases room beyond that for `capacity` slots.
  mutating func trim(capacity: Int) {
    let size = HashIndex.size(max(capacity, count))
    if size < buckets.count { rebuild(size) }
  }

  private mutating func place(_ bucket: UInt64) {
    var buckets = self.buckets.mutableSpan
    HashIndex.place(bucket, in: &buckets)
  }

  private mutating func rebuild(_ size: Int) {
    invariant(count < size, "\(count) slots in \(size) buckets")
    let old = buckets
    buckets = Array(repeating: 0, count: size)
    var buckets = self.buckets.mutableSpan
    for bucket in old where bucket != 0 { HashIndex.place(bucket, in: &buckets) }
  }

  @inline(__always)
  private static func place(_ bucket: UInt64, in buckets: inout MutableSpan<UInt64>) {
    let mask = buckets.count - 1
    var position = Int(UInt32(truncatingIfNeeded: bucket >> 32)) & mask
    while buckets[position] != 0 { position = (position + 1) & mask }
    buckets[position] = bucket
  }
}

/// Mixes identifiers into hashes. The seed keeps a hostile producer from choosing ids that share a bucket.
struct HashSeed: Sendable {
  let value: UInt64

  /// Multiplies to 128 bits and folds: one step of wyhash (public domain, Wang Yi).
  @inline(__always)
  func fold(_ left: UInt64, _ right: UInt64) -> UInt64 {
    let product = left.multipliedFullWidth(by: right)
    return product.high ^ product.low
  }

  @inline(__always)
  func hash(high: UInt64, low: UInt64) -> UInt32 {
    let mixed = fold(high ^ value ^ 0xa076_1d64_78bd_642f, low ^ value ^ 0xe703_7ed1_a0b4_28db)
    return UInt32(truncatingIfNeeded: mixed ^ mixed >> 32)
  }

  /// Eight bytes at a time, each folded with the seed: without knowing it, nobody can make names collide.
  @inline(__always)
  func hash(_ bytes: RawSpan) -> UInt32 {
    let digest = digest(bytes)
    return UInt32(truncatingIfNeeded: digest ^ digest >> 32)
  }

  /// The same in 64 bits, for bytes identified by nothing else.
  @inline(__always)
  func digest(_ bytes: RawSpan) -> UInt64 {
    var state = value ^ UInt64(bytes.byteCount)
    let key = value ^ 0xe703_7ed1_a0b4_28db
    // Most names are two words long at most: the second may overlap the first.
    if bytes.byteCount >= 8, bytes.byteCount <= 16 {
      state = fold(state ^ 0xa076_1d64_78bd_642f, bytes.word(at: 0) ^ key)
      return fold(state ^ 0xa076_1d64_78bd_642f, bytes.word(at: bytes.byteCount &- 8) ^ key)
    }
    var offset = 0
    while bytes.byteCount &- offset >= 8 {
      state = fold(state ^ 0xa076_1d64_78bd_642f, bytes.word(at: offset) ^ key)
      offset &+= 8
    }
    return fold(state ^ 0xa076_1d64_78bd_642f, bytes.lastWord(from: offset) ^ key)
  }
}

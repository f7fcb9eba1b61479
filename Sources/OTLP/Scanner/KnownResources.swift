// Recognises resources that earlier records had, byte for byte.
//
// A process sends the same resource with all its records. Comparing it with a copy takes a fraction of what
// reading it and looking up its service takes.

/// The latest resources of different content, up to 256, and where in each the service's name is. Converters
/// remember what other encodings have in place of resources.
///
/// Each has one place, which follows from its bytes, so looking one up takes one comparison. Where too many
/// alternate, they are read as if nothing were known.
package struct KnownResources: Sendable {
  private struct Entry {
    /// The number of the resource; 0 if there is none.
    var number: UInt64 = 0
    var byteCount = 0
    /// From the beginning of the resource; nil if it names no service.
    var service: ByteRange?
  }

  package static let places = 256
  /// The longest resource that is remembered.
  private static let bytesMax = 1024

  private var entries: [Entry] = []
  /// The resources' bytes, `bytesMax` for each place.
  private var copies: [UInt8] = []
  /// How many resources have been remembered so far. Numbers are never used again: others keep them.
  private var count: UInt64

  /// Whether resources are remembered at all.
  private let isUsed: Bool

  package init(isUsed: Bool) {
    self.isUsed = isUsed
    count = 0
  }

  /// Forgets all of them; numbers go on.
  mutating func release() {
    entries = []
    copies = []
  }

  /// Bytes of memory in use.
  package var byteCount: Int { entries.capacity * MemoryLayout<Entry>.stride + copies.capacity }

  /// A resource that is known.
  package struct Found {
    package let number: UInt64
    package let service: ByteRange?
  }

  /// What is known of the resource in `range` of `bytes`.
  @inline(__always)
  package func find(_ range: ByteRange, place: Int, in bytes: RawSpan) -> Found? {
    guard place < entries.count, entries[place].byteCount == Int(range.count) else { return nil }
    let start = place * KnownResources.bytesMax
    let isSame = copies.withRawBytes {
      $0.extracting(start..<start + Int(range.count)).isEqual(to: bytes.extracting(range.indices))
    }
    guard isSame else { return nil }
    let service = entries[place].service.map { ByteRange(offset: range.offset &+ $0.offset, count: $0.count) }
    return Found(number: entries[place].number, service: service)
  }

  /// Remembers a resource in place of another. Returns its number.
  @discardableResult
  package mutating func remember(
    _ range: ByteRange, place: Int, service: ByteRange?, in bytes: RawSpan
  ) -> UInt64 {
    if entries.isEmpty {
      entries = Array(repeating: Entry(), count: KnownResources.places)
      copies = Array(repeating: 0, count: KnownResources.places * KnownResources.bytesMax)
    }
    let start = place * KnownResources.bytesMax
    // Sound: the source is borrowed for the call; the target's range is checked.
    unsafe bytes.extracting(range.indices).withUnsafeBytes { source in
      unsafe copies.withUnsafeMutableBytes { target in
        unsafe UnsafeMutableRawBufferPointer(rebasing: target[start..<start + source.count])
          .copyMemory(from: source)
      }
    }
    count += 1
    let number = count << 8 | UInt64(place)
    entries[place] = Entry(
      number: number, byteCount: Int(range.count),
      service: service.map { ByteRange(offset: $0.offset - range.offset, count: $0.count) })
    return number
  }

  /// The place of a resource; nil if it is not to be remembered: it is too short or too long.
  ///
  /// It follows from all bytes: what tells processes apart may be short, and be anywhere.
  @inline(__always)
  package func place(of range: ByteRange, in bytes: RawSpan) -> Int? {
    guard isUsed, range.count >= 8, range.count <= UInt32(KnownResources.bytesMax) else { return nil }
    var offset = Int(range.offset)
    let end = range.indices.upperBound &- 8
    // The last eight bytes, some of which are read again.
    var mixed = bytes.word(at: end)
    while end &- offset > 24 {
      // Sound, here and below: the words lie before `end`, which lies in these bytes.
      mixed = unsafe mixed.mixed(bytes.uncheckedWord(at: offset)).mixed(bytes.uncheckedWord(at: offset &+ 8))
      mixed = unsafe mixed.mixed(bytes.uncheckedWord(at: offset &+ 16))
        .mixed(bytes.uncheckedWord(at: offset &+ 24))
      offset &+= 32
    }
    while offset < end {
      mixed = unsafe mixed.mixed(bytes.uncheckedWord(at: offset))
      offset &+= 8
    }
    return Int((mixed &* 0x9e37_79b9_7f4a_7c15) >> 56)
  }
}

extension UInt64 {
  /// Mixes in the next word.
  @inline(__always)
  fileprivate func mixed(_ word: UInt64) -> UInt64 { (self << 5 | self >> 59) ^ word }
}

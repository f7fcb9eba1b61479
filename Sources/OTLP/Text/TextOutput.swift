// Text written straight into reserved room: fixed runs, and words of eight characters.
//
// A writer reserves room for a whole run of fields once, with `Array.append(addingCapacity:)`, and then only
// stores. Each step still checks that there is room.

extension OutputSpan<UInt8> {
  /// Appends fixed text.
  @inlinable @inline(__always)
  package mutating func append(_ text: StaticString) {
    let count = text.utf8CodeUnitCount
    precondition(freeCapacity >= count, "no room for fixed text")
    // Sound: a static string has `count` bytes at `utf8Start` for the lifetime of the program, and the free
    // part has room for as many.
    unsafe withUnsafeMutableBufferPointer { buffer, initialized in
      unsafe UnsafeMutableRawBufferPointer(rebasing: UnsafeMutableRawBufferPointer(buffer)[initialized...])
        .copyMemory(from: UnsafeRawBufferPointer(start: text.utf8Start, count: count))
      initialized += count
    }
  }

  /// Appends bytes unchanged.
  @inlinable @inline(__always)
  package mutating func append(_ bytes: RawSpan) {
    precondition(freeCapacity >= bytes.byteCount, "no room for bytes")
    // Sound: both pointers are used inside the closures only, and the free part has room for the bytes.
    unsafe withUnsafeMutableBufferPointer { buffer, initialized in
      let count = initialized
      unsafe bytes.withUnsafeBytes { source in
        unsafe UnsafeMutableRawBufferPointer(rebasing: UnsafeMutableRawBufferPointer(buffer)[count...])
          .copyMemory(from: source)
      }
      initialized += bytes.byteCount
    }
  }

  /// Appends the first `count` bytes of `word`, the lowest first. All eight are stored: there must be room
  /// for them, whatever `count` is.
  @inlinable @inline(__always)
  package mutating func append(word: UInt64, count: Int) {
    precondition(freeCapacity >= 8 && count >= 0 && count <= 8, "no room for a word")
    // Sound: the free part has room for eight bytes, and a UInt64 is stored at any alignment.
    unsafe withUnsafeMutableBufferPointer { buffer, initialized in
      unsafe UnsafeMutableRawBufferPointer(buffer)
        .storeBytes(of: word.littleEndian, toByteOffset: initialized, as: UInt64.self)
      initialized += count
    }
  }
}

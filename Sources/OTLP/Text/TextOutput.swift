// Text written straight into reserved room: fixed runs, and words of eight characters.
//
// A writer reserves room for a whole run of fields once, with `Array.appendText(room:_:)`, and then only
// stores. Each step still checks that there is room.

/// Room at the end of an array that text is written into.
///
/// Only `appendText` makes one, and lends it: it can be neither copied nor kept.
@safe @usableFromInline @frozen
package struct TextOutput: ~Copyable {
  /// Where the next byte goes.
  @usableFromInline var place: UnsafeMutableRawPointer
  /// Where the room ends.
  @usableFromInline let end: UnsafeMutableRawPointer

  @inlinable @inline(__always)
  init(place: UnsafeMutableRawPointer, end: UnsafeMutableRawPointer) {
    unsafe self.place = unsafe place
    unsafe self.end = unsafe end
  }

  /// Bytes that still fit.
  @inlinable package var room: Int {
    @inline(__always) get { unsafe end - place }
  }

  /// Appends a byte.
  @inlinable @inline(__always)
  package mutating func append(_ byte: UInt8) {
    precondition(room >= 1, "no room for a byte")
    // Sound: the byte at `place` is before `end`.
    unsafe place.storeBytes(of: byte, as: UInt8.self)
    unsafe place += 1
  }

  /// Appends fixed text.
  @inlinable @inline(__always)
  package mutating func append(_ text: StaticString) {
    let count = text.utf8CodeUnitCount
    precondition(room >= count, "no room for fixed text")
    // Sound: a static string has `count` bytes at `utf8Start` for the whole run of the program, and there is
    // room for as many.
    unsafe place.copyMemory(from: text.utf8Start, byteCount: count)
    unsafe place += count
  }

  /// Appends bytes unchanged.
  @inlinable @inline(__always)
  package mutating func append(_ bytes: RawSpan) {
    let count = bytes.byteCount
    precondition(room >= count, "no room for bytes")
    // Sound: the pointer is used inside the closure only, for the span's own length, and there is room for
    // as many bytes. An empty span may have no address.
    unsafe bytes.withUnsafeBytes { source in
      if let first = source.baseAddress { unsafe copy(from: first, count) }
    }
    unsafe place += count
  }

  /// Copies `count` bytes to `place`. Names are short: their first bytes and their last, which may overlap,
  /// take fewer instructions than a call.
  ///
  /// Sound if there are `count` bytes at `source`, and room for them.
  @unsafe @inlinable @inline(__always)
  func copy(from source: UnsafeRawPointer, _ count: Int) {
    // Sound, here and below: both loads and both stores lie within the `count` bytes, and need no alignment.
    if count >= 16, count <= 32 {
      let last = unsafe source.loadUnaligned(fromByteOffset: count &- 16, as: SIMD2<UInt64>.self)
      unsafe place.storeBytes(of: source.loadUnaligned(as: SIMD2<UInt64>.self), as: SIMD2<UInt64>.self)
      unsafe place.storeBytes(of: last, toByteOffset: count &- 16, as: SIMD2<UInt64>.self)
    } else if count >= 8, count < 16 {
      let last = unsafe source.loadUnaligned(fromByteOffset: count &- 8, as: UInt64.self)
      unsafe place.storeBytes(of: source.loadUnaligned(as: UInt64.self), as: UInt64.self)
      unsafe place.storeBytes(of: last, toByteOffset: count &- 8, as: UInt64.self)
    } else {
      unsafe place.copyMemory(from: source, byteCount: count)
    }
  }

  /// Appends the first `count` bytes of `word`, the lowest first. All eight are stored: there must be room
  /// for them, whatever `count` is.
  @inlinable @inline(__always)
  package mutating func append(word: UInt64, count: Int) {
    precondition(room >= 8 && count >= 0 && count <= 8, "no room for a word")
    // Sound: there is room for eight bytes, and a UInt64 is stored at any alignment.
    unsafe place.storeBytes(of: word.littleEndian, as: UInt64.self)
    unsafe place += count
  }
}

extension [UInt8] {
  /// Reserves `room` bytes at the end and appends what `body` writes into them.
  @inlinable @inline(__always)
  package mutating func appendText(room: Int, _ body: (inout TextOutput) -> Void) {
    append(addingCapacity: room) { free in
      // Sound: the pointers are used inside the closure only: `body` can't keep the output. The bytes up to
      // its place have been written.
      unsafe free.withUnsafeMutableBufferPointer { buffer, initialized in
        guard let start = UnsafeMutableRawPointer(buffer.baseAddress) else { return }
        var out = unsafe TextOutput(place: start + initialized, end: start + buffer.count)
        body(&out)
        initialized = unsafe out.place - start
      }
    }
  }
}

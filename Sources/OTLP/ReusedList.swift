// A list that is filled and emptied for every record.

/// A list of plain values that keeps its storage, old elements included, when it is emptied.
///
/// `Array.removeAll(keepingCapacity:)` replaces a range by nothing: some 20 instructions each time, a
/// twentieth of what a span cost the sampler. Here it is an assignment; old elements stay until they are
/// overwritten, so they must be plain values, with nothing to release.
public struct ReusedList<Element>: RandomAccessCollection, MutableCollection {
  @usableFromInline var storage: [Element] = []
  @usableFromInline var length = 0

  /// Makes an empty list with room for `capacity` elements.
  package init(capacity: Int = 0) {
    storage.reserveCapacity(capacity)
  }

  /// Always 0.
  @inlinable public var startIndex: Int { 0 }
  /// The number of elements.
  @inlinable public var endIndex: Int { length }

  /// The element at `position`, bounds-checked.
  @inlinable
  public subscript(position: Int) -> Element {
    @inline(__always) get {
      precondition(position < length, "no element at \(position)")
      return storage[position]
    }
    @inline(__always) set {
      precondition(position < length, "no element at \(position)")
      storage[position] = newValue
    }
  }

  /// Passes all elements to `body`: their storage is looked up once.
  @inlinable @inline(__always)
  package func withSpan(_ body: (Span<Element>) -> Void) {
    body(storage.span.extracting(first: length))
  }

  /// The elements at `positions`, bounds-checked.
  func slice(_ positions: Range<Int>) -> ArraySlice<Element> {
    precondition(positions.upperBound <= length, "no elements at \(positions)")
    return storage[positions]
  }

  @inlinable @inline(__always)
  package mutating func append(_ element: Element) {
    if length < storage.count {
      storage[length] = element
    } else {
      appendToStorage(element)
    }
    length &+= 1
  }

  @inline(never) @usableFromInline
  mutating func appendToStorage(_ element: Element) {
    storage.append(element)
  }

  /// Whether an element more takes more storage.
  var isFull: Bool { length == storage.count }

  /// Makes room for as many elements again, 64 at least; `filler` fills it until then.
  mutating func grow(filler: Element) {
    storage.append(contentsOf: repeatElement(filler, count: Swift.max(64, storage.count)))
  }

  @inlinable
  package mutating func removeAll() {
    length = 0
  }

  /// Removes all elements but the first `count`.
  @inline(__always)
  mutating func truncate(to count: Int) {
    precondition(count <= length, "there are no \(count) elements")
    length = count
  }

  /// Bytes of memory in use.
  package var byteCount: Int { storage.capacity * MemoryLayout<Element>.stride }
}

extension ReusedList: Sendable where Element: Sendable {}

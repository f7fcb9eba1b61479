// A queue of plain values in pieces: it grows and shrinks without moving what it has.

/// Elements numbered from the first that was ever appended. Those at the front can be removed.
struct Chunks<Element> {
  private static var size: Int { 1024 }

  private var pieces: [[Element]] = []
  /// The number of the first element of the first piece.
  private var base = 0
  private(set) var start = 0
  private(set) var end = 0

  var count: Int { end - start }

  var byteCount: Int { pieces.count * Chunks.size * MemoryLayout<Element>.stride }

  init() {}

  mutating func append(_ element: Element) {
    if (end - base) / Chunks.size == pieces.count {
      var piece: [Element] = []
      piece.reserveCapacity(Chunks.size)
      pieces.append(piece)
    }
    pieces[pieces.count - 1].append(element)
    end += 1
  }

  mutating func removeFirst() {
    precondition(count > 0, "nothing to remove")
    start += 1
    guard start - base == Chunks.size else { return }
    pieces.removeFirst()
    base = start
  }

  /// Leaves no more than the first `count` elements.
  mutating func keepFirst(_ count: Int) {
    precondition((0...self.count).contains(count), "they are not there")
    end = start + count
    let kept = (end - base + Chunks.size - 1) / Chunks.size
    pieces.removeLast(pieces.count - kept)
    guard let last = pieces.last else { return }
    let excess = last.count - (end - base - (kept - 1) * Chunks.size)
    pieces[kept - 1].removeLast(excess)
  }

  subscript(number: Int) -> Element {
    get {
      precondition(number >= start, "it was removed")
      return pieces[(number - base) / Chunks.size][(number - base) % Chunks.size]
    }
    _modify {
      precondition(number >= start, "it was removed")
      yield &pieces[(number - base) / Chunks.size][(number - base) % Chunks.size]
    }
  }
}

extension Chunks: Sendable where Element: Sendable {}

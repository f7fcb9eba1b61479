// A first-in, first-out queue whose elements keep their numbers.

import Invariants

/// A ring of elements, numbered from zero in the order they were appended. The last one is stored separately:
/// it is the one that changes.
struct NumberedQueue<Element> {
  /// All but the last.
  private var ring: [Element?] = Array(repeating: nil, count: 16)
  /// The last, if there is any.
  var newest: Element?
  /// The number of the first element, and of the next one to be appended.
  private(set) var startNumber = 0
  private(set) var endNumber = 0

  var count: Int { endNumber - startNumber }
  var isEmpty: Bool { endNumber == startNumber }
  var byteCount: Int { ring.capacity * MemoryLayout<Element?>.stride }

  subscript(number: Int) -> Element {
    // In place, so that only what is used of an element is read.
    @inline(__always) get {
      if number == endNumber - 1 { return required(newest) }
      return required(number >= startNumber && number < endNumber ? ring[number & (ring.count - 1)] : nil)
    }
    set {
      invariant(number >= startNumber && number < endNumber, "there is no element \(number)")
      if number == endNumber - 1 { newest = newValue } else { ring[number & (ring.count - 1)] = newValue }
    }
  }

  mutating func append(_ element: Element) {
    if count > ring.count { grow() }
    if !isEmpty { ring[(endNumber - 1) & (ring.count - 1)] = newest }
    newest = element
    endNumber += 1
  }

  mutating func removeFirst() -> Element {
    let element = self[startNumber]
    if count == 1 { newest = nil } else { ring[startNumber & (ring.count - 1)] = nil }
    startNumber += 1
    return element
  }

  private mutating func grow() {
    var larger: [Element?] = Array(repeating: nil, count: 2 * ring.count)
    for number in startNumber..<endNumber - 1 {
      larger[number & (larger.count - 1)] = ring[number & (ring.count - 1)]
    }
    ring = larger
  }

  @inline(__always)
  private func required(_ element: Element?) -> Element {
    guard let element else { fatalError("no such element in \(startNumber)..<\(endNumber)") }
    return element
  }
}

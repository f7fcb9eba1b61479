// Recognises the attribute keys that are wanted.

/// A set of attribute keys, numbered in the order given.
public struct WantedKeys: Sendable {
  private struct Key {
    /// Where its bytes begin in `keyBytes`.
    var start: Int
    /// Its position in the order given.
    var number: Int
  }

  /// Keys, sorted by length.
  private let keys: [Key]
  private let keyBytes: [UInt8]
  /// Keys of length *n* are `firstOfLength[n]..<firstOfLength[n + 1]`: most attributes are ruled out by the
  /// lengths of their keys.
  private let firstOfLength: [Int]

  /// A set of keys without repeats.
  public init(_ wanted: [[UInt8]]) {
    var keys: [Key] = []
    var keyBytes: [UInt8] = []
    var firstOfLength = [0]
    for (number, key) in wanted.enumerated().sorted(by: { $0.element.count < $1.element.count }) {
      while firstOfLength.count <= key.count { firstOfLength.append(keys.count) }
      keys.append(Key(start: keyBytes.count, number: number))
      keyBytes.append(contentsOf: key)
    }
    firstOfLength.append(keys.count)
    self.keys = keys
    self.keyBytes = keyBytes
    self.firstOfLength = firstOfLength
  }

  /// How many keys are in the set.
  public var count: Int { keys.count }

  /// Whether no key is in the set.
  public var isEmpty: Bool { keys.isEmpty }

  /// The number of the key in `range`; nil if it is not wanted.
  @inline(__always)
  public func number(of range: ByteRange, in bytes: RawSpan) -> Int? {
    let count = Int(range.count)
    guard count + 1 < firstOfLength.count else { return nil }
    for place in firstOfLength[count]..<firstOfLength[count + 1] {
      let start = keys[place].start
      // From the end: keys share prefixes (`http.`) and differ there.
      var index = count - 1
      while index >= 0, keyBytes[start + index] == bytes.byte(at: Int(range.offset) + index) { index -= 1 }
      if index < 0 { return keys[place].number }
    }
    return nil
  }
}

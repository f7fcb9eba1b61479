// Reads the few attributes that somebody asked for, from the bytes of a span or a resource.

/// The value of an attribute. Text is a range of the record.
public enum AttributeValue: Equatable, Sendable {
  /// Text.
  case string(ByteRange)
  /// A truth value.
  case boolean(Bool)
  /// A whole number.
  case integer(Int64)
  /// A number.
  case double(Double)
  /// An array, a list of keys and values, bytes, or nothing.
  case other
}

/// An attribute that was asked for and found.
public struct FoundAttribute: Equatable, Sendable {
  /// Which of the wanted keys it has.
  public var key: Int
  /// Its value.
  public var value: AttributeValue
}

/// A set of attribute keys, and what the last span or resource that was read has under them. Reused from span
/// to span: it keeps its storage.
///
/// The scanner steps over attributes, so nothing about them has been checked. The rule: an attribute that
/// can't be read is none; those around it still count. Of several attributes with one key the first counts.
public struct WantedAttributes: Sendable {
  /// The most keys in a set.
  public static let countMax = 64

  /// What was found, in the order of the bytes. No key twice.
  public private(set) var found: [FoundAttribute] = []

  private struct Key {
    /// Where its bytes begin in `keyBytes`.
    var start: Int
    /// Its number among the keys as they were given.
    var number: Int
  }

  /// Keys in the order of their lengths.
  private let keys: [Key]
  private let keyBytes: [UInt8]
  /// Keys of length *n* are `firstOfLength[n]..<firstOfLength[n + 1]`: most attributes are told by their
  /// keys' lengths not to be wanted.
  private let firstOfLength: [Int]
  /// Bit *i* is set if the key of number *i* was found.
  private var seen: UInt64 = 0

  /// A set of keys without repeats, at most `countMax`.
  public init(keys texts: [String]) {
    precondition(texts.count <= WantedAttributes.countMax, "too many attribute keys")
    var keys: [Key] = []
    var keyBytes: [UInt8] = []
    var firstOfLength = [0]
    for (number, text) in texts.enumerated().sorted(by: { $0.element.utf8.count < $1.element.utf8.count }) {
      while firstOfLength.count <= text.utf8.count { firstOfLength.append(keys.count) }
      keys.append(Key(start: keyBytes.count, number: number))
      keyBytes.append(contentsOf: text.utf8)
    }
    firstOfLength.append(keys.count)
    self.keys = keys
    self.keyBytes = keyBytes
    self.firstOfLength = firstOfLength
    found.reserveCapacity(keys.count)
  }

  /// Whether no key is in the set.
  public var isEmpty: Bool { keys.isEmpty }

  /// Reads the attributes of a span that the scanner has accepted.
  public mutating func read(_ span: SpanView, of bytes: RawSpan) {
    forget()
    readAttributes(Field.spanAttributes, in: span.content, of: bytes)
  }

  /// Reads the attributes of one of the record's resources. A resource that is given in several parts has the
  /// attributes of all of them.
  public mutating func read(_ resource: ResourceView, of record: ScannedRecord, _ bytes: RawSpan) {
    forget()
    for index in resource.extras {
      var cursor = WireCursor(record.extras[index])
      do {
        while !cursor.isAtEnd {
          let tag = try cursor.tag(in: bytes)
          if tag.field == Field.resource {
            readAttributes(Field.attributes, in: try cursor.content(of: tag, in: bytes), of: bytes)
          } else {
            try cursor.skip(tag, in: bytes)
          }
        }
      } catch {
        // The scanner has walked these fields; nothing of them is left to throw.
      }
    }
  }

  private mutating func forget() {
    found.removeAll(keepingCapacity: true)
    seen = 0
  }

  @inline(__always)
  private mutating func readAttributes(_ field: UInt32, in message: ByteRange, of bytes: RawSpan) {
    var cursor = WireCursor(message)
    do {
      while !cursor.isAtEnd {
        let tag = try cursor.tag(in: bytes)
        if tag.field == field, tag.type == .lengthDelimited {
          readAttribute(try cursor.content(of: tag, in: bytes), of: bytes)
          if found.count == keys.count { return }
        } else {
          try cursor.skip(tag, in: bytes)
        }
      }
    } catch {
      // Of a resource nothing behind its service's name was checked: what came before the damage counts.
    }
  }

  /// Reads one `KeyValue`. One with two keys, which no encoder writes, goes by the first.
  @inline(__always)
  private mutating func readAttribute(_ attribute: ByteRange, of bytes: RawSpan) {
    var cursor = WireCursor(attribute)
    var number = -1
    var value: ByteRange?
    do {
      while !cursor.isAtEnd {
        let tag = try cursor.tag(in: bytes)
        switch tag.field {
        case Field.key:
          if number < 0 { number = find(try cursor.content(of: tag, in: bytes), of: bytes) }
          if number < 0 { return }
        case Field.value: value = try cursor.content(of: tag, in: bytes)
        default: try cursor.skip(tag, in: bytes)
        }
      }
      guard number >= 0, let value else { return }
      let bit: UInt64 = 1 << UInt64(number)
      guard seen & bit == 0 else { return }
      found.append(FoundAttribute(key: number, value: try AttributeValue(value, of: bytes)))
      seen |= bit
    } catch {
      // An attribute that can't be read is none.
    }
  }

  /// The number of the key that stands in `range`; negative if it is not wanted.
  @inline(__always)
  private func find(_ range: ByteRange, of bytes: RawSpan) -> Int {
    let count = Int(range.count)
    guard count + 1 < firstOfLength.count else { return -1 }
    for place in firstOfLength[count]..<firstOfLength[count + 1] {
      let start = keys[place].start
      // From the end: keys differ there, and begin alike (`http.`).
      var index = count - 1
      while index >= 0, keyBytes[start + index] == bytes.byte(at: Int(range.offset) + index) { index -= 1 }
      if index < 0 { return keys[place].number }
    }
    return -1
  }
}

extension AttributeValue {
  /// Reads an `AnyValue`; of several values in it the last one counts, as in protobuf.
  fileprivate init(_ message: ByteRange, of bytes: RawSpan) throws(MalformedInput) {
    self = .other
    var cursor = WireCursor(message)
    while !cursor.isAtEnd {
      let tag = try cursor.tag(in: bytes)
      switch tag.field {
      case Field.stringValue: self = .string(try cursor.content(of: tag, in: bytes))
      case Field.boolValue: self = .boolean(try cursor.varint(of: tag, in: bytes) != 0)
      case Field.intValue: self = .integer(Int64(bitPattern: try cursor.varint(of: tag, in: bytes)))
      case Field.doubleValue: self = .double(Double(bitPattern: try cursor.fixed64(of: tag, in: bytes)))
      default:
        try cursor.skip(tag, in: bytes)
        self = .other
      }
    }
  }
}

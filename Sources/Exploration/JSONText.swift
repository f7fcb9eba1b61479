// Writes JSON documents: every answer of the console's own interface and of Jaeger's.

internal import OTLP

/// A JSON document that grows. Text from traces is escaped; bytes that are not UTF-8 become U+FFFD.
public struct JSONText: Sendable {
  /// The document so far.
  public private(set) var bytes: [UInt8] = []
  private var needsComma = false

  /// An empty document.
  public init() {}

  /// Appends an object with the members that `body` writes.
  public mutating func object(_ body: (inout JSONText) -> Void) {
    enclose(0x7b, 0x7d, body)
  }

  /// Appends an array with the elements that `body` writes.
  public mutating func array(_ body: (inout JSONText) -> Void) {
    enclose(0x5b, 0x5d, body)
  }

  private mutating func enclose(_ open: UInt8, _ close: UInt8, _ body: (inout JSONText) -> Void) {
    separate()
    bytes.append(open)
    needsComma = false
    body(&self)
    bytes.append(close)
    needsComma = true
  }

  private mutating func separate() {
    if needsComma { bytes.append(0x2c) }
    needsComma = true
  }

  /// Begins a member: its value comes next.
  public mutating func key(_ name: StaticString) {
    separate()
    bytes.appendText(room: name.utf8CodeUnitCount + 3) {
      $0.append(0x22)
      $0.append(name)
      $0.append("\":")
    }
    needsComma = false
  }

  /// Begins a member with a name from outside: its value comes next.
  public mutating func key(text name: String) {
    string(name)
    bytes.append(0x3a)
    needsComma = false
  }

  /// Appends text.
  public mutating func string(_ text: String) {
    string(bytes: Array(text.utf8))
  }

  /// Appends text in UTF-8.
  public mutating func string(bytes text: [UInt8]) {
    separate()
    bytes.appendText(room: JSONSize.stringMax(text.count)) { out in
      text.withRawBytes { out.appendJSONString($0) }
    }
  }

  /// Appends a whole number.
  public mutating func number(_ value: Int64) {
    separate()
    bytes.append(contentsOf: String(value).utf8)
  }

  /// Appends a number; `null` if it is none.
  public mutating func number(_ value: Double) {
    guard value.isFinite else { return null() }
    separate()
    if value == value.rounded(), value.magnitude < 1e15 {
      bytes.append(contentsOf: String(Int64(value)).utf8)
    } else {
      bytes.append(contentsOf: "\(value)".utf8)
    }
  }

  /// Appends a truth value.
  public mutating func boolean(_ value: Bool) {
    separate()
    bytes.append(contentsOf: (value ? "true" : "false").utf8)
  }

  /// Appends `null`.
  public mutating func null() {
    separate()
    bytes.append(contentsOf: "null".utf8)
  }

  /// Appends a value that is JSON already.
  public mutating func json(_ value: [UInt8]) {
    separate()
    bytes.append(contentsOf: value)
  }
}

extension JSONText {
  /// Appends a member.
  public mutating func set(_ name: StaticString, _ value: String?) {
    key(name)
    if let value { string(value) } else { null() }
  }

  /// Appends a member.
  public mutating func set(_ name: StaticString, _ value: Int?) {
    key(name)
    if let value { number(Int64(value)) } else { null() }
  }

  /// Appends a member.
  public mutating func set(_ name: StaticString, _ value: Double?) {
    key(name)
    if let value { number(value) } else { null() }
  }

  /// Appends a member.
  public mutating func set(_ name: StaticString, _ value: Bool) {
    key(name)
    boolean(value)
  }

  /// Appends a member: a list of numbers, or `null`.
  public mutating func set(_ name: StaticString, _ values: [Double]?) {
    key(name)
    guard let values else { return null() }
    array { for value in values { $0.number(value) } }
  }

  /// Appends a member: a list of texts.
  public mutating func set(_ name: StaticString, _ values: [String]) {
    key(name)
    array { for value in values { $0.string(value) } }
  }
}

// Keys and enum names, packed so that comparing two takes a few instructions and no memory.

/// A short ASCII name: up to 32 bytes, none of them zero, padded with zeros.
struct JSONName: Equatable {
  private var first: UInt64 = 0
  private var second: UInt64 = 0
  private var third: UInt64 = 0
  private var fourth: UInt64 = 0
  private var count = 0

  private static let countMax = 32

  private init() {}

  /// Appends `byte`; false if a name can't hold it.
  private mutating func append(_ byte: UInt8) -> Bool {
    guard count < Self.countMax, byte != 0 else { return false }
    let bits = UInt64(byte) << UInt64(count % 8 * 8)
    switch count / 8 {
    case 0: first |= bits
    case 1: second |= bits
    case 2: third |= bits
    default: fourth |= bits
    }
    count += 1
    return true
  }

  /// The name of a field as a document spells it: in `lowerCamelCase`, or in `snake_case` as in the protobuf
  /// schema, which gives the same name. Nil for text that can't be a field's name.
  init?(key text: JSONToken, in bytes: RawSpan) throws(MalformedInput) {
    var hasUppercase = false
    var hasUnderscore = false
    var rest = text
    while var byte = try rest.nextASCII(in: bytes) {
      if byte == UInt8(ascii: "_") {
        guard let letter = try rest.nextASCII(in: bytes), letter.isLowercaseLetter else { return nil }
        hasUnderscore = true
        byte = letter.uppercased
      } else {
        hasUppercase = hasUppercase || byte.isUppercaseLetter
      }
      guard append(byte) else { return nil }
    }
    if hasUppercase && hasUnderscore { return nil }
  }

  /// The name of an enum's value in upper case. Nil for text that can't be one.
  init?(value text: JSONToken, in bytes: RawSpan) throws(MalformedInput) {
    var rest = text
    while let byte = try rest.nextASCII(in: bytes) {
      guard append(byte.uppercased) else { return nil }
    }
  }
}

extension JSONName: ExpressibleByStringLiteral {
  /// Makes one of this module's own names; a literal that is too long is fatal.
  init(stringLiteral literal: String) {
    for byte in literal.utf8 {
      guard append(byte) else { fatalError("a name has up to 32 bytes: \(literal)") }
    }
  }
}

extension UInt8 {
  fileprivate var isLowercaseLetter: Bool { UInt8(ascii: "a")...UInt8(ascii: "z") ~= self }
  fileprivate var isUppercaseLetter: Bool { UInt8(ascii: "A")...UInt8(ascii: "Z") ~= self }
  fileprivate var uppercased: UInt8 { isLowercaseLetter ? self - 0x20 : self }
}

// Floating-point numbers as the text that a pattern is matched against.

enum DecimalText {
  /// Appends a finite number as the Collector writes it in JSON: with the fewest digits that distinguish it
  /// from its neighbours, and an exponent below 1e-6 and from 1e21. 100, 0.25, 1e+21.
  ///
  /// Source: `AppendFloat64` of <https://github.com/goccy/go-json>, which `StandardStringLikeGetter` of
  /// pkg/ottl calls, on <https://pkg.go.dev/strconv#AppendFloat> with the formats 'f' and 'e'.
  static func append(_ value: Double, to bytes: inout [UInt8]) {
    guard value == 0 || (1e-6..<1e21).contains(value.magnitude) else {
      // Go's spelling: "1.25e-07".
      bytes.append(contentsOf: value.description.utf8)
      return
    }
    // Swift finds the same digits: "-1.25e-07", "100.0", "5e-324".
    var digits: [UInt8] = []
    var pointPlace: Int?
    var exponent = 0
    var text = value.description.utf8[...]
    if text.first == UInt8(ascii: "-") { bytes.append(text.removeFirst()) }
    while let character = text.popFirst() {
      switch character {
      case UInt8(ascii: "."): pointPlace = digits.count
      case UInt8(ascii: "e"):
        exponent = Int(String(decoding: text, as: UTF8.self)) ?? 0
        text = text.suffix(0)
      default: digits.append(character)
      }
    }
    let wholeCount = (pointPlace ?? digits.count) + exponent
    while let last = digits.last, last == UInt8(ascii: "0"), digits.count > max(wholeCount, 1) {
      digits.removeLast()
    }
    let zero = UInt8(ascii: "0")
    if wholeCount <= 0 {
      bytes.append(zero)
    } else {
      bytes.append(contentsOf: digits.prefix(wholeCount))
      bytes.append(contentsOf: repeatElement(zero, count: max(0, wholeCount - digits.count)))
    }
    guard digits.count > wholeCount, digits != [zero] else { return }
    bytes.append(UInt8(ascii: "."))
    bytes.append(contentsOf: repeatElement(zero, count: max(0, -wholeCount)))
    bytes.append(contentsOf: digits.dropFirst(max(0, wholeCount)))
  }
}

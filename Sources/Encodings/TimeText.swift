// Times and durations as protobuf's JSON and Go write them.

/// Reads times that are written as text.
enum TimeText {
  /// Nanoseconds since 1970 of `2026-01-31T23:59:58.123456789+01:00`; nil for anything else.
  ///
  /// Format: RFC 3339. A leap second counts as the next one.
  static func time(_ text: [UInt8]) -> Int64? {
    var reader = Reader(text)
    guard let year = reader.number(digits: 4), reader.skip("-"), let month = reader.number(digits: 2),
      reader.skip("-"), let day = reader.number(digits: 2), reader.skip("T") || reader.skip("t"),
      let hour = reader.number(digits: 2), reader.skip(":"), let minute = reader.number(digits: 2),
      reader.skip(":"), let second = reader.number(digits: 2),
      (1...12).contains(month), (1...31).contains(day), hour < 24, minute < 60, second <= 60
    else { return nil }
    var fraction: Int64 = 0
    if reader.skip(".") {
      guard let found = reader.fraction(scale: 1_000_000_000) else { return nil }
      fraction = found
    }
    guard let zone = zone(&reader), reader.isAtEnd else { return nil }
    let seconds = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - zone
    return SpanTime.sum(SpanTime.product(seconds, 1_000_000_000), fraction)
  }

  /// The zone's seconds east of Greenwich.
  private static func zone(_ reader: inout Reader) -> Int64? {
    if reader.skip("Z") || reader.skip("z") { return 0 }
    let isWest = reader.skip("-")
    guard isWest || reader.skip("+"), let hours = reader.number(digits: 2), reader.skip(":"),
      let minutes = reader.number(digits: 2), hours < 24, minutes < 60
    else { return nil }
    return (isWest ? -1 : 1) * (hours * 3600 + minutes * 60)
  }

  /// The days from 1970 on in the Gregorian calendar; the year begins in March, so that the leap day is last.
  private static func days(_ year: Int64, _ month: Int64, _ day: Int64) -> Int64 {
    let shifted = month > 2 ? year : year - 1
    let era = (shifted >= 0 ? shifted : shifted - 399) / 400
    let yearOfEra = shifted - era * 400
    let dayOfYear = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1
    let dayOfEra = yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
    return era * 146_097 + dayOfEra - 719_468
  }

  /// Nanoseconds of `1.5s`, `22938000ns`, `5ms`, `7us`; nil for anything else.
  static func duration(_ text: [UInt8]) -> Int64? {
    var reader = Reader(text)
    let isNegative = reader.skip("-")
    guard let whole = reader.number() else { return nil }
    let hasFraction = reader.skip(".")
    var behind = reader
    // The unit comes last, and says what the fraction is worth.
    if hasFraction { _ = behind.fraction(scale: 1) }
    let units: [(StaticString, Int64)] = [
      ("ns", 1), ("us", 1000), ("µs", 1000), ("ms", 1_000_000), ("s", 1_000_000_000),
    ]
    guard let unit = units.first(where: { behind.rest.elementsEqual("\($0.0)".utf8) })?.1 else { return nil }
    var value = SpanTime.product(whole, unit)
    if hasFraction {
      guard let fraction = reader.fraction(scale: unit) else { return nil }
      value = SpanTime.sum(value, fraction)
    }
    return isNegative ? SpanTime.product(value, -1) : value
  }

  /// Takes characters from the front.
  private struct Reader {
    private(set) var rest: ArraySlice<UInt8>

    init(_ text: [UInt8]) { rest = text[...] }

    var isAtEnd: Bool { rest.isEmpty }

    mutating func skip(_ character: Unicode.Scalar) -> Bool {
      guard rest.first == UInt8(ascii: character) else { return false }
      rest.removeFirst()
      return true
    }

    private mutating func digit() -> Int64? {
      guard let byte = rest.first, UInt8(ascii: "0")...UInt8(ascii: "9") ~= byte else { return nil }
      rest.removeFirst()
      return Int64(byte - UInt8(ascii: "0"))
    }

    /// A number of exactly `digits` digits.
    mutating func number(digits: Int) -> Int64? {
      var value: Int64 = 0
      for _ in 0..<digits {
        guard let digit = digit() else { return nil }
        value = value * 10 + digit
      }
      return value
    }

    /// A number of one digit or more; too large a one stops at the end.
    mutating func number() -> Int64? {
      guard var value = digit() else { return nil }
      while let digit = digit() { value = SpanTime.sum(SpanTime.product(value, 10), digit) }
      return value
    }

    /// One digit or more after the point, times `scale`; what is left of it is cut.
    mutating func fraction(scale: Int64) -> Int64? {
      var (value, worth) = (Int64(0), scale)
      var isEmpty = true
      while let digit = digit() {
        worth /= 10
        value += digit * worth
        isEmpty = false
      }
      return isEmpty ? nil : value
    }
  }
}

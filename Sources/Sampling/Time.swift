// Instants and intervals on the stream clock. The core never asks a machine for the time.

import OTLP

/// A point in time: nanoseconds since 1970 in UTC. Good until 2262.
public struct Instant: Hashable, Comparable, Sendable, BitwiseCopyable {
  /// Nanoseconds since 1970-01-01T00:00:00Z.
  public var nanoseconds: Int64

  /// Makes the instant `nanoseconds` after 1970-01-01T00:00:00Z.
  public init(nanoseconds: Int64) {
    self.nanoseconds = nanoseconds
  }

  /// Makes the instant `milliseconds` after 1970, as Kafka stamps records; one that does not fit is clamped.
  public init(milliseconds: Int64) {
    let (product, overflow) = milliseconds.multipliedReportingOverflow(by: 1_000_000)
    nanoseconds = overflow ? (milliseconds < 0 ? .min : .max) : product
  }

  /// Before everything.
  public static let distantPast = Instant(nanoseconds: .min)
  /// After everything.
  public static let distantFuture = Instant(nanoseconds: .max)

  /// Orders by time.
  public static func < (left: Instant, right: Instant) -> Bool {
    left.nanoseconds < right.nanoseconds
  }

  /// Appends the instant in UTC with nine decimal places, as in `2026-01-31T23:59:58.000000001Z`.
  public func appendRFC3339(to bytes: inout [UInt8]) {
    bytes.appendText(room: Instant.rfc3339Room) { $0.appendRFC3339(self) }
  }

  /// The second since 1970 that it is in, and the nanosecond in that.
  @inline(__always)
  fileprivate var parts: (second: Int64, nanosecond: Int64) {
    let (second, nanosecond) = nanoseconds.flooredDivision(by: 1_000_000_000)
    return (second, nanosecond)
  }

  /// The room that the text takes: 30 bytes, the last six of which are stored as a word.
  static let rfc3339Room = 32

  /// The form that `appendRFC3339` writes: a zero stands for any digit.
  private static let rfc3339Form = Array("0000-00-00T00:00:00.000000000Z".utf8)

  /// Reads what `appendRFC3339` wrote; nil for anything else.
  ///
  /// Source: the days by Howard Hinnant's `days_from_civil`.
  public init?(rfc3339 text: [UInt8]) {
    guard text.count == Instant.rfc3339Form.count else { return nil }
    for (byte, form) in zip(text, Instant.rfc3339Form) {
      guard form == 0x30 ? (0x30...0x39).contains(byte) : byte == form else { return nil }
    }
    func number(_ places: Range<Int>) -> Int64 {
      places.reduce(0) { $0 * 10 + Int64(text[$1] - 0x30) }
    }
    let (year, month, day) = (number(0..<4), number(5..<7), number(8..<10))
    // A year of four digits: nothing overflows before the seconds are multiplied.
    let (era, yearOfEra) = (month <= 2 ? year - 1 : year).flooredDivision(by: 400)
    let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
    let days = era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear - 719_468
    let seconds = days * 86_400 + number(11..<13) * 3600 + number(14..<16) * 60 + number(17..<19)
    let nanoseconds = Int128(seconds) * 1_000_000_000 + Int128(number(20..<29))
    guard let fitting = Int64(exactly: nanoseconds) else { return nil }
    self.init(nanoseconds: fitting)
    // A 13th month or a 31st of February reads as a day with another name.
    var again: [UInt8] = []
    appendRFC3339(to: &again)
    guard again == text else { return nil }
  }

  /// The instant `interval` earlier; never before `distantPast`.
  public static func - (instant: Instant, interval: Interval) -> Instant {
    let (difference, overflow) = instant.nanoseconds.subtractingReportingOverflow(interval.nanoseconds)
    return Instant(nanoseconds: overflow ? .min : difference)
  }

  /// The instant `interval` later; never past `distantFuture`.
  public static func + (instant: Instant, interval: Interval) -> Instant {
    let (sum, overflow) = instant.nanoseconds.addingReportingOverflow(interval.nanoseconds)
    return Instant(nanoseconds: overflow ? .max : sum)
  }

  /// The time between two instants; zero if the second is later.
  public static func - (later: Instant, earlier: Instant) -> Interval {
    let (difference, overflow) = later.nanoseconds.subtractingReportingOverflow(earlier.nanoseconds)
    guard !overflow else { return Interval(nanoseconds: later > earlier ? .max : 0) }
    return Interval(nanoseconds: difference)
  }
}

extension Instant: CustomStringConvertible {
  /// The form of `appendRFC3339`.
  public var description: String {
    var bytes: [UInt8] = []
    appendRFC3339(to: &bytes)
    return String(decoding: bytes, as: UTF8.self)
  }
}

/// A length of time in nanoseconds, never negative.
public struct Interval: Hashable, Comparable, Sendable {
  /// How many nanoseconds.
  public let nanoseconds: Int64

  /// Makes an interval; a negative one counts as zero.
  public init(nanoseconds: Int64) {
    self.nanoseconds = max(0, nanoseconds)
  }

  /// Makes an interval of whole milliseconds; one that does not fit is clamped.
  public static func milliseconds(_ count: Int64) -> Interval {
    Interval(count, times: 1_000_000)
  }

  /// Makes an interval of whole seconds; one that does not fit is clamped.
  public static func seconds(_ count: Int64) -> Interval {
    Interval(count, times: 1_000_000_000)
  }

  private init(_ count: Int64, times unit: Int64) {
    let (product, overflow) = count.multipliedReportingOverflow(by: unit)
    self.init(nanoseconds: overflow ? (count < 0 ? 0 : .max) : product)
  }

  /// Orders by length.
  public static func < (left: Interval, right: Interval) -> Bool {
    left.nanoseconds < right.nanoseconds
  }
}

extension Interval {
  /// The duration in whole nanoseconds; one that does not fit is clamped.
  public init(_ duration: Duration) {
    self.init(nanoseconds: duration.nanoseconds)
  }
}

extension Duration {
  /// Whole nanoseconds; a duration of more than 292 years is clamped.
  package var nanoseconds: Int64 {
    let (seconds, overflow) = components.seconds.multipliedReportingOverflow(by: 1_000_000_000)
    guard !overflow else { return components.seconds < 0 ? .min : .max }
    let (sum, isTooLong) = seconds.addingReportingOverflow(components.attoseconds / 1_000_000_000)
    return isTooLong ? (seconds < 0 ? .min : .max) : sum
  }
}

/// A record's place in its partition.
public struct Offset: Hashable, Comparable, Sendable, BitwiseCopyable {
  /// The number of the record, from zero up.
  public let value: Int64

  /// Makes an offset.
  public init(_ value: Int64) {
    self.value = value
  }

  /// The offset of the next record; the largest offset has none after it.
  public var next: Offset { value < .max ? Offset(value + 1) : self }

  /// Orders by place.
  public static func < (left: Offset, right: Offset) -> Bool {
    left.value < right.value
  }
}

/// The number of a partition.
public struct PartitionID: Hashable, Comparable, Sendable {
  /// The number, from zero up.
  public let value: Int32

  /// Makes a partition number.
  public init(_ value: Int32) {
    self.value = value
  }

  /// Orders by number.
  public static func < (left: PartitionID, right: PartitionID) -> Bool {
    left.value < right.value
  }
}

extension Int64 {
  /// The quotient rounded down and the remainder, which is never negative.
  fileprivate func flooredDivision(by divisor: Int64) -> (quotient: Int64, remainder: Int64) {
    let (quotient, remainder) = quotientAndRemainder(dividingBy: divisor)
    return remainder < 0 ? (quotient - 1, remainder + divisor) : (quotient, remainder)
  }
}

/// The first 20 characters of an instant's text, as in `2026-01-31T23:59:58.`: the same for a whole second.
struct SecondText {
  /// The second since 1970,
  private(set) var second: Int64
  /// and the first one of its day.
  private let dayStart: Int64
  /// The characters, the first in the lowest byte; of the last word, four.
  fileprivate private(set) var words: (UInt64, UInt64, UInt64) = (0, 0, 0)

  private static let secondsOfDay: Int64 = 86_400

  /// The text for all instants in the second that `instant` is in.
  ///
  /// Source: RFC 3339; the date by Howard Hinnant's `civil_from_days`.
  init(of instant: Instant) {
    second = instant.parts.second
    let (day, inDay) = second.flooredDivision(by: SecondText.secondsOfDay)
    dayStart = second - inDay
    let shifted = day + 719_468
    let (era, inEra) = shifted.flooredDivision(by: 146_097)
    let yearOfEra = (inEra - inEra / 1460 + inEra / 36_524 - inEra / 146_096) / 365
    let dayOfYear = inEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let shiftedMonth = (5 * dayOfYear + 2) / 153
    let month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
    // Instants lie between 1677 and 2262: the year has four digits.
    let year = era * 400 + yearOfEra + (month <= 2 ? 1 : 0)
    let dayOfMonth = dayOfYear - (153 * shiftedMonth + 2) / 5 + 1
    // A date such as 20260131. Bytes are counted from the lowest.
    let date = Decimals.characters(of: UInt64(truncatingIfNeeded: year * 10_000 + month * 100 + dayOfMonth))
    // 2026-01-
    words.0 = 0x2d00_002d_0000_0000 | date & 0xffff_ffff | ((date >> 32) & 0xffff) << 40
    // 31
    words.1 = date >> 48
    setTime(inDay)
  }

  /// Sets the time to a second of the same day.
  @inline(__always)
  private mutating func setTime(_ inDay: Int64) {
    // Sound: less than a day's seconds.
    let (minutes, second) = UInt32(truncatingIfNeeded: inDay).quotientAndRemainder(dividingBy: 60)
    let (hour, minute) = minutes.quotientAndRemainder(dividingBy: 60)
    // A time such as 235958; two zeros come first.
    let time = Decimals.characters(of: UInt64(hour * 10_000 + minute * 100 + second)) >> 16
    // 31T23:59
    let (hours, colonAndMinutes) = ((time & 0xffff) << 24, 0x3a00_0000_0000 | (time >> 16) << 48)
    words.1 = words.1 & 0xffff | 0x0054_0000 | hours | colonAndMinutes
    // :58.
    words.2 = 0x2e00_003a | (time >> 32) << 8
  }

  /// Becomes the text for `instant`: nothing to do if it is in the same second, little if on the same day.
  @inline(__always)
  mutating func follow(_ instant: Instant) {
    let next = instant.parts.second
    guard next != second else { return }
    let inDay = next - dayStart
    if inDay >= 0, inDay < SecondText.secondsOfDay {
      second = next
      setTime(inDay)
    } else {
      self = SecondText(of: instant)
    }
  }
}

extension TextOutput {
  /// Appends `instant` as its `appendRFC3339` does. It needs `Instant.rfc3339Room` bytes of room.
  mutating func appendRFC3339(_ instant: Instant) {
    appendRFC3339(instant, in: SecondText(of: instant))
  }

  /// The same; `text` must be of the instant's second.
  @inline(__always)
  mutating func appendRFC3339(_ instant: Instant, in text: borrowing SecondText) {
    let (tens, last) = instant.parts.nanosecond.quotientAndRemainder(dividingBy: 10)
    let nanoseconds = Decimals.characters(of: UInt64(truncatingIfNeeded: tens))
    append(word: text.words.0, count: 8)
    append(word: text.words.1, count: 8)
    // :58.0000
    append(word: text.words.2 | nanoseconds << 32, count: 8)
    // 00001Z
    append(
      word: 0x5a30_0000_0000 | nanoseconds >> 32 | UInt64(truncatingIfNeeded: last) << 32, count: 6)
  }
}

// Why a condition has no answer.

import OTLP

/// Why a condition could not be evaluated. A trivial value: throwing it costs no allocation.
struct EvaluationError: Error, Equatable, Sendable {
  enum Reason: String, Sendable {
    /// Bytes that the scanner steps over are no protobuf.
    case malformed
    /// `IsMatch` or `String` on what has no text here: a time, an id, a float that is no number, alone or in
    /// an array or a map.
    case noText = "no_text"
    /// A function of text on another value.
    case noString = "no_string"
    /// Arithmetic, `Int` or `Double` on what is no number.
    case noNumber = "no_number"
    /// A function of durations on another value.
    case noDuration = "no_duration"
    /// A function of times on another value.
    case noTime = "no_time"
    /// `Len` of a value that has no length.
    case noLength = "no_length"
    /// `ContainsValue` on what is no array.
    case noList = "no_list"
    /// A key of a value that has no such place.
    case noElement = "no_element"
    /// Two arrays or two maps compared with each other.
    case notComparable = "not_comparable"
    case divisionByZero = "division_by_zero"
    /// More is asked of a list, or of the text that is made for a span, than there is a limit for.
    case tooLong = "too_long"
  }

  var reason: Reason
  /// The offset of the bytes that it is about, from the start of the record; 0 where it is about none.
  var offset = 0
}

extension EvaluationError {
  /// The error for bytes that can't be read.
  init(_ error: MalformedInput) {
    self.init(reason: .malformed, offset: error.offset)
  }

  /// Reads bytes as part of an evaluation.
  @inline(__always)
  static func reading<Value>(_ read: () throws(MalformedInput) -> Value) throws(EvaluationError) -> Value {
    do throws(MalformedInput) {
      return try read()
    } catch {
      throw EvaluationError(error)
    }
  }
}

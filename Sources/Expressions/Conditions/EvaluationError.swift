// Why a condition has no answer.

import OTLP

/// Why a condition could not be evaluated. A trivial value: throwing it costs no allocation.
struct EvaluationError: Error, Equatable, Sendable {
  enum Reason: String, Sendable {
    /// Bytes that the scanner skips are not valid protobuf.
    case malformed
    /// `IsMatch` or `String` on a value without text: a time, an id, or a float that is not a finite number,
    /// also in an array or a map.
    case noText = "no_text"
    /// A string function on another value.
    case noString = "no_string"
    /// Arithmetic, `Int` or `Double` on a value that is not a number.
    case noNumber = "no_number"
    /// A duration function on another value.
    case noDuration = "no_duration"
    /// A time function on another value.
    case noTime = "no_time"
    /// `Len` of a value that has no length.
    case noLength = "no_length"
    /// `ContainsValue` on a value that is not an array.
    case noList = "no_list"
    /// A key or index that the value does not have.
    case noElement = "no_element"
    /// Two arrays or two maps compared with each other.
    case notComparable = "not_comparable"
    case divisionByZero = "division_by_zero"
    /// A list, or the text made for a span, exceeds its limit.
    case tooLong = "too_long"
  }

  var reason: Reason
  /// The offset of the bytes in question, from the start of the record; 0 if there are none.
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

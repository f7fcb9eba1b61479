// Arithmetic in conditions, on numbers, durations and times.

/// The four operators.
enum OTTLArithmetic: Equatable, Sendable {
  case add, subtract, multiply, divide

  /// The result, by Go's rules: integers and durations wrap around at 64 bits, integer division truncates
  /// towards zero, and dividing by zero is an error, also for floats. A time that does not fit in 64 bits
  /// (after 2262) becomes the last one that does; the Collector's times reach further.
  ///
  /// Source: `attemptMathOperation` in pkg/ottl/math.go.
  func callAsFunction(
    _ left: ConditionValue, _ right: ConditionValue
  ) throws(EvaluationError) -> ConditionValue {
    switch (left, right) {
    case (.integer(let left), .integer(let right)): .integer(try ofIntegers(left, right))
    case (.double(let left), .double(let right)): .double(try ofDoubles(left, right))
    case (.integer(let left), .double(let right)): .double(try ofDoubles(Double(left), right))
    case (.double(let left), .integer(let right)): .double(try ofDoubles(left, Double(right)))
    case (.time(let left), .time(let right)) where self == .subtract:
      .duration(OTTLArithmetic.clamped(left.subtractingReportingOverflow(right), isNegative: left < 0))
    case (.time(let time), .duration(let duration)) where self == .add,
      (.duration(let duration), .time(let time)) where self == .add:
      .time(OTTLArithmetic.clamped(time.addingReportingOverflow(duration), isNegative: time < 0))
    case (.time(let time), .duration(let duration)) where self == .subtract:
      .time(OTTLArithmetic.clamped(time.subtractingReportingOverflow(duration), isNegative: time < 0))
    case (.duration(let left), .duration(let right)) where self == .add: .duration(left &+ right)
    case (.duration(let left), .duration(let right)) where self == .subtract: .duration(left &- right)
    default: throw EvaluationError(reason: .noNumber)
    }
  }

  private func ofIntegers(_ left: Int64, _ right: Int64) throws(EvaluationError) -> Int64 {
    switch self {
    case .add: return left &+ right
    case .subtract: return left &- right
    case .multiply: return left &* right
    case .divide:
      guard right != 0 else { throw EvaluationError(reason: .divisionByZero) }
      // The smallest integer divided by -1 is itself, as in Go.
      return left.dividedReportingOverflow(by: right).partialValue
    }
  }

  private func ofDoubles(_ left: Double, _ right: Double) throws(EvaluationError) -> Double {
    switch self {
    case .add: return left + right
    case .subtract: return left - right
    case .multiply: return left * right
    case .divide:
      guard right != 0 else { throw EvaluationError(reason: .divisionByZero) }
      return left / right
    }
  }

  /// A sum or difference, clamped on overflow: then it has the sign of its left side.
  private static func clamped(
    _ result: (partialValue: Int64, overflow: Bool), isNegative: Bool
  ) -> Int64 {
    guard result.overflow else { return result.partialValue }
    return isNegative ? .min : .max
  }
}

extension OTTLTimeUnit {
  /// A duration in this unit: an integer, truncated towards zero, up to milliseconds, else a float.
  ///
  /// Source: <https://pkg.go.dev/time#Duration>, `Milliseconds`, `Hours` and the like.
  func number(ofDuration nanoseconds: Int64) -> ConditionValue {
    guard rawValue >= OTTLTimeUnit.second.rawValue else { return .integer(nanoseconds / rawValue) }
    return .double(Double(nanoseconds / rawValue) + Double(nanoseconds % rawValue) / Double(rawValue))
  }

  /// How many whole units have passed since 1970; rounded down before it.
  func integer(ofTime nanoseconds: Int64) -> Int64 {
    let (quotient, remainder) = nanoseconds.quotientAndRemainder(dividingBy: rawValue)
    // Does not wrap: with a remainder the unit is above one, and the quotient far from the smallest integer.
    return remainder < 0 ? quotient - 1 : quotient
  }
}

// The bytes of literals, and of text that is made while conditions are evaluated.

import OTLP

/// Literals, then text that lasts as long as the answers that it belongs to, then that of one test.
struct ConditionTexts {
  /// The most that is made at a time: several times a record of Kafka's usual size.
  static let madeBytesMax = 4 << 20
  /// So much of it is kept allocated for the next test.
  private static let bytesKept = 64 << 10

  private(set) var bytes: [UInt8]
  private let literalBytes: Int
  /// Up to here text lasts as long as the scope, and as the span.
  private var scopeEnd: Int
  private var spanEnd: Int

  init(literals: [UInt8]) {
    bytes = literals
    bytes.reserveCapacity(literals.count + 1024)
    literalBytes = literals.count
    scopeEnd = literals.count
    spanEnd = literals.count
  }

  /// Makes a text, which is forgotten after the test unless `keep` is told of it.
  mutating func make(
    _ append: (inout [UInt8]) throws(EvaluationError) -> Void
  ) throws(EvaluationError) -> ConditionValue {
    let start = bytes.count
    try append(&bytes)
    guard bytes.count - literalBytes <= ConditionTexts.madeBytesMax else {
      bytes.removeLast(bytes.count - start)
      throw EvaluationError(reason: .tooLong)
    }
    // Fits: the limit above, and literals of 16 KiB a condition.
    return .ownText(
      ByteRange(
        offset: UInt32(truncatingIfNeeded: start), count: UInt32(truncatingIfNeeded: bytes.count - start)))
  }

  /// Keeps what was made so far for as long as an answer lasts. Text of the span below text of its scope is
  /// kept with it: each call makes one text a scope, so little is.
  mutating func keep(_ reach: AnswerReach) {
    switch reach {
    case .scope:
      scopeEnd = bytes.count
      spanEnd = bytes.count
    case .span: spanEnd = bytes.count
    case .event: break
    }
  }

  /// Forgets all that lasted for one scope, span or test.
  @inline(__always)
  mutating func forget(_ reach: AnswerReach) {
    switch reach {
    case .scope:
      scopeEnd = literalBytes
      spanEnd = literalBytes
    case .span: spanEnd = scopeEnd
    case .event: break
    }
    if bytes.count > spanEnd { shrink() }
  }

  private mutating func shrink() {
    bytes.removeLast(bytes.count - spanEnd)
    // A byte string of megabytes is written in digits: what that took is not kept for the next one.
    if bytes.capacity > bytes.count + literalBytes + ConditionTexts.bytesKept {
      let kept = bytes
      bytes = []
      bytes.reserveCapacity(kept.count + 1024)
      bytes += kept
    }
  }
}

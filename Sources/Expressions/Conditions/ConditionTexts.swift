// The bytes of literals, and of text made while conditions are evaluated.

import OTLP

/// Literals, then text that lasts as long as the answers that use it, then the text of one test.
struct ConditionTexts {
  /// The most text made at a time: several times a record of Kafka's usual size.
  static let madeBytesMax = 4 << 20
  /// How much of it stays allocated for the next test.
  private static let bytesKept = 64 << 10

  private(set) var bytes: [UInt8]
  private let literalBytes: Int
  /// The ends of the text that lasts as long as the scope, and as the span.
  private var scopeEnd: Int
  private var spanEnd: Int

  init(literals: [UInt8]) {
    bytes = literals
    bytes.reserveCapacity(literals.count + 1024)
    literalBytes = literals.count
    scopeEnd = literals.count
    spanEnd = literals.count
  }

  /// Makes a text, which is forgotten after the test unless `keep` is called.
  mutating func make(
    _ append: (inout [UInt8]) throws(EvaluationError) -> Void
  ) throws(EvaluationError) -> ConditionValue {
    let start = bytes.count
    try append(&bytes)
    guard bytes.count - literalBytes <= ConditionTexts.madeBytesMax else {
      bytes.removeLast(bytes.count - start)
      throw EvaluationError(reason: .tooLong)
    }
    // Fits: the limit above, and literals of 16 KiB per condition.
    return .ownText(
      ByteRange(
        offset: UInt32(truncatingIfNeeded: start), count: UInt32(truncatingIfNeeded: bytes.count - start)))
  }

  /// Keeps the text made so far for as long as an answer lasts. Text of the span that precedes text of its
  /// scope is kept with it. That is little: each call makes one text per scope.
  mutating func keep(_ reach: AnswerReach) {
    switch reach {
    case .scope:
      scopeEnd = bytes.count
      spanEnd = bytes.count
    case .span: spanEnd = bytes.count
    case .event: break
    }
  }

  /// Forgets all text that lasts for one scope, span or test.
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
    // The digits of a byte string may take megabytes: that memory is not kept for the next one.
    if bytes.capacity > bytes.count + literalBytes + ConditionTexts.bytesKept {
      let kept = bytes
      bytes = []
      bytes.reserveCapacity(kept.count + 1024)
      bytes += kept
    }
  }
}

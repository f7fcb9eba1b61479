// OpenTelemetry's member of a tracestate: the sub-keys `th` and `rv`.

/// What OpenTelemetry's member of a tracestate says about sampling.
public struct TraceStateSampling: Equatable, Sendable {
  /// The threshold of earlier sampling (`th`).
  public var threshold: SamplingThreshold?
  /// The trace's explicit randomness (`rv`): 56 bits.
  public var randomness: UInt64?
  /// Whether the tracestate, or its `ot` member, breaks the rules. Its values are then ignored.
  public var isMalformed = false

  /// Says nothing.
  public init() {}

  /// Reads the tracestate in `range` of `bytes`.
  public init(_ range: ByteRange, of bytes: RawSpan) {
    guard range.count > 0 else {
      self.init()
      return
    }
    self.init(TraceStateList(range, of: bytes), of: bytes)
  }

  /// Whether the tracestate in `range` of `bytes` can say anything: whether `ot=` is in it. In few it is, and
  /// finding out takes a fraction of what reading the tracestate takes.
  public static func isGiven(in range: ByteRange, of bytes: RawSpan) -> Bool {
    let equals: UInt64 = 0x3d
    var offset = range.indices.lowerBound &+ 2
    let end = range.indices.upperBound
    while offset < end {
      guard end &- offset >= 8 else {
        if UInt64(bytes.byte(at: offset)) == equals, bytes.hasName(before: offset) { return true }
        offset &+= 1
        continue
      }
      // The bytes that equal `=` become zero, and their upper bits are set then; others' may be above them.
      let differences = bytes.word(at: offset) ^ equals &* Hexadecimal.ones
      var found = (differences &- Hexadecimal.ones) & ~differences & (Hexadecimal.ones << 7)
      while found != 0 {
        if bytes.hasName(before: offset &+ found.trailingZeroBitCount / 8) { return true }
        found &= found &- 1
      }
      offset &+= 8
    }
    return false
  }

  /// Reads the `ot` member of `list`.
  ///
  /// Source: OpenTelemetry specification, "TraceState Handling": `key:value`, separated by semicolons. A `th`
  /// or `rv` that appears twice counts as absent, as keys have to be unique; so does an invalid number.
  init(_ list: TraceStateList, of bytes: RawSpan) {
    guard list.isWellFormed else {
      isMalformed = true
      return
    }
    guard let value = list.openTelemetryValue(in: bytes) else { return }
    var fields = SubKeys(value)
    repeat {
      guard let field = fields.next(in: bytes), take(field, of: bytes) else {
        self = TraceStateSampling()
        isMalformed = true
        return
      }
    } while !fields.isAtEnd
  }

  /// Adds a sub-key; false if it breaks the rules.
  private mutating func take(_ field: SubKeys.Field, of bytes: RawSpan) -> Bool {
    if bytes.spells("th", in: field.key) {
      guard threshold == nil, let rejected = bytes.hexadecimal(field.value, digits: 1...14) else {
        return false
      }
      threshold = SamplingThreshold(rejected: rejected)
    } else if bytes.spells("rv", in: field.key) {
      guard randomness == nil, let bits = bytes.hexadecimal(field.value, digits: 14...14) else {
        return false
      }
      randomness = bits
    }
    return true
  }
}

/// Cuts the value of an `ot` member into its sub-keys.
struct SubKeys {
  struct Field {
    var key: ByteRange
    var value: ByteRange
    /// Both, with the colon.
    var whole: ByteRange
  }

  private var offset: Int
  private let end: Int
  /// Whether the last one has been read. There is always one: an empty text has one that breaks the rules.
  private(set) var isAtEnd = false

  init(_ value: ByteRange) {
    offset = value.indices.lowerBound
    end = value.indices.upperBound
  }

  /// The next `key:value`; nil if it breaks the rules: a key is lower-case letters and digits, a letter
  /// first; a value is letters, digits and `.`, `_`, `-`.
  mutating func next(in bytes: RawSpan) -> Field? {
    let start = offset
    while offset < end, bytes.isSubKey(at: offset, isFirst: offset == start) { offset += 1 }
    guard offset > start, offset < end, bytes.byte(at: offset) == 0x3a else { return nil }  // :
    let colon = offset
    offset += 1
    while offset < end, bytes.isSubValue(at: offset) { offset += 1 }
    let stop = offset
    if offset < end {
      guard bytes.byte(at: offset) == 0x3b else { return nil }  // ;
      offset += 1
    } else {
      isAtEnd = true
    }
    return Field(
      key: ByteRange(from: start, to: colon), value: ByteRange(from: colon + 1, to: stop),
      whole: ByteRange(from: start, to: stop))
  }
}

extension RawSpan {
  /// Whether the two bytes before `offset` are `ot`.
  @inline(__always)
  fileprivate func hasName(before offset: Int) -> Bool {
    byte(at: offset &- 2) == 0x6f && byte(at: offset &- 1) == 0x74
  }

  fileprivate func isSubKey(at offset: Int, isFirst: Bool) -> Bool {
    switch byte(at: offset) {
    case 0x61...0x7a: true
    case 0x30...0x39: !isFirst
    default: false
    }
  }

  fileprivate func isSubValue(at offset: Int) -> Bool {
    switch byte(at: offset) {
    case 0x61...0x7a, 0x41...0x5a, 0x30...0x39, 0x2e, 0x5f, 0x2d: true
    default: false
    }
  }

  /// The hexadecimal number in `range`, as a left-aligned 56-bit value; nil unless it has `digits` lower-case
  /// digits and nothing else.
  fileprivate func hexadecimal(_ range: ByteRange, digits: ClosedRange<Int>) -> UInt64? {
    let count = Int(range.count)
    guard digits.contains(count) else { return nil }
    var value: UInt64 = 0
    for index in 0..<count {
      let character = byte(at: Int(range.offset) + index)
      guard character < 0x41 || character > 0x46, let digit = Hexadecimal.value(of: character) else {
        return nil
      }
      value = value << 4 | UInt64(digit)
    }
    return value << UInt64(4 * (14 - count))
  }
}

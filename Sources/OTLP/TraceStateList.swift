// The only parser of W3C tracestates.

/// The members of a tracestate; none if any of it breaks the rules.
///
/// Source: W3C Trace Context (Level 1), section 3.3.1. One pass, which ends at the first byte that breaks a
/// rule; members after the 32nd are not read.
public struct TraceStateList: Sendable {
  /// A tracestate has at most this many members.
  static let membersMax = 32

  /// Whether the tracestate keeps to W3C's rules. An empty one does.
  public private(set) var isWellFormed = true
  /// Whether a member is only spaces and tabs. W3C allows it.
  private var hasBlankMember = false
  private var members: [32 of Member] = .init(repeating: Member())
  /// The number of members, not counting empty ones.
  private(set) var count = 0

  /// Where a member is. Its value begins one byte after its key.
  fileprivate struct Member: BitwiseCopyable {
    var offset: UInt32 = 0
    var keyCount: UInt16 = 0
    var valueCount: UInt16 = 0
    /// A hash of the key, so that keys are rarely compared byte by byte.
    var hash: UInt32 = 0

    var key: ByteRange { ByteRange(offset: offset, count: UInt32(keyCount)) }
    // Sound: a member lies within a record, whose offsets fit into 32 bits.
    var value: ByteRange { ByteRange(offset: offset &+ UInt32(keyCount) &+ 1, count: UInt32(valueCount)) }
  }

  /// Reads the tracestate in `range` of `bytes`.
  public init(_ range: ByteRange, of bytes: RawSpan) {
    var offset = range.indices.lowerBound
    let end = range.indices.upperBound
    while offset < end {
      let start = offset
      while offset < end, bytes.isBlank(at: offset) { offset += 1 }
      if offset == end || bytes.byte(at: offset) == 0x2c {  // ,
        if offset > start { hasBlankMember = true }
        offset += 1
        continue
      }
      guard count < TraceStateList.membersMax, let member = Member(&offset, end, of: bytes),
        !contains(member, in: bytes)
      else {
        isWellFormed = false
        count = 0
        return
      }
      members[count] = member
      count += 1
    }
  }

  private func contains(_ member: Member, in bytes: RawSpan) -> Bool {
    for number in 0..<count where members[number].hash == member.hash {
      if bytes.extracting(members[number].key.indices).isEqual(to: bytes.extracting(member.key.indices)) {
        return true
      }
    }
    return false
  }

  // MARK: Members by their keys

  /// Whether the Collector's parser (go.opentelemetry.io/otel/trace) accepts it too. That one rejects members
  /// of only spaces and tabs.
  public var isReadByCollectors: Bool { isWellFormed && !hasBlankMember }

  /// Where the value of the member `key` is; nil if there is none, or the Collector would not find it.
  public func value(of key: RawSpan, in bytes: RawSpan) -> ByteRange? {
    guard isReadByCollectors else { return nil }
    for number in 0..<count where bytes.extracting(members[number].key.indices).isEqual(to: key) {
      return members[number].value
    }
    return nil
  }

  /// Where each member's key and value are.
  package var ranges: [(key: ByteRange, value: ByteRange)] {
    (0..<count).map { (members[$0].key, members[$0].value) }
  }

  /// Where the value of OpenTelemetry's own member is.
  func openTelemetryValue(in bytes: RawSpan) -> ByteRange? {
    for number in 0..<count where bytes.spells("ot", in: members[number].key) { return members[number].value }
    return nil
  }
}

extension TraceStateList.Member {
  private static let keyMax = 256
  private static let tenantMax = 241
  private static let systemMax = 14
  private static let valueMax = 256

  /// Reads `key=value` and the blanks after it, with the comma; nil if it breaks the rules.
  fileprivate init?(_ offset: inout Int, _ end: Int, of bytes: RawSpan) {
    let start = offset
    guard let equals = readKey(&offset, end, of: bytes) else { return nil }
    // Sound: offsets in a record fit into 32 bits, and the lengths are 256 at most.
    self.offset = UInt32(truncatingIfNeeded: start)
    keyCount = UInt16(truncatingIfNeeded: equals - start)
    // The last non-blank byte, and whether there was a tab, which is allowed only after that byte.
    var valueEnd = equals + 1
    var hasTab = false
    offset = valueEnd
    while offset < end {
      let byte = bytes.byte(at: offset)
      if byte == 0x2c { break }  // ,
      offset += 1
      switch byte {
      case 0x09: hasTab = true
      case 0x20: break
      case 0x21...0x7e where byte != 0x3d && !hasTab:  // =
        valueEnd = offset
        guard valueEnd - equals - 1 <= Self.valueMax else { return nil }
      default: return nil
      }
    }
    offset += 1
    guard valueEnd > equals + 1 else { return nil }
    valueCount = UInt16(truncatingIfNeeded: valueEnd - equals - 1)
  }

  /// A key is up to 256 characters that begin with a lower-case letter; or a tenant of up to 241 that begins
  /// with a lower-case letter or a digit, `@`, and a system of up to 14 that begins with a lower-case letter.
  ///
  /// - Returns: the offset of the equals sign after it.
  private mutating func readKey(_ offset: inout Int, _ end: Int, of bytes: RawSpan) -> Int? {
    let start = offset
    var partStart = start
    while offset < end {
      let byte = bytes.byte(at: offset)
      switch byte {
      case 0x61...0x7a: break  // a letter
      case 0x30...0x39: break  // a digit
      case 0x5f, 0x2d, 0x2a, 0x2f: if offset == partStart { return nil }  // _ - * /
      case 0x40:  // @
        guard partStart == start, (1...Self.tenantMax).contains(offset - start) else { return nil }
        partStart = offset + 1
      case 0x3d:  // =
        let isTenant = partStart > start
        guard (1...(isTenant ? Self.systemMax : Self.keyMax)).contains(offset - partStart),
          (0x61...0x7a).contains(bytes.byte(at: partStart))
        else { return nil }
        return offset
      default: return nil
      }
      guard offset - start < Self.keyMax else { return nil }
      // FNV-1a, 32 bits.
      hash = (hash ^ UInt32(byte)) &* 0x0100_0193
      offset += 1
    }
    return nil
  }
}

// MARK: For writers

extension TraceStateList {
  /// The members before OpenTelemetry's own (all of them if it is missing) and those after it, without the
  /// commas in between.
  func surroundings(_ range: ByteRange, of bytes: RawSpan) -> (before: ByteRange, after: ByteRange) {
    let nothing = ByteRange(offset: range.offset, count: 0)
    guard let value = openTelemetryValue(in: bytes) else { return (count == 0 ? nothing : range, nothing) }
    // "ot=" and the blanks before it, up to the comma.
    var start = Int(value.offset) - 3
    while start > range.indices.lowerBound, bytes.isBlank(at: start - 1) { start -= 1 }
    var end = value.indices.upperBound
    while end < range.indices.upperBound, bytes.isBlank(at: end) { end += 1 }
    return (
      ByteRange(from: range.indices.lowerBound, to: max(range.indices.lowerBound, start - 1)),
      ByteRange(from: min(end + 1, range.indices.upperBound), to: range.indices.upperBound)
    )
  }
}

extension RawSpan {
  fileprivate func isBlank(at offset: Int) -> Bool {
    byte(at: offset) == 0x20 || byte(at: offset) == 0x09
  }
}

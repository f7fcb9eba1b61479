// A whole W3C tracestate, for those who look for one of its members.

/// The members of a tracestate, if all of it is well-formed: else it has none.
///
/// Source: W3C Trace Context, section 3.3.1. As the Collector's reader does, empty members are stepped over
/// and spaces around a member are no part of it.
public struct TraceStateList: Sendable {
  /// A tracestate has at most this many members.
  private static let membersMax = 32

  /// The members, none where the list is not well-formed. They are noted, so that whoever asks for many keys
  /// of a long tracestate does not walk it for each.
  private var keys: [32 of ByteRange] = .init(repeating: ByteRange(offset: 0, count: 0))
  private var values: [32 of ByteRange] = .init(repeating: ByteRange(offset: 0, count: 0))
  private(set) var count = 0

  /// Reads the tracestate in `range` of `bytes`: to the first member that breaks the rules, or is one too
  /// many.
  public init(_ range: ByteRange, of bytes: RawSpan) {
    var members = Members(range)
    while let member = members.next(in: bytes) {
      guard count < TraceStateList.membersMax, member.hasEquals, bytes.isTraceStateKey(member.key),
        bytes.isTraceStateValue(member.value)
      else {
        count = 0
        return
      }
      keys[count] = member.key
      values[count] = member.value
      count += 1
    }
  }

  /// Where the value of the member `key` stands; nil if there is none, or more than one.
  public func value(of key: RawSpan, in bytes: RawSpan) -> ByteRange? {
    var found: ByteRange?
    for number in 0..<count where bytes.isEqual(keys[number], to: key) {
      guard found == nil else { return nil }
      found = values[number]
    }
    return found
  }
}

/// Cuts a tracestate into its members.
private struct Members {
  struct Member {
    var key: ByteRange
    var value: ByteRange
    var hasEquals: Bool
  }

  private var offset: Int
  private let end: Int

  init(_ range: ByteRange) {
    offset = range.indices.lowerBound
    end = range.indices.upperBound
  }

  /// The next member that is not empty.
  mutating func next(in bytes: RawSpan) -> Member? {
    while offset < end {
      var start = offset
      while offset < end, bytes.byte(at: offset) != 0x2c { offset += 1 }  // ,
      var stop = offset
      offset += 1
      guard start < stop else { continue }
      while start < stop, bytes.isSpace(at: start) { start += 1 }
      while stop > start, bytes.isSpace(at: stop - 1) { stop -= 1 }
      var equals = start
      while equals < stop, bytes.byte(at: equals) != 0x3d { equals += 1 }  // =
      return Member(
        key: ByteRange(from: start, to: equals), value: ByteRange(from: min(equals + 1, stop), to: stop),
        hasEquals: equals < stop)
    }
    return nil
  }
}

extension RawSpan {
  fileprivate func isSpace(at offset: Int) -> Bool {
    byte(at: offset) == 0x20 || byte(at: offset) == 0x09
  }

  /// Whether it begins with a letter or digit and goes on with those, `_`, `-`, `*`, `/` and one `@`: all in
  /// lower case, up to 256 characters.
  fileprivate func isTraceStateKey(_ range: ByteRange) -> Bool {
    guard (1...256).contains(range.count) else { return false }
    var ats = 0
    for offset in range.indices {
      switch byte(at: offset) {
      case 0x61...0x7a, 0x30...0x39: break
      case 0x5f, 0x2d, 0x2a, 0x2f: if offset == range.indices.lowerBound { return false }
      case 0x40:
        ats += 1
        if offset == range.indices.lowerBound || ats > 1 { return false }
      default: return false
      }
    }
    return true
  }

  /// Whether it has 1 to 256 printable ASCII characters without an equals sign.
  fileprivate func isTraceStateValue(_ range: ByteRange) -> Bool {
    guard (1...256).contains(range.count) else { return false }
    for offset in range.indices where !(0x20...0x7e).contains(byte(at: offset)) || byte(at: offset) == 0x3d {
      return false
    }
    return true
  }

  fileprivate func isEqual(_ range: ByteRange, to other: RawSpan) -> Bool {
    guard Int(range.count) == other.byteCount else { return false }
    for index in 0..<other.byteCount where byte(at: Int(range.offset) + index) != other.byte(at: index) {
      return false
    }
    return true
  }
}

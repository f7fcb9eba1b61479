// What the scanner returns: identifiers and the few span fields that the sampler decides by.

/// The 16 bytes of a trace id, as two big-endian halves.
public struct TraceID: Hashable, Sendable, BitwiseCopyable {
  /// Bytes 0 to 7.
  public let high: UInt64
  /// Bytes 8 to 15.
  public let low: UInt64

  /// Makes the id whose first eight bytes are `high` and whose last eight are `low`, both big-endian.
  public init(high: UInt64, low: UInt64) {
    self.high = high
    self.low = low
  }

  /// Reads the 16 bytes at `offset`, bounds-checked.
  @inline(__always)
  package init(in bytes: RawSpan, at offset: Int) {
    self.init(high: bytes.bigEndian64(at: offset), low: bytes.bigEndian64(at: offset + 8))
  }

  /// All zeros: not a valid id.
  public var isZero: Bool { high | low == 0 }

  /// The last seven bytes: the trace's randomness where no `rv` is given.
  ///
  /// Source: W3C Trace Context Level 2, "Random Trace ID Flag".
  public var randomness: UInt64 { low & 0x00ff_ffff_ffff_ffff }

  /// Reads a record key: 32 hexadecimal characters of either case, or 16 raw bytes; 16 hexadecimal characters
  /// are an id of 64 bits, as Jaeger writes it (that random bytes look like some happens once in 10^17 ids).
  /// Nil if it is none of these.
  public init?(key: RawSpan) {
    switch key.byteCount {
    case 16:
      guard let first = Hexadecimal.value(of: key.bigEndian64(at: 0)),
        let second = Hexadecimal.value(of: key.bigEndian64(at: 8))
      else {
        self.init(in: key, at: 0)
        return
      }
      self.init(high: 0, low: first << 32 | second)
    case 32:
      guard let first = Hexadecimal.value(of: key.bigEndian64(at: 0)),
        let second = Hexadecimal.value(of: key.bigEndian64(at: 8)),
        let third = Hexadecimal.value(of: key.bigEndian64(at: 16)),
        let fourth = Hexadecimal.value(of: key.bigEndian64(at: 24))
      else { return nil }
      self.init(high: first << 32 | second, low: third << 32 | fourth)
    default:
      return nil
    }
  }

  /// Whether `key` is the id as `appendHexadecimal` writes it. Faster than parsing the key.
  public func isWritten(in key: RawSpan) -> Bool {
    guard key.byteCount == 32 else { return false }
    let former = SIMD2(key.littleEndian64(at: 0), key.littleEndian64(at: 8))
    let latter = SIMD2(key.littleEndian64(at: 16), key.littleEndian64(at: 24))
    let differences =
      (former ^ Hexadecimal.characters(of: high)) | (latter ^ Hexadecimal.characters(of: low))
    return differences[0] | differences[1] == 0
  }

  /// Appends the id as 32 lower-case hexadecimal characters, the form of every key that Tailrace writes.
  public func appendHexadecimal(to bytes: inout [UInt8]) {
    bytes.appendText(room: 32) { $0.appendHexadecimal(self) }
  }
}

extension TraceID: CustomStringConvertible {
  /// The 32 lower-case hexadecimal characters.
  public var description: String {
    var bytes: [UInt8] = []
    appendHexadecimal(to: &bytes)
    return String(decoding: bytes, as: UTF8.self)
  }
}

/// A span's status, as OTLP numbers it.
public enum SpanStatus: UInt8, Sendable {
  /// Status 0: not set.
  case unset = 0
  /// Status 1: set to OK by the application.
  case ok = 1
  /// Status 2: the operation failed.
  case error = 2
  /// Any other code, whether OTLP knows it or not.
  case other = 3

  /// The status for the code in a record: an enum value, of which protobuf keeps 32 bits.
  init(code: UInt64) {
    switch UInt32(truncatingIfNeeded: code) {
    case 0: self = .unset
    case 1: self = .ok
    case 2: self = .error
    default: self = .other
    }
  }
}

/// The fields of one span that verdicts depend on, and where its bytes lie in the record.
public struct SpanView: Sendable {
  /// The trace that it belongs to; never all zeros.
  public var traceID = TraceID(high: 0, low: 0)
  /// The span id, big-endian; never zero.
  public var spanID: UInt64 = 0
  /// The parent's span id, or zero for a root span.
  public var parentID: UInt64 = 0
  /// Start time in nanoseconds since 1970, by the clock of the host that made the span.
  public var start: UInt64 = 0
  /// End time in nanoseconds since 1970, by the same clock.
  public var end: UInt64 = 0
  /// The message's content.
  public var content = ByteRange(offset: 0, count: 0)
  /// The whole field: tag, length and content.
  public var field = ByteRange(offset: 0, count: 0)
  /// The span's name.
  public var name = ByteRange(offset: 0, count: 0)
  /// The W3C tracestate.
  public var traceState = ByteRange(offset: 0, count: 0)
  /// Which of the record's scopes it is in.
  public var scope: UInt32 = 0
  /// Which of the record's resources it is in.
  public var resource: UInt32 = 0
  /// The W3C trace flags in the low eight bits, and OTLP's own above them.
  public var flags: UInt32 = 0
  /// The status.
  public var status = SpanStatus.unset
  /// The kind, as OTLP numbers it: 1 internal, 2 server, 3 client, 4 producer, 5 consumer; 0 or anything
  /// else: not given.
  public var kind: UInt8 = 0
  /// Whether it links to other spans.
  public var hasLinks = false

  /// A span without any field.
  public init() {}

  /// A span none of whose own fields has been read.
  @inline(__always)
  init(content: ByteRange, field: ByteRange, scope: UInt32, resource: UInt32) {
    self.content = content
    self.field = field
    self.scope = scope
    self.resource = resource
  }

  /// Whether it names no parent.
  public var isRoot: Bool { parentID == 0 }

  /// Whether it suggests that its trace may continue after the caller: a producer, a consumer, or a span with
  /// links.
  public var isAsynchronous: Bool { kind >> 1 == 2 || hasLinks }

  /// How long the span lasted, in nanoseconds; zero if it ends before it starts.
  public var duration: UInt64 { end > start ? end - start : 0 }
}

/// One `ResourceSpans` of a record.
public struct ResourceView: Sendable {
  /// The value of the resource attribute `service.name`; empty where there is none.
  public var serviceName: ByteRange
  /// Identifies the resource's bytes, if the record remembers resources; else 0. A number is replaced by a
  /// greater one with the same low eight bits, and does not return after that.
  public var number: UInt64 = 0
  /// Which of the record's extra runs are this resource's: everything in it that is not scope spans.
  var extras: Range<Int>
}

/// One `ScopeSpans` of a record.
struct ScopeView: Sendable {
  /// Which of the record's extra runs are this scope's: everything in it that is not spans.
  var extras: Range<Int>
}

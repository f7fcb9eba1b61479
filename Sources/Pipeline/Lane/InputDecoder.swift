// Other encodings are converted to OTLP protobuf on input, so that everything downstream handles one form.

internal import Compression
internal import Encodings
internal import OTLP
import Topology

/// Converts records to OTLP protobuf: decompresses them, removes a schema registry's prefix, converts other
/// encodings. Reused: it keeps its storage.
struct InputDecoder {
  let encoding: SpanEncoding
  private let compression: ValueCompression
  private var decompressor = Decompressor()
  /// What the last value was without compression, and how much of its beginning is a prefix.
  private var content: [UInt8]?
  private(set) var prefixBytes = 0
  /// Whether the converter has seen it.
  private var hasConverted = false
  private var converter: SpanConverter?
  private var converted = WireWriter()
  private var rejectedOfJSON = RejectedJSONSpans()

  init(encoding: SpanEncoding, compression: ValueCompression = .auto) {
    self.encoding = encoding
    self.compression = compression
    converter = encoding.foreign.map { SpanConverter($0) }
  }

  /// Bytes of memory in use.
  var byteCount: Int {
    converted.byteCount + rejectedOfJSON.byteCount + (converter?.byteCount ?? 0) + (content?.capacity ?? 0)
  }

  /// Releases its storage.
  mutating func release() {
    self = InputDecoder(encoding: encoding, compression: compression)
  }

  /// Whether `value` is OTLP protobuf as it is, so that there is nothing to decode.
  func isPlain(_ value: RawSpan) -> Bool {
    guard encoding == .otlpProto, compression != .snappy, value.byteCount > 0 else { return false }
    // The tag of the only field that a request has.
    return value.byte(at: 0) == 0x0a || !isWrapped(value)
  }

  /// Lends the record's OTLP protobuf bytes to `body`: its own bytes if they already are that.
  ///
  /// A document's unusable spans are left out; they are in `rejected`.
  ///
  /// - Parameter convertedMax: the most bytes that a record of another encoding may become, if its reader
  ///   takes no more.
  mutating func decode(
    _ value: RawSpan, bytesMax: Int, convertedMax: Int = .max, _ body: (RawSpan) -> MalformedInput?
  ) -> MalformedInput? {
    rejectedOfJSON.removeAll()
    hasConverted = false
    (content, prefixBytes) = (nil, 0)
    guard value.byteCount > 0, value.byteCount <= bytesMax else { return body(value) }
    do throws(MalformedInput) { content = try decompressed(value, bytesMax: bytesMax) } catch { return error }
    guard let content else { return decodeContent(value, convertedMax, body) }
    return content.withRawBytes { decodeContent($0, convertedMax, body) }
  }

  private mutating func decodeContent(
    _ content: RawSpan, _ convertedMax: Int, _ body: (RawSpan) -> MalformedInput?
  ) -> MalformedInput? {
    prefixBytes = RegistryPrefix.byteCount(of: content, isJSON: encoding.isJSON)
    let malformed = convert(content.extracting(prefixBytes..<content.byteCount), convertedMax, body)
    return malformed.map { MalformedInput($0.reason, at: $0.offset + prefixBytes) }
  }

  private mutating func convert(
    _ bytes: RawSpan, _ convertedMax: Int, _ body: (RawSpan) -> MalformedInput?
  ) -> MalformedInput? {
    guard encoding != .otlpProto else { return body(bytes) }
    converted.removeAll()
    do throws(MalformedInput) {
      if encoding == .otlpJSON {
        try OTLPJSON.convert(bytes, into: &converted, rejected: &rejectedOfJSON)
      } else {
        hasConverted = true
        try converter?.convert(bytes, into: &converted, bytesMax: convertedMax)
      }
    } catch {
      return error
    }
    // That no spans are left is only a consequence: the first rejection is the reason.
    guard converted.count > 0 else { return rejected.first?.error ?? MalformedInput(.noSpans, at: 0) }
    let malformed = converted.bytes.withRawBytes(body)
    guard malformed?.reason == .noSpans, let first = rejected.first else { return malformed }
    return first.error
  }

  // MARK: Wrappings

  /// Whether `value` may be compressed or have a prefix.
  private func isWrapped(_ value: RawSpan) -> Bool {
    RegistryPrefix.byteCount(of: value, isJSON: encoding.isJSON) > 0 || form(of: value) != nil
  }

  private func form(of value: RawSpan) -> CompressionForm? {
    guard compression != .none else { return nil }
    guard compression == .snappy || CompressionForm.mayBegin(with: value.byte(at: 0)) else { return nil }
    let head = value.extracting(0..<min(value.byteCount, CompressionForm.headBytes)).copied()
    return CompressionForm(head: head) ?? (compression == .snappy ? .snappyBlock : nil)
  }

  /// The value without its compression; nil if it has none.
  private mutating func decompressed(
    _ value: RawSpan, bytesMax: Int
  ) throws(MalformedInput) -> [UInt8]? {
    guard let form = form(of: value) else { return nil }
    do throws(CompressionError) {
      return try decompressor.decompress(value.copied(), form, bytesMax: bytesMax)
    } catch {
      switch error {
      case .damaged(let offset): throw MalformedInput(.invalidCompression, at: offset)
      case .tooLarge: throw MalformedInput(.recordTooLarge, at: 0)
      case .unavailable: throw MalformedInput(.invalidCompression, at: 0)
      }
    }
  }

  // MARK: The last value

  /// Its unusable spans, while others were converted.
  var rejected: [RejectedSpans] {
    encoding == .otlpJSON ? rejectedOfJSON.groups : hasConverted ? converter?.rejected.groups ?? [] : []
  }

  /// Appends the last value reduced to the spans that were rejected for `reason`, in the topic's encoding,
  /// but neither compressed nor with a prefix.
  func appendRejected(_ reason: MalformedInput.Reason, of value: RawSpan, to writer: inout WireWriter) {
    withContent(of: value) { content in
      if encoding == .otlpJSON {
        rejectedOfJSON.append(reason, of: content, to: &writer)
      } else {
        converter?.rejected.append(reason, of: content, isJSON: encoding.isJSON, to: &writer)
      }
    }
  }

  /// Lends the last value without compression and prefix.
  func withContent<Result>(of value: RawSpan, _ body: (RawSpan) -> Result) -> Result {
    guard let content else {
      return body(value.extracting(min(prefixBytes, value.byteCount)..<value.byteCount))
    }
    return content.withRawBytes { body($0.extracting(prefixBytes..<$0.byteCount)) }
  }

  /// Whether the places of errors are in the decompressed value.
  var hasDecompressed: Bool { content != nil }
}

/// The prefix that a schema registry's serialisers write before a value.
///
/// Format: Confluent's wire format,
/// <https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/index.html>: a
/// zero byte and a 32-bit id; before protobuf also the message's place in its schema, as a list of signed
/// varints after their number, where a zero byte stands for the first message.
private enum RegistryPrefix {
  /// Its size; 0 if there is none. No tag of protobuf is zero, and no JSON begins with a zero byte.
  static func byteCount(of value: RawSpan, isJSON: Bool) -> Int {
    guard value.byteCount > 5, value.byte(at: 0) == 0 else { return 0 }
    // The tag with which all messages of spans begin: there is no list. It would be one of five numbers, but
    // messages are not nested so deep.
    guard !isJSON, value.byte(at: 5) != 0x0a else { return 5 }
    guard value.byte(at: 5) != 0 else { return 6 }
    var offset = 5
    guard let twice = varint(value, &offset), twice % 2 == 0, twice <= 2 * 8 else { return 5 }
    for _ in 0..<twice / 2 {
      guard varint(value, &offset) != nil else { return 5 }
    }
    return offset
  }

  /// A varint of one or two bytes: there are no schemas with more messages.
  private static func varint(_ value: RawSpan, _ offset: inout Int) -> Int? {
    var number = 0
    for shift in [0, 7] where offset < value.byteCount {
      let byte = Int(value.byte(at: offset))
      offset += 1
      number |= (byte & 0x7f) << shift
      if byte < 0x80 { return number }
    }
    return nil
  }
}

extension SpanEncoding {
  /// Whether records are JSON.
  var isJSON: Bool { self == .otlpJSON || foreign?.isJSON == true }

  /// The encoding, if it is none of OTLP's.
  fileprivate var foreign: ForeignEncoding? {
    switch self {
    case .otlpProto, .otlpJSON: nil
    case .jaegerProto: .jaegerProto
    case .jaegerJSON: .jaegerJSON
    case .zipkinProto: .zipkinProto
    case .zipkinJSON: .zipkinJSON
    }
  }
}

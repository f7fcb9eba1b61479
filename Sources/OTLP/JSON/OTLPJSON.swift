// The entry point for OTLP/JSON: a document becomes protobuf bytes, which everything after it reads.

/// The JSON encoding of OTLP traces and logs.
///
/// Format: <https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>, which changes protobuf's own
/// JSON mapping (<https://protobuf.dev/programming-guides/json/>) in that trace and span ids are hexadecimal.
/// Beyond that, it accepts what parsers of the mapping must accept and what senders are known to write:
///
/// - keys in `snake_case`, as in the protobuf schema;
/// - integers as numbers or strings, with a fraction or exponent as long as the value is integral (`1e3`);
/// - an enum's values by name, in any case, with or without its prefix; numbers that the schema lacks are
///   kept;
/// - ids in either case, empty for none; base64 in either alphabet, with or without padding.
///
/// Unknown keys are skipped. `null` is an absent field; in a list of attribute values it is the empty value,
/// in any other list it has the wrong type. Scalars that have their default value are left out, as in
/// protobuf, except in an attribute's value, where the kind matters.
///
/// A key that appears twice in an object means what a field that appears twice means in protobuf: the last
/// scalar counts, and the last kind of an attribute's value; messages are merged, lists are concatenated.
public enum OTLPJSON {
  /// Converts one `TracesData` or `ExportTraceServiceRequest` document to protobuf bytes, and appends them.
  ///
  /// Fields are written in document order. An object without `resourceSpans` gives no bytes.
  ///
  /// - Throws: `MalformedInput`; `writer` is then as it was. The offset is
  ///   - that of the first byte that can't be accepted if the bytes are not a JSON document (`empty`,
  ///     `truncated`, `invalidJSON`, `invalidUTF8`), or have more than 128 objects and arrays open at once
  ///     (`nestingTooDeep`);
  ///   - that of the character that is not a hexadecimal or base64 digit, or of the closing quote if base64
  ///     has too few digits (`invalidText`);
  ///   - that of the value that its field can't hold (`wrongType`, `numberOutOfRange`, `identifierLength`).
  public static func convert(_ json: RawSpan, into writer: inout WireWriter) throws(MalformedInput) {
    var cursor = JSONCursor()
    try convert(json, to: .tracesData, with: &cursor, into: &writer)
  }

  /// The same for a `LogsData` or `ExportLogsServiceRequest` document.
  public static func convertLogs(_ json: RawSpan, into writer: inout WireWriter) throws(MalformedInput) {
    var cursor = JSONCursor()
    try convert(json, to: .logsData, with: &cursor, into: &writer)
  }

  /// The same as `convert`, but spans that can't be converted or lack an id are left out and noted in
  /// `rejected`, as long as they are JSON.
  public static func convert(
    _ json: RawSpan, into writer: inout WireWriter, rejected: inout RejectedJSONSpans
  ) throws(MalformedInput) {
    rejected.removeAll()
    var cursor = JSONCursor()
    cursor.rejected = RejectedJSONSpans()
    try convert(json, to: .tracesData, with: &cursor, into: &writer)
    if let found = cursor.rejected { rejected = found }
  }

  private static func convert(
    _ json: RawSpan, to message: OTLPMessage, with cursor: inout JSONCursor, into writer: inout WireWriter
  ) throws(MalformedInput) {
    guard json.byteCount > 0 else { throw MalformedInput(.empty, at: 0) }
    let start = writer.count
    do throws(MalformedInput) {
      try cursor.convert(message, in: json, to: &writer)
      try cursor.finish(in: json)
    } catch {
      writer.appendBytes { $0.removeSubrange(start...) }
      throw error
    }
  }
}

extension JSONCursor {
  /// Reads an object and writes the fields of the message that it represents.
  fileprivate mutating func convert(
    _ message: OTLPMessage, in json: RawSpan, to writer: inout WireWriter
  ) throws(MalformedInput) {
    let fields = message.fields
    // One bit for each field seen so far: a default value then overrides the earlier value.
    var seen: UInt32 = 0
    try openObject(in: json)
    while let key = try nextKey(in: json) {
      guard let name = try JSONName(key: key, in: json),
        let index = fields.firstIndex(where: { $0.name == name })
      else {
        try skipValue(in: json)
        continue
      }
      if try skipNull(in: json) { continue }
      let field = fields[index]
      let bit: UInt32 = 1 << UInt32(index)
      try convert(field, writesDefault: field.isChoice || seen & bit != 0, in: json, to: &writer)
      seen |= bit
    }
  }

  private mutating func convert(
    _ field: OTLPField, writesDefault: Bool, in json: RawSpan, to writer: inout WireWriter
  ) throws(MalformedInput) {
    switch field.kind {
    case .string:
      let text = try string(in: json)
      if !text.isEmpty || writesDefault { try write(text, as: field.number, in: json, to: &writer) }
    case .bytes:
      let bytes = try base64(in: json)
      if !bytes.isEmpty || writesDefault { writer.bytesField(field.number, bytes) }
    case .identifier(let byteCount):
      try convertIdentifier(
        field.number, byteCount: byteCount, writesDefault: writesDefault, in: json, to: &writer)
    case .bool:
      let value = try boolean(in: json)
      if value || writesDefault { writer.varintField(field.number, value ? 1 : 0) }
    case .uint32:
      let value = try integer(max: UInt64(UInt32.max), in: json)
      if value != 0 || writesDefault { writer.varintField(field.number, value) }
    case .int64:
      let value = try integer(max: UInt64(Int64.max), negativeMax: 1 << 63, in: json)
      if value != 0 || writesDefault { writer.varintField(field.number, value) }
    case .fixed32:
      let value = try integer(max: UInt64(UInt32.max), in: json)
      if value != 0 || writesDefault { writer.fixed32Field(field.number, UInt32(truncatingIfNeeded: value)) }
    case .fixed64:
      let value = try integer(max: UInt64.max, in: json)
      if value != 0 || writesDefault { writer.fixed64Field(field.number, value) }
    case .double:
      let bits = try double(in: json).bitPattern
      if bits != 0 || writesDefault { writer.fixed64Field(field.number, bits) }
    case .enumeration(let enumeration):
      let value = try number(of: enumeration, in: json)
      if value != 0 || writesDefault { writer.varintField(field.number, value) }
    case .strings, .message, .messages:
      try convertNested(field, in: json, to: &writer)
    }
  }

  /// Lists and messages, which are written whenever they are present.
  private mutating func convertNested(
    _ field: OTLPField, in json: RawSpan, to writer: inout WireWriter
  ) throws(MalformedInput) {
    switch field.kind {
    case .message(let message):
      try convertMessage(message, as: field.number, in: json, to: &writer)
    case .messages(let message):
      try openArray(in: json)
      while try nextElement(in: json) {
        if message == .anyValue, try skipNull(in: json) {
          writer.bytesField(field.number, EmptyCollection())
        } else if message == .span, rejected != nil {
          try convertSpan(as: field.number, in: json, to: &writer)
        } else {
          try convertMessage(message, as: field.number, in: json, to: &writer)
        }
      }
    default:
      try openArray(in: json)
      while try nextElement(in: json) {
        try write(string(in: json), as: field.number, in: json, to: &writer)
      }
    }
  }

  /// Converts a span, or sets it aside if it is JSON and can't be converted.
  private mutating func convertSpan(
    as number: UInt32, in json: RawSpan, to writer: inout WireWriter
  ) throws(MalformedInput) {
    _ = try valueKind(in: json)
    let (before, start) = (mark, writer.count)
    do throws(MalformedInput) {
      try convertMessage(.span, as: number, in: json, to: &writer)
      try writer.checkSpan(from: start, writtenFor: before.offset)
    } catch {
      goBack(to: before)
      writer.appendBytes { $0.removeSubrange(start...) }
      let ids = identifiers(in: json)
      try skipValue(in: json)
      rejected?.note(error, at: before.offset, trace: ids.trace, span: ids.span)
    }
  }

  /// The ids of the next span, where it has any.
  private func identifiers(in json: RawSpan) -> (trace: TraceID, span: UInt64) {
    var ids = (trace: TraceID(high: 0, low: 0), span: UInt64(0))
    var cursor = self
    do {
      try cursor.openObject(in: json)
      while let key = try cursor.nextKey(in: json) {
        let name = try JSONName(key: key, in: json)
        guard name == "traceId" || name == "spanId", try cursor.valueKind(in: json) == .string else {
          try cursor.skipValue(in: json)
          continue
        }
        var digits = try cursor.string(in: json)
        var value: [UInt64] = [0, 0]
        let isWhole = try digits.count(in: json) == (name == "traceId" ? 32 : 16)
        while isWhole, let character = try digits.nextASCII(in: json) {
          guard let digit = Hexadecimal.value(of: character) else { break }
          value = [value[0] << 4 | value[1] >> 60, value[1] << 4 | UInt64(digit)]
        }
        guard isWhole, digits.isEmpty else { continue }
        if name == "traceId" {
          ids.trace = TraceID(high: value[0], low: value[1])
        } else {
          ids.span = value[1]
        }
      }
    } catch {
      // The ids read so far are all there is.
    }
    return ids
  }

  private mutating func convertMessage(
    _ message: OTLPMessage, as number: UInt32, in json: RawSpan, to writer: inout WireWriter
  ) throws(MalformedInput) {
    writer.tag(number, .lengthDelimited)
    let start = writer.count
    try convert(message, in: json, to: &writer)
    writer.closeMessage(contentStart: start)
  }

  private func write(
    _ text: JSONToken, as number: UInt32, in json: RawSpan, to writer: inout WireWriter
  ) throws(MalformedInput) {
    guard text.hasEscapes else {
      writer.bytesField(number, json.extracting(text.start..<text.end))
      return
    }
    writer.tag(number, .lengthDelimited)
    let start = writer.count
    try text.write(to: &writer, in: json)
    writer.closeMessage(contentStart: start)
  }

  // MARK: Ids and bytes

  private mutating func convertIdentifier(
    _ number: UInt32, byteCount: Int, writesDefault: Bool, in json: RawSpan, to writer: inout WireWriter
  ) throws(MalformedInput) {
    let text = try string(in: json)
    guard !text.isEmpty else {
      if writesDefault { writer.bytesField(number, EmptyCollection()) }
      return
    }
    guard try text.count(in: json) == 2 * byteCount else {
      throw MalformedInput(.identifierLength, at: text.valueOffset)
    }
    let (high, low) = try text.hexadecimal(in: json)
    writer.tag(number, .lengthDelimited)
    writer.varint(UInt64(byteCount))
    writer.appendBytes { bytes in
      if byteCount == 16 { bytes.appendBigEndian(high) }
      bytes.appendBigEndian(low)
    }
  }

  /// Reads base64 in the standard or the URL alphabet, padded or not. Spare bits are dropped.
  ///
  /// Format: RFC 4648, sections 4 and 5.
  package mutating func base64(in json: RawSpan) throws(MalformedInput) -> [UInt8] {
    let text = try string(in: json)
    var rest = text
    var bytes: [UInt8] = []
    bytes.reserveCapacity((text.end - text.start) / 4 * 3 + 2)
    var bits: UInt32 = 0
    var digitCount = 0
    var paddingCount = 0
    while case let offset = rest.start, let character = try rest.nextASCII(in: json) {
      if character == UInt8(ascii: "="), paddingCount < 2 {
        paddingCount += 1
        continue
      }
      guard let digit = character.base64DigitValue, paddingCount == 0 else {
        throw MalformedInput(.invalidText, at: offset)
      }
      bits = bits << 6 | UInt32(digit)
      digitCount += 1
      // Four digits give three bytes: at the second, third and fourth digit, with 4, 2 and 0 bits to spare.
      let spare = UInt32(3 - (digitCount - 1) % 4) * 2
      if spare < 6 { bytes.append(UInt8(truncatingIfNeeded: bits >> spare)) }
    }
    let isWhole = digitCount % 4 != 1 && (paddingCount == 0 || (digitCount + paddingCount) % 4 == 0)
    guard isWhole else { throw MalformedInput(.invalidText, at: text.end) }
    return bytes
  }

  // MARK: Numbers

  /// Reads a number, or a string that holds one.
  private mutating func decimal(in json: RawSpan) throws(MalformedInput) -> JSONNumber {
    guard try valueKind(in: json) == .string else { return try number(in: json) }
    return try decimal(string(in: json), in: json)
  }

  private func decimal(_ text: JSONToken, in json: RawSpan) throws(MalformedInput) -> JSONNumber {
    do throws(MalformedInput) {
      return try JSONNumber(text, in: json)
    } catch {
      // It is JSON, but not a number.
      throw MalformedInput(.wrongType, at: text.valueOffset)
    }
  }

  /// Reads an integer from `-negativeMax` to `max`, and returns its two's complement bit pattern.
  package mutating func integer(
    max: UInt64, negativeMax: UInt64 = 0, in json: RawSpan
  ) throws(MalformedInput) -> UInt64 {
    try integer(decimal(in: json), max: max, negativeMax: negativeMax)
  }

  private func integer(_ number: JSONNumber, max: UInt64, negativeMax: UInt64) throws(MalformedInput)
    -> UInt64
  {
    guard let magnitude = number.magnitude, magnitude <= (number.isNegative ? negativeMax : max) else {
      throw MalformedInput(.numberOutOfRange, at: number.offset)
    }
    return number.isNegative ? 0 &- magnitude : magnitude
  }

  /// Reads an enum's value: an `int32`, or a name.
  private mutating func number(of enumeration: OTLPEnumeration, in json: RawSpan) throws(MalformedInput)
    -> UInt64
  {
    let number: JSONNumber
    if try valueKind(in: json) == .string {
      var text = try string(in: json)
      if let prefix = enumeration.longPrefix { text = text.dropping(prefix, in: json) }
      if let name = try JSONName(value: text, in: json), let value = enumeration.value(named: name) {
        return value
      }
      number = try decimal(text, in: json)
    } else {
      number = try self.number(in: json)
    }
    return try integer(number, max: UInt64(Int32.max), negativeMax: 1 << 31)
  }

  /// Reads a number, or a string that holds one or names one of the three values that JSON numbers lack.
  package mutating func double(in json: RawSpan) throws(MalformedInput) -> Double {
    let number: JSONNumber
    if try valueKind(in: json) == .string {
      let text = try string(in: json)
      switch try JSONName(value: text, in: json) {
      case "NAN": return .nan
      case "INFINITY": return .infinity
      case "-INFINITY": return -.infinity
      default: number = try decimal(text, in: json)
      }
    } else {
      number = try self.number(in: json)
    }
    guard let value = try number.double(in: json), value.isFinite else {
      throw MalformedInput(.numberOutOfRange, at: number.offset)
    }
    return value
  }
}

extension WireWriter {
  /// Makes sure that the span whose field begins at `start` is usable.
  ///
  /// - Parameter offset: its position in the document.
  fileprivate func checkSpan(from start: Int, writtenFor offset: Int) throws(MalformedInput) {
    do throws(MalformedInput) {
      try bytes.withRawBytes { (bytes) throws(MalformedInput) in
        var cursor = WireCursor(ByteRange(from: start, to: bytes.byteCount))
        var span = SpanView()
        span.content = try cursor.content(of: try cursor.tag(in: bytes), in: bytes)
        try span.read(bytes)
      }
    } catch {
      throw MalformedInput(error.reason, at: offset)
    }
  }
}

extension [UInt8] {
  fileprivate mutating func appendBigEndian(_ value: UInt64) {
    for shift in stride(from: UInt64(56), through: 0, by: -8) {
      append(UInt8(truncatingIfNeeded: value >> shift))
    }
  }
}

extension UInt8 {
  fileprivate var base64DigitValue: UInt8? {
    switch self {
    case UInt8(ascii: "A")...UInt8(ascii: "Z"): self - UInt8(ascii: "A")
    case UInt8(ascii: "a")...UInt8(ascii: "z"): self - UInt8(ascii: "a") + 26
    case UInt8(ascii: "0")...UInt8(ascii: "9"): self - UInt8(ascii: "0") + 52
    case UInt8(ascii: "+"), UInt8(ascii: "-"): 62
    case UInt8(ascii: "/"), UInt8(ascii: "_"): 63
    default: nil
    }
  }
}

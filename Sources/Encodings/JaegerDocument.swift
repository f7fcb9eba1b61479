// Jaeger's JSON, in its several forms, to Jaeger's protobuf: one mapping to OTLP serves all.

import OTLP

/// Reads spans of Jaeger's JSON.
///
/// There are two forms of a span, told apart by their keys. Jaeger's collector writes protobuf's JSON
/// (`traceId` in base64, times as text, tags with `vType`). Its query API, its pages and its store write
/// another (`traceID` in hexadecimal, times in microseconds, tags with `type`). Unknown keys are skipped;
/// `null` is an absent field.
///
/// Format: `model.proto` of <https://github.com/jaegertracing/jaeger-idl>, and `uimodel` and the store's
/// `dbmodel` of <https://github.com/jaegertracing/jaeger>.
struct JaegerDocument {
  /// The processes that `processID` names, as messages of protobuf.
  private var processes: [[UInt8]: [UInt8]] = [:]
  /// How many bytes of processes may still be copied into spans.
  private var processBytesLeft: Int
  /// Whether bytes in tags are in base64; otherwise in hexadecimal, if they can be.
  private var isOfQuery = false

  /// - Parameter processBytesMax: processes are copied into their spans, which may have this many bytes of
  ///   them.
  init(processBytesMax: Int) { processBytesLeft = processBytesMax }

  // MARK: Traces

  /// Reads all spans of the next value: a span, a trace (`spans`, `processes`), or an answer of the query API
  /// with several (`data`). `body` is called before each span and has to read it.
  mutating func forEachSpan(
    _ cursor: inout JSONCursor, in json: RawSpan, isInAnswer: Bool = false,
    _ body: (inout JaegerDocument, inout JSONCursor) throws(MalformedInput) -> Void
  ) throws(MalformedInput) {
    var ahead = cursor
    var (hasSpans, hasData) = (false, false)
    var members: JSONCursor?
    try ahead.openObject(in: json)
    while let key = try ahead.nextKey(in: json) {
      if try key.spells("spans", in: json) { hasSpans = true }
      if !isInAnswer, try key.spells("data", in: json) { hasData = true }
      if try key.spells("processes", in: json) { members = ahead }
      try ahead.skipValue(in: json)
    }
    guard hasSpans || hasData else { return try body(&self, &cursor) }
    isOfQuery = true
    processes.removeAll()
    if var members { try readProcesses(&members, in: json) }
    try cursor.openObject(in: json)
    while let key = try cursor.nextKey(in: json) {
      if try key.spells("spans", in: json) {
        try cursor.forEachElement(in: json) { (cursor) throws(MalformedInput) in try body(&self, &cursor) }
      } else if hasData, try key.spells("data", in: json) {
        try cursor.forEachElement(in: json) { (cursor) throws(MalformedInput) in
          try forEachSpan(&cursor, in: json, isInAnswer: true, body)
        }
      } else {
        try cursor.skipValue(in: json)
      }
    }
  }

  private mutating func readProcesses(
    _ cursor: inout JSONCursor, in json: RawSpan
  ) throws(MalformedInput) {
    try cursor.forEachMember(in: json) { (cursor, id) throws(MalformedInput) in
      var process = WireWriter()
      try readProcess(JaegerSpanField.process, &cursor, in: json, to: &process)
      processes[try id.utf8(in: json)] = process.bytes
    }
  }

  // MARK: Spans

  /// Reads the next span and writes its fields.
  mutating func read(
    _ cursor: inout JSONCursor, in json: RawSpan, to writer: inout WireWriter
  ) throws(MalformedInput) {
    // A parent in a field of its own is how spans had it before there were references: it comes after these.
    var parent: JSONCursor?
    try cursor.openObject(in: json)
    while let key = try cursor.nextKey(in: json) {
      if try cursor.skipNull(in: json) { continue }
      if try key.isOne(of: "traceID", "spanID", "traceId", "spanId", "trace_id", "span_id", in: json) {
        try readIdentifier(
          key, JaegerSpanField.traceID, JaegerSpanField.spanID, &cursor, in: json, to: &writer)
      } else if try key.spells("parentSpanID", in: json) {
        parent = cursor
        try cursor.skipValue(in: json)
      } else {
        try readField(key, &cursor, in: json, to: &writer)
      }
    }
    if var parent { try readParent(&parent, in: json, to: &writer) }
  }

  private mutating func readField(
    _ key: JSONToken, _ cursor: inout JSONCursor, in json: RawSpan, to writer: inout WireWriter
  ) throws(MalformedInput) {
    if try key.isOne(of: "operationName", "operation_name", in: json) {
      try cursor.writeText(JaegerSpanField.operationName, in: json, to: &writer)
    } else if try key.spells("references", in: json) {
      try cursor.forEachElement(in: json) { (cursor) throws(MalformedInput) in
        try readReference(&cursor, in: json, to: &writer)
      }
    } else if try key.spells("flags", in: json) {
      writer.varintField(JaegerSpanField.flags, try cursor.unsigned(in: json))
    } else if try key.isOne(of: "startTime", "start_time", in: json) {
      try writeTime(JaegerSpanField.startTime, &cursor, in: json, to: &writer, TimeText.time)
    } else if try key.spells("duration", in: json) {
      try writeTime(JaegerSpanField.duration, &cursor, in: json, to: &writer, TimeText.duration)
    } else if try key.spells("tags", in: json) {
      try readTags(JaegerSpanField.tags, &cursor, in: json, to: &writer)
    } else if try key.spells("logs", in: json) {
      try cursor.forEachElement(in: json) { (cursor) throws(MalformedInput) in
        try readLog(&cursor, in: json, to: &writer)
      }
    } else if try key.spells("process", in: json) {
      try readProcess(JaegerSpanField.process, &cursor, in: json, to: &writer)
    } else if try key.spells("processID", in: json), !processes.isEmpty {
      let name = try cursor.string(in: json)
      guard let process = processes[try name.utf8(in: json)] else { return }
      processBytesLeft -= process.count
      guard processBytesLeft >= 0 else { throw MalformedInput(.splitTooLarge, at: name.valueOffset) }
      writer.appendBytes { $0 += process }
    } else {
      try cursor.skipValue(in: json)
    }
  }

  /// Reads a trace or span id: `traceID` is hexadecimal, `traceId` is base64.
  private func readIdentifier(
    _ key: JSONToken, _ traceField: UInt32, _ spanField: UInt32, _ cursor: inout JSONCursor, in json: RawSpan,
    to writer: inout WireWriter
  ) throws(MalformedInput) {
    let isOfTrace = try key.isOne(of: "traceID", "traceId", "trace_id", in: json)
    let field = isOfTrace ? traceField : spanField
    if try key.isOne(of: "traceID", "spanID", in: json) {
      try cursor.writeHexadecimal(field, byteCount: isOfTrace ? 16 : 8, in: json, to: &writer)
      return
    }
    _ = try cursor.valueKind(in: json)
    let start = cursor.offset
    let bytes = try cursor.base64(in: json)
    guard bytes.isEmpty || bytes.count == 8 || isOfTrace && bytes.count == 16 else {
      throw MalformedInput(.identifierLength, at: start)
    }
    writer.bytesField(field, bytes)
  }

  private func readReference(
    _ cursor: inout JSONCursor, in json: RawSpan, to writer: inout WireWriter
  ) throws(MalformedInput) {
    try cursor.writeMessage(JaegerSpanField.references, in: json, to: &writer) {
      (cursor, key, writer) throws(MalformedInput) in
      if try key.isOne(of: "traceID", "spanID", "traceId", "spanId", "trace_id", "span_id", in: json) {
        try readIdentifier(
          key, JaegerReferenceField.traceID, JaegerReferenceField.spanID, &cursor, in: json, to: &writer)
      } else if try key.isOne(of: "refType", "ref_type", in: json) {
        let followsFrom =
          if try cursor.valueKind(in: json) == .string {
            try cursor.string(in: json).spells("FOLLOWS_FROM", in: json)
          } else { try cursor.unsigned(in: json) == JaegerReferenceField.followsFrom }
        if followsFrom { writer.varintField(JaegerReferenceField.kind, JaegerReferenceField.followsFrom) }
      } else {
        try cursor.skipValue(in: json)
      }
    }
  }

  /// A parent as one more reference: without a trace id it is one to the span's own trace.
  private func readParent(
    _ cursor: inout JSONCursor, in json: RawSpan, to writer: inout WireWriter
  ) throws(MalformedInput) {
    writer.tag(JaegerSpanField.references, .lengthDelimited)
    let start = writer.count
    try cursor.writeHexadecimal(JaegerReferenceField.spanID, byteCount: 8, in: json, to: &writer)
    writer.closeMessage(contentStart: start)
  }

  private func readProcess(
    _ field: UInt32, _ cursor: inout JSONCursor, in json: RawSpan, to writer: inout WireWriter
  ) throws(MalformedInput) {
    try cursor.writeMessage(field, in: json, to: &writer) { (cursor, key, writer) throws(MalformedInput) in
      if try key.isOne(of: "serviceName", "service_name", in: json) {
        try cursor.writeText(JaegerProcessField.serviceName, in: json, to: &writer)
      } else if try key.spells("tags", in: json) {
        try readTags(JaegerProcessField.tags, &cursor, in: json, to: &writer)
      } else {
        try cursor.skipValue(in: json)
      }
    }
  }

  private func readLog(
    _ cursor: inout JSONCursor, in json: RawSpan, to writer: inout WireWriter
  ) throws(MalformedInput) {
    try cursor.writeMessage(JaegerSpanField.logs, in: json, to: &writer) {
      (cursor, key, writer) throws(MalformedInput) in
      if try key.spells("timestamp", in: json) {
        try writeTime(JaegerLogField.timestamp, &cursor, in: json, to: &writer, TimeText.time)
      } else if try key.spells("fields", in: json) {
        try readTags(JaegerLogField.fields, &cursor, in: json, to: &writer)
      } else {
        try cursor.skipValue(in: json)
      }
    }
  }

  /// Reads a time, as text or as a number of microseconds, and writes it as protobuf does.
  private func writeTime(
    _ field: UInt32, _ cursor: inout JSONCursor, in json: RawSpan, to writer: inout WireWriter,
    _ parse: ([UInt8]) -> Int64?
  ) throws(MalformedInput) {
    let time: Int64
    var ahead = cursor
    if try cursor.valueKind(in: json) == .string, case let text = try ahead.string(in: json),
      let found = parse(try text.utf8(in: json))
    {
      (time, cursor) = (found, ahead)
    } else {
      time = SpanTime.product(try cursor.signed(in: json), 1000)
    }
    writer.message(field) { writer in
      writer.varintField(TimeField.seconds, UInt64(bitPattern: time / 1_000_000_000))
      writer.varintField(TimeField.nanoseconds, UInt64(bitPattern: time % 1_000_000_000))
    }
  }

  // MARK: Tags

  private func readTags(
    _ field: UInt32, _ cursor: inout JSONCursor, in json: RawSpan, to writer: inout WireWriter
  ) throws(MalformedInput) {
    try cursor.forEachElement(in: json) { (cursor) throws(MalformedInput) in
      var kind = JaegerTagKind.text
      // The kind may come after it.
      var value: JSONCursor?
      writer.tag(field, .lengthDelimited)
      let start = writer.count
      try cursor.forEachMember(in: json) { (cursor, key) throws(MalformedInput) in
        if try key.spells("key", in: json) {
          try cursor.writeText(JaegerTagField.key, in: json, to: &writer)
        } else if try key.isOne(of: "vType", "v_type", "type", in: json) {
          kind = try JaegerDocument.kind(&cursor, in: json)
        } else if try key.spells("value", in: json) {
          value = cursor
          try cursor.skipValue(in: json)
        } else {
          try readTypedValue(key, &cursor, in: json, to: &writer)
        }
      }
      writer.varintField(JaegerTagField.kind, kind.rawValue)
      if var value { try readValue(kind, &value, in: json, to: &writer) }
      writer.closeMessage(contentStart: start)
    }
  }

  /// Reads a value of protobuf's JSON, whose key names its kind.
  private func readTypedValue(
    _ key: JSONToken, _ cursor: inout JSONCursor, in json: RawSpan, to writer: inout WireWriter
  ) throws(MalformedInput) {
    if try key.isOne(of: "vStr", "v_str", in: json) {
      try cursor.writeText(JaegerTagField.text, in: json, to: &writer)
    } else if try key.isOne(of: "vBool", "v_bool", in: json) {
      try readValue(.boolean, &cursor, in: json, to: &writer)
    } else if try key.isOne(of: "vInt64", "v_int64", in: json) {
      try readValue(.integer, &cursor, in: json, to: &writer)
    } else if try key.isOne(of: "vFloat64", "v_float64", in: json) {
      try readValue(.double, &cursor, in: json, to: &writer)
    } else if try key.isOne(of: "vBinary", "v_binary", in: json) {
      writer.bytesField(JaegerTagField.binary, try cursor.base64(in: json))
    } else {
      try cursor.skipValue(in: json)
    }
  }

  /// Reads a value of a known kind: the store may have it as text.
  private func readValue(
    _ kind: JaegerTagKind, _ cursor: inout JSONCursor, in json: RawSpan, to writer: inout WireWriter
  ) throws(MalformedInput) {
    switch kind {
    case .text: try cursor.writeScalar(JaegerTagField.text, in: json, to: &writer)
    case .boolean:
      let isTrue =
        if try cursor.valueKind(in: json) == .string {
          try cursor.string(in: json).spells("true", in: json)
        } else { try cursor.boolean(in: json) }
      writer.varintField(JaegerTagField.boolean, isTrue ? 1 : 0)
    case .integer:
      writer.varintField(JaegerTagField.integer, UInt64(bitPattern: try cursor.signed(in: json)))
    case .double: writer.fixed64Field(JaegerTagField.double, try cursor.double(in: json).bitPattern)
    case .binary: writer.bytesField(JaegerTagField.binary, try readBinary(&cursor, in: json))
    }
  }

  /// The query API writes bytes in base64, the store in hexadecimal.
  private func readBinary(
    _ cursor: inout JSONCursor, in json: RawSpan
  ) throws(MalformedInput) -> [UInt8] {
    if !isOfQuery {
      var ahead = cursor
      let digits = try ahead.string(in: json).utf8(in: json).map { Hexadecimal.value(of: $0) }
      if digits.count % 2 == 0, !digits.contains(nil) {
        cursor = ahead
        return stride(from: 0, to: digits.count, by: 2).map { (digits[$0] ?? 0) << 4 | (digits[$0 + 1] ?? 0) }
      }
    }
    return try cursor.base64(in: json)
  }

  private static func kind(
    _ cursor: inout JSONCursor, in json: RawSpan
  ) throws(MalformedInput) -> JaegerTagKind {
    guard try cursor.valueKind(in: json) == .string else {
      return JaegerTagKind(rawValue: try cursor.unsigned(in: json)) ?? .text
    }
    let text = try cursor.string(in: json)
    if try text.isOne(of: "BOOL", "bool", in: json) { return .boolean }
    if try text.isOne(of: "INT64", "int64", in: json) { return .integer }
    if try text.isOne(of: "FLOAT64", "float64", in: json) { return .double }
    return try text.isOne(of: "BINARY", "binary", in: json) ? .binary : .text
  }
}

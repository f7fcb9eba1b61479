// What recordings there are beside our own: those that the Collector's file exporter writes.

internal import OTLP

/// A kind of recording.
///
/// The Collector's file exporter writes lines of JSON, or with `format: proto` or `compression: zstd` each
/// message behind its length. What it compresses is each message by itself, or as of late the whole file.
/// Format: <https://github.com/open-telemetry/opentelemetry-collector-contrib>, exporter/fileexporter.
public enum RecordingForm: String, Sendable, CustomStringConvertible {
  /// Our own: a 32-bit little-endian length and that many bytes of OTLP in protobuf, again and again.
  case tailrace
  /// A 32-bit big-endian length and that many bytes of OTLP in protobuf or JSON, perhaps zstd; again and
  /// again.
  case collectorRecords = "collector_records"
  /// OTLP in JSON, a document a line.
  case collectorLines = "collector_lines"

  /// Where a record's content may begin: at the tag of `resource_spans`; of others than ours, at zstd's magic
  /// number or an object, too.
  func firstBegin(in bytes: ArraySlice<UInt8>) -> Int? {
    self == .tailrace
      ? bytes.firstIndex(of: 0x0a)
      : bytes.firstIndex { $0 == 0x0a || $0 == 0x28 || $0 == 0x7b }
  }

  /// What it is, for people.
  public var description: String {
    switch self {
    case .tailrace: "records behind little-endian lengths"
    case .collectorRecords: "records behind big-endian lengths, as the Collector's file exporter writes them"
    case .collectorLines: "lines of OTLP/JSON, as the Collector's file exporter writes them"
    }
  }
}

/// Takes the content of a record as the Collector's file exporter writes it.
struct RecordContent {
  /// Reused from record to record; nil until there is a compressed one.
  private var decompressor: ZstandardReader?
  /// The spans that can't be used of the last content that was JSON: they are left out.
  private(set) var rejected = RejectedJSONSpans()

  /// The content in protobuf; nil if that is what it is already.
  ///
  /// - Throws: `ZstandardError` or `MalformedInput`.
  mutating func protobuf(of bytes: ArraySlice<UInt8>) throws -> [UInt8]? {
    rejected.removeAll()
    if ZstandardReader.isFrame(bytes) {
      let inner = try decompress(Array(bytes))
      return inner.first == 0x7b ? try protobuf(ofJSON: inner[...]) : inner
    }
    return bytes.first == 0x7b ? try protobuf(ofJSON: bytes) : nil
  }

  private mutating func protobuf(ofJSON json: ArraySlice<UInt8>) throws(MalformedInput) -> [UInt8] {
    // Not every brace begins an object, and copying what a damaged length names takes long.
    let next = json.dropFirst().first { !$0.isWhiteSpace }
    guard next == 0x22 || next == 0x7d else { throw MalformedInput(.wrongType, at: 1) }
    var writer = WireWriter()
    var rejected = RejectedJSONSpans()
    try Array(json).withRawBytes { (raw) throws(MalformedInput) in
      try OTLPJSON.convert(raw, into: &writer, rejected: &rejected)
    }
    self.rejected = rejected
    guard writer.count > 0 else { throw rejected.groups.first?.error ?? MalformedInput(.noSpans, at: 0) }
    return writer.bytes
  }

  /// A few bytes may hold gigabytes: no more than a record may have are looked at.
  private mutating func decompress(_ bytes: [UInt8]) throws(ZstandardError) -> [UInt8] {
    let reader: ZstandardReader
    if let decompressor { reader = decompressor } else { reader = try ZstandardReader() }
    // One that has failed has to be made anew.
    decompressor = nil
    var output: [UInt8] = []
    var place = 0
    try reader.decompress(bytes, from: &place, to: &output, bytesMax: RecordingReader.recordBytesMax)
    guard output.count <= RecordingReader.recordBytesMax, !reader.hasMore else {
      throw ZstandardError("more than \(RecordingReader.recordBytesMax) bytes in one record")
    }
    guard place == bytes.count, reader.isAtFrameEnd else { throw ZstandardError("the frame is cut off") }
    decompressor = reader
    return output
  }
}

// Kinds of recordings: our own, and those of the Collector's file exporter.

internal import Compression
internal import OTLP

/// A kind of recording.
///
/// The Collector's file exporter writes lines of JSON or, with `format: proto` or `compression: zstd`, each
/// message after its length. It compresses each message or, in recent versions, the whole file.
/// Format: <https://github.com/open-telemetry/opentelemetry-collector-contrib>, exporter/fileexporter.
public enum RecordingForm: String, Sendable, CustomStringConvertible {
  /// Our own: per record a 32-bit little-endian length and that many bytes of OTLP in protobuf.
  case tailrace
  /// Per record a 32-bit big-endian length and that many bytes of OTLP in protobuf or JSON, optionally zstd.
  case collectorRecords = "collector_records"
  /// OTLP in JSON, one document per line.
  case collectorLines = "collector_lines"

  /// Where a record's content may begin: at the tag of `resource_spans` or, except in our own form, at zstd's
  /// magic number or a JSON object.
  func firstBegin(in bytes: ArraySlice<UInt8>) -> Int? {
    self == .tailrace
      ? bytes.firstIndex(of: 0x0a)
      : bytes.firstIndex { $0 == 0x0a || $0 == 0x28 || $0 == 0x7b }
  }

  /// For people.
  public var description: String {
    switch self {
    case .tailrace: "records with little-endian lengths"
    case .collectorRecords: "records with big-endian lengths, as written by the Collector's file exporter"
    case .collectorLines: "lines of OTLP/JSON, as written by the Collector's file exporter"
    }
  }
}

/// Decodes the content of a record written by the Collector's file exporter.
struct RecordContent {
  /// Reused between records; nil until the first compressed one.
  private var decompressor: ZstandardReader?
  /// Unusable spans of the last JSON content, left out.
  private(set) var rejected = RejectedJSONSpans()

  /// The content in protobuf; nil if it already is.
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
    // Not every brace begins an object, and copying as much as a damaged length names takes long.
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

  /// A few bytes may hold gigabytes: at most a record's maximum size is decompressed.
  private mutating func decompress(_ bytes: [UInt8]) throws(ZstandardError) -> [UInt8] {
    let reader: ZstandardReader
    if let decompressor { reader = decompressor } else { reader = try ZstandardReader() }
    // After a failure a new one is needed.
    decompressor = nil
    var output: [UInt8] = []
    var place = 0
    try reader.decompress(bytes, from: &place, to: &output, bytesMax: RecordingReader.recordBytesMax)
    guard output.count <= RecordingReader.recordBytesMax, !reader.hasMore else {
      throw ZstandardError("more than \(RecordingReader.recordBytesMax) bytes in one record")
    }
    guard place == bytes.count, reader.isAtFrameEnd else { throw ZstandardError("the frame is truncated") }
    decompressor = reader
    return output
  }
}

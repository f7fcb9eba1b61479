// Writes records of a topic to a recording.

internal import OTLP
public import Topology

/// Takes records as they are read and appends them to a recording.
///
/// A recording holds OTLP protobuf: other encodings are converted, as a worker converts them. A value that
/// can't be read is recorded as it is, so that a replay finds it damaged, as a worker did.
public struct Recorder: ~Copyable {
  /// What was recorded.
  public struct Report: Sendable {
    /// Records, damaged ones included.
    public var records = 0
    /// Bytes of the recording, before compression.
    public var bytes = 0
    /// Records without a value, which a recording can't hold.
    public var tombstones = 0
    /// Unusable spans of records that were converted: left out.
    public var spansRejected = 0
    /// Records that were blanked, since damaged records can't be made anonymous.
    public var blanked = 0
    /// Records larger than a recording can hold: left out.
    public var tooLarge = 0
  }

  private let writer: RecordingWriter
  private let encoding: SpanEncoding?
  private let anonymiser: Anonymiser?
  private let bytesMax: Int
  /// One for each encoding that was met.
  private var decoders: [InputDecoder] = []
  private let compression: ValueCompression
  /// What was recorded so far.
  public private(set) var report = Report()

  /// - Parameters:
  ///   - encoding: how records are encoded; nil if each has to tell, as OTLP in protobuf or JSON.
  ///   - compression: how their values may be compressed.
  ///   - anonymiser: makes records anonymous; nil to record them as they are.
  ///   - bytesMax: the recording's largest size, before compression.
  public init(
    _ writer: RecordingWriter, encoding: SpanEncoding?, compression: ValueCompression = .auto,
    anonymiser: Anonymiser?, bytesMax: Int = .max
  ) {
    self.compression = compression
    self.writer = writer
    self.encoding = encoding
    self.anonymiser = anonymiser
    self.bytesMax = bytesMax
  }

  /// Records a value. False if the recording has no room for it: then it is full.
  public mutating func take(_ value: [UInt8]?) throws -> Bool {
    guard let value else {
      report.tombstones += 1
      return true
    }
    var record = value
    var rejected = 0
    if let (bytes, count) = decoded(value) { (record, rejected) = (bytes, count) }
    guard record.count <= RecordingReader.recordBytesMax else {
      report.tooLarge += 1
      return true
    }
    let size = record.count + 4
    guard size <= bytesMax - report.bytes else { return false }
    if let anonymiser {
      do throws(MalformedInput) {
        try anonymiser.anonymise(&record)
      } catch {
        record = [UInt8](repeating: 0, count: record.count)
        report.blanked += 1
      }
    }
    try writer.append(record)
    report.records += 1
    report.bytes += size
    report.spansRejected += rejected
    return true
  }

  /// The value in protobuf, and how many spans were left out; nil if it can't be read.
  private mutating func decoded(_ value: [UInt8]) -> (bytes: [UInt8], rejected: Int)? {
    if let encoding { return decoded(value, as: encoding) }
    func isJSON(_ bytes: [UInt8]) -> Bool { bytes.first { !$0.isWhiteSpace } == 0x7b }
    guard !isJSON(value) else { return decoded(value, as: .otlpJSON) }
    guard let found = decoded(value, as: .otlpProto) else { return nil }
    // What was compressed, or behind a prefix, tells only now.
    return isJSON(found.bytes) ? decoded(value, as: .otlpJSON) ?? found : found
  }

  private mutating func decoded(
    _ value: [UInt8], as found: SpanEncoding
  ) -> (bytes: [UInt8], rejected: Int)? {
    let index = decoders.firstIndex { $0.encoding == found } ?? decoders.endIndex
    if index == decoders.endIndex {
      decoders.append(InputDecoder(encoding: found, compression: compression))
    }
    var bytes: [UInt8]?
    let malformed = value.withRawBytes { value in
      decoders[index].decode(value, bytesMax: RecordingReader.recordBytesMax) { converted in
        bytes = converted.copied()
        return nil
      }
    }
    guard malformed == nil, let bytes else { return nil }
    return (bytes, decoders[index].rejected.reduce(0) { $0 + $1.count })
  }
}

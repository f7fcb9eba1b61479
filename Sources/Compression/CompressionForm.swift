// The forms in which producers compress values, and their decompression.

/// A form of compression.
public enum CompressionForm: Sendable, CaseIterable {
  /// gzip members.
  case gzip
  /// Frames of zstd.
  case zstandard
  /// A framed stream of snappy.
  case snappyStream
  /// What snappy's Java port writes.
  case snappyJava
  /// A block of snappy, which nothing tells from other bytes.
  case snappyBlock

  /// Whether a value that begins with `byte` may have a form that `init(head:)` knows.
  public static func mayBegin(with byte: UInt8) -> Bool {
    byte == 0x1f || byte == 0x28 || byte == 0x82 || byte == 0xff
  }

  /// How many bytes `init(head:)` looks at.
  public static let headBytes = 10

  /// The form that values with this beginning have; nil if it is none.
  ///
  /// None of these is the beginning of OTLP, of spans in the other encodings, or of JSON: gzip's and the
  /// framed stream's first bytes have wire types that protobuf lacks, and the others would be fields that no
  /// such message has.
  public init?(head: [UInt8]) {
    if head.starts(with: [0x1f, 0x8b, 8]) {
      self = .gzip
    } else if head.starts(with: [0x28, 0xb5, 0x2f, 0xfd]) {
      self = .zstandard
    } else if head.starts(with: Snappy.streamHead) {
      self = .snappyStream
    } else if head.starts(with: Snappy.javaHead) {
      self = .snappyJava
    } else {
      return nil
    }
  }
}

/// Decompresses values. Reused: it keeps what zstd needs.
public struct Decompressor {
  private var zstandard: ZstandardReader?

  /// Makes one that has not yet reserved anything.
  public init() {}

  /// The content of `input`, all of it, which may have at most `bytesMax` bytes.
  public mutating func decompress(
    _ input: [UInt8], _ form: CompressionForm, bytesMax: Int
  ) throws(CompressionError) -> [UInt8] {
    switch form {
    case .gzip: return try Gzip.decompress(input, bytesMax: bytesMax)
    case .zstandard: return try decompressFrames(input, bytesMax: bytesMax)
    case .snappyStream: return try Snappy.decompressStream(input, bytesMax: bytesMax)
    case .snappyJava: return try Snappy.decompressJava(input, bytesMax: bytesMax)
    case .snappyBlock:
      var output: [UInt8] = []
      try Snappy.decompressBlock(input, input.indices, bytesMax: bytesMax, to: &output)
      return output
    }
  }

  private mutating func decompressFrames(
    _ input: [UInt8], bytesMax: Int
  ) throws(CompressionError) -> [UInt8] {
    // After a failure a new one is needed.
    let kept = zstandard
    zstandard = nil
    var output: [UInt8] = []
    var place = 0
    let reader: ZstandardReader
    do throws(ZstandardError) {
      reader = if let kept { kept } else { try ZstandardReader(windowBytesMax: bytesMax) }
      // One byte more tells whether there are more.
      try reader.decompress(input, from: &place, to: &output, bytesMax: bytesMax + 1)
    } catch {
      throw .damaged(at: place)
    }
    guard output.count <= bytesMax else { throw .tooLarge }
    guard place == input.count, reader.isAtFrameEnd else { throw .damaged(at: place) }
    zstandard = reader
    return output
  }
}

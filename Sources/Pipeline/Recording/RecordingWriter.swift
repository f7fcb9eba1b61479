// Writes recordings; see RecordingReader.swift for the format.

internal import Compression
import Files

/// Writes a recording to a file, zstd-compressed if its name ends in `.zst`.
public final class RecordingWriter {
  private let file: OutputFile
  private var compressor: ZstandardWriter?
  private var pending: [UInt8] = []
  private var isComplete = false

  private static let chunkBytes = 1 << 20

  /// Begins a recording at `path`, or on standard output if it is `-`.
  ///
  /// - Throws: `FileFailure` if the file can't be made.
  public init(path: String) throws {
    file = try OutputFile(path: path)
    if path.hasSuffix(".zst") { compressor = try ZstandardWriter(level: 3) }
  }

  /// Appends one record of OTLP bytes.
  public func append(_ record: some Collection<UInt8>) throws {
    let length = UInt32(record.count)
    for shift in stride(from: UInt32(0), to: 32, by: 8) {
      pending.append(UInt8(truncatingIfNeeded: length >> shift))
    }
    pending.append(contentsOf: record)
    if pending.count >= RecordingWriter.chunkBytes { try writePending(isLast: false) }
  }

  /// Writes the rest, but does not move the file into place: of several files, all or none are then moved.
  public func complete() throws {
    if !isComplete { try writePending(isLast: true) }
    isComplete = true
  }

  /// Writes the rest and moves the file into place.
  public func finish() throws {
    try complete()
    try file.finish()
  }

  private func writePending(isLast: Bool) throws {
    let chunk = try compressor?.compress(pending, isLast: isLast) ?? pending
    try file.write(chunk)
    pending.removeAll(keepingCapacity: true)
  }
}

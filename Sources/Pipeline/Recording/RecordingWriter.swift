// Writes recordings; see RecordingReader.swift for the format.

internal import Foundation

/// Writes a recording to a file, zstd-compressed if its name ends in `.zst`.
public final class RecordingWriter {
  private let file: FileHandle
  private var compressor: ZstandardWriter?
  private var pending: [UInt8] = []

  private static let chunkBytes = 1 << 20

  /// Creates the file at `path`, or empties it.
  ///
  /// - Throws: if the file can't be made.
  public init(path: String) throws {
    try Data().write(to: URL(filePath: path))
    file = try FileHandle(forWritingTo: URL(filePath: path))
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

  /// Writes what is left and closes the file.
  public func finish() throws {
    try writePending(isLast: true)
    try file.close()
  }

  private func writePending(isLast: Bool) throws {
    let chunk = try compressor?.compress(pending, isLast: isLast) ?? pending
    try file.write(contentsOf: Data(chunk))
    pending.removeAll(keepingCapacity: true)
  }
}

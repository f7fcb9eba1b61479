// Recordings for tests: files in their own directory, read back item by item.

import Foundation
import OTLP
import Simulation

@testable import Pipeline

/// A directory that is deleted after the test.
final class TemporaryDirectory {
  private let url = FileManager.default.temporaryDirectory.appending(path: "tailrace-\(UUID().uuidString)")

  init() throws {
    try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
  }

  deinit {
    try? FileManager.default.removeItem(at: url)
  }

  func path(_ name: String) -> String { url.appending(path: name).path }

  /// Writes a file; returns its path.
  func write(_ bytes: [UInt8], to name: String) throws -> String {
    try Data(bytes).write(to: URL(filePath: path(name)))
    return path(name)
  }

  func read(_ name: String) throws -> [UInt8] { [UInt8](try Data(contentsOf: URL(filePath: path(name)))) }
}

/// A recording's contents.
struct RecordingContents {
  var records: [[UInt8]] = []
  var damages: [(offset: Int, count: Int, reason: String)] = []

  /// Reads the recording at `path`.
  init(path: String) throws {
    let reader = try RecordingReader(path: path)
    while let item = try reader.next() {
      switch item {
      case .record(let record): records.append(record.bytes)
      case .damaged(let offset, let count, let reason): damages.append((offset, count, reason))
      }
    }
    // The end remains the end.
    if try reader.next() != nil { damages.append((-1, 0, "more after the end")) }
  }
}

/// Writes records to a recording; returns its path.
func writeRecording(_ records: [[UInt8]], in directory: TemporaryDirectory, name: String) throws -> String {
  let writer = try RecordingWriter(path: directory.path(name))
  for record in records { try writer.append(record) }
  try writer.finish()
  return directory.path(name)
}

/// A record after its length, as in a recording.
func framed(_ record: [UInt8]) -> [UInt8] {
  (0..<4).map { UInt8(truncatingIfNeeded: record.count >> (8 * $0)) } + record
}

/// The records of a generated workload.
func generatedRecords(
  traces: Int, _ change: (inout WorkloadOptions) -> Void = { _ in }
) -> (records: [[UInt8]], truths: [TraceTruth]) {
  var options = WorkloadOptions()
  options.traceCount = traces
  change(&options)
  var workload = Workload(options)
  var records: [[UInt8]] = []
  while let record = workload.next() { records.append(record.bytes) }
  return (records, workload.takeFinishedTruths())
}

// A topology: what a Tailrace worker does, as defined by its YAML file. docs/topology.md explains every key.

import Files
import Foundation

/// What a worker runs: one kind of stream topology with all its settings, defaults filled in.
public enum Topology: Equatable, Sendable {
  /// Assembles traces from a span topic, decides each one, and forwards the kept spans.
  case tailSampling(TailSamplingTopology)
  /// Splits the records of an unkeyed span topic by trace id and writes them keyed.
  case repartition(RepartitionTopology)
  /// Sends the kept spans to a store.
  case export(ExportTopology)

  /// The settings common to all kinds of topology.
  public var worker: WorkerSettings {
    switch self {
    case .tailSampling(let topology): topology.worker
    case .repartition(let topology): topology.worker
    case .export(let topology): topology.worker
    }
  }

  /// Reads and checks a topology file.
  ///
  /// - Parameters:
  ///   - path: the file, `-` for standard input; it also names the file in errors. UTF-8, at most 256 KiB.
  ///   - environment: the variables that `${NAME}` in values may refer to.
  ///   - files: how `${file:/path}` in values is handled.
  /// - Throws: every problem found in the file, in file order.
  public static func load(
    file path: String, environment: [String: String], files: FileReferences = .read
  ) throws(TopologyError) -> Topology {
    try parse(try text(ofFile: path), fileName: path, environment: environment, files: files)
  }

  /// The text of a file no longer than a topology file may be.
  package static func text(ofFile path: String) throws(TopologyError) -> String {
    let bytes: [UInt8]
    do throws(FileFailure) {
      // One byte more than allowed shows that a file is too long, without reading all of it.
      bytes = try InputFile(path: path).readAll(upTo: TopologyDocument.sizeMax + 1)
    } catch {
      throw TopologyError(file: path, wholeFile: "the file can't be read: \(error.reason)")
    }
    guard let text = String(validating: bytes, as: UTF8.self) else {
      let lines = bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
      let line = lines.firstIndex { String(validating: $0, as: UTF8.self) == nil } ?? 0
      let place = FilePlace(line: line + 1, column: 1)
      throw TopologyError(file: path, at: place, "this line is not valid UTF-8")
    }
    return text
  }

  /// Reads and checks the text of a topology file.
  ///
  /// - Parameters:
  ///   - yaml: the text.
  ///   - fileName: names the text in errors.
  ///   - environment: the variables that `${NAME}` in values may refer to.
  ///   - files: how `${file:/path}` in values is handled.
  /// - Throws: every problem found in the text, in order of line and column.
  public static func parse(
    _ yaml: String, fileName: String, environment: [String: String], files: FileReferences = .read
  ) throws(TopologyError) -> Topology {
    let document = TopologyDocument(yaml)
    if document.problems.isEmpty, let root = document.root, CollectorLayout(root).isCollectors {
      let message =
        "this is a Collector's configuration, not a topology; import it with: tailrace check "
        + "--import-collector \(MessageText.oneLine(fileName))"
      throw TopologyError(file: fileName, at: FilePlace(line: 1, column: 1), message)
    }
    var reader = TopologyReader(document: document, environment: environment, files: files)
    let topology = document.root.flatMap { reader.topology($0) }
    let issues = reader.finish()
    guard issues.isEmpty, let topology else {
      throw TopologyError(file: fileName, issues: issues)
    }
    return topology
  }
}

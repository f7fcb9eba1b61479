// Output of commands: results on standard output, messages on standard error, files.

import Files
import Foundation
import Pipeline

/// A command's result.
enum StandardOutput {
  /// Writes `text` and a line break, or throws: a full disk is an error.
  static func writeLine(_ text: String) throws(FileFailure) {
    try OutputFile.write(text + "\n", to: "-")
  }
}

/// Messages that are not a command's result.
enum StandardError {
  /// Writes `text` as it is. Failures are ignored: there is nowhere else to report them.
  static func write(_ text: String) {
    try? OutputFile.write(text, to: "/dev/stderr")
  }

  /// Whether it is a terminal.
  static var isTerminal: Bool { isatty(STDERR_FILENO) == 1 }
}

/// The files that a command reads and writes, labelled as on the command line.
struct CommandFiles {
  private var inputs: [(label: String, path: String)] = []
  private var outputs: [(label: String, path: String)] = []

  /// - Parameters:
  ///   - inputs: files to read; nil if not given.
  ///   - outputs: files to write.
  init(inputs: [(String, String?)] = [], outputs: [(String, String?)]) {
    self.inputs = inputs.compactMap { label, path in path.map { (label, $0) } }
    self.outputs = outputs.compactMap { label, path in path.map { (label, $0) } }
  }

  /// Refuses to write to an input, or two outputs to one file, under whatever names.
  func check() throws(CommandFailure) {
    let standardInputs = inputs.filter { $0.path == "-" }
    if standardInputs.count > 1 {
      throw .misconfigured(
        "\(standardInputs[0].label) and \(standardInputs[1].label) are both standard input")
    }
    var read: [FileIdentity: String] = [:]
    for input in inputs {
      guard let file = FileIdentity(input: input.path), file.isOneWay else { continue }
      read[file] = input.label
    }
    var written: [FileIdentity: String] = [:]
    let report = isStandardOutputTaken ? [] : [("the report", "-")]
    for output in outputs + report {
      guard let file = FileIdentity(output: output.path) else { continue }
      if let label = read[file] ?? written[file] {
        let name = output.path == "-" ? "standard output" : output.path
        throw .misconfigured("\(name): \(label) and \(output.label) are the same file")
      }
      written[file] = output.label
    }
  }

  /// Whether one of the files goes to a terminal, where other messages would mix with it.
  var isOnTerminal: Bool { isStandardOutputTaken && isatty(STDOUT_FILENO) == 1 }

  /// Whether one of the files is standard output.
  private var isStandardOutputTaken: Bool {
    let standardOutput = FileIdentity(output: "-")
    return outputs.contains {
      $0.path == "-" || standardOutput != nil && FileIdentity(output: $0.path) == standardOutput
    }
  }

  /// Prints the command's report: on standard error if standard output is one of the files.
  func report(_ text: String) throws(FileFailure) {
    if isStandardOutputTaken {
      StandardError.write(text + "\n")
    } else {
      try StandardOutput.writeLine(text)
    }
  }
}

/// An error in words, without the parts meant for a debugger.
func describe(_ error: any Error) -> String {
  if let error = error as? CocoaError { return error.localizedDescription }
  return "\(error)"
}

/// JSON for reports: snake case, sorted keys.
enum ReportJSON {
  /// A whole report, indented.
  static func encode(_ value: some Encodable) throws -> String {
    String(decoding: try encoder([.prettyPrinted, .sortedKeys]).encode(value), as: UTF8.self)
  }

  /// One line of many, without its line break.
  static func line(_ value: some Encodable) throws -> Data {
    try encoder(.sortedKeys).encode(value)
  }

  private static func encoder(_ formatting: JSONEncoder.OutputFormatting) -> JSONEncoder {
    let encoder = JSONEncoder()
    encoder.keyEncodingStrategy = .convertToSnakeCase
    encoder.outputFormatting = formatting
    return encoder
  }
}

/// Figures for spreadsheets and plots.
enum CSVText {
  /// A line for the header and for each row. No field may have a comma, a quote or a line break.
  static func encode(header: [String], rows: [[String]]) -> String {
    ([header] + rows).map { $0.joined(separator: ",") + "\n" }.joined()
  }
}

/// Writes lines to a file, in chunks.
final class LineWriter {
  private let file: OutputFile
  private var pending: [UInt8] = []

  init(path: String) throws(FileFailure) {
    file = try OutputFile(path: path)
  }

  func append(_ line: some Sequence<UInt8>) throws(FileFailure) {
    pending.append(contentsOf: line)
    pending.append(0x0a)
    if pending.count > 1 << 20 { try flush() }
  }

  /// Writes the rest and moves the file into place.
  func finish() throws(FileFailure) {
    try flush()
    try file.finish()
  }

  /// Writes the rest, but does not move the file into place.
  func flush() throws(FileFailure) {
    try file.write(pending)
    pending.removeAll(keepingCapacity: true)
  }
}

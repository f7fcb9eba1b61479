// tailrace check: is this topology right, and do the topics fit it?

import ArgumentParser
import Files
import Foundation
import Logging
import Pipeline
import Topology

struct CheckCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "check",
    abstract: "Check a topology file, and with --connect the topics that it names.",
    discussion: """
      Prints the effective configuration, with secrets masked. A wrong file is reported line by \
      line, with exit code 2. No file that it refers to is opened, no library loaded, so that the \
      file of a stranger can be checked.

      With --resolve and --connect they are, as when a worker runs here: what is wrong with them, \
      such as a certificate that is not there, is then reported, too.

      With --import-collector, reads the configuration of an OpenTelemetry Collector instead, and \
      prints the topology that does what its tail_sampling processor does: a YAML document for each \
      of several. What has no place in it is named on standard error, a line each. A policy that has \
      none makes the exit code 3.
      """)

  @Argument(help: "The topology file.")
  var topology: String?

  @Option(name: .customLong("import-collector"), help: "A Collector's configuration to be carried over.")
  var collector: String?

  @Flag(help: "Open the files that the topology refers to, as a worker would; nobody is connected to.")
  var resolve = false

  @Flag(help: "Ask the brokers whether the topics are there and fit together. Nothing is created.")
  var connect = false

  @Flag(help: "Print nothing when all is well.")
  var quiet = false

  func validate() throws {
    guard (topology == nil) != (collector == nil) else {
      throw ValidationError("Name a topology file, or with --import-collector a Collector's configuration.")
    }
    if collector != nil, connect || resolve {
      throw ValidationError("--connect and --resolve are for topology files.")
    }
  }

  mutating func run() throws {
    if let collector { return try importCollector(collector) }
    guard let topology else { return }
    let isOfThisHost = resolve || connect
    let files = isOfThisHost ? FileReferences.read : .leave
    let loaded = try Topology.loaded(from: topology, files: files, withClients: true)
    if !quiet {
      let text = loaded.redactedDescription(files: files)
      // Files that are not read may be part of what the version stands for.
      if !loaded.version.isEmpty, isOfThisHost || !text.contains("${file:") {
        try StandardOutput.writeLine("# version \(loaded.version)")
      }
      try StandardOutput.writeLine(text)
    }
    guard connect else { return }
    for line in try inspectTopics(loaded, topology) {
      if !quiet {
        try StandardOutput.writeLine("# \(line)")
      } else if line.hasPrefix(Worker.warningPrefix) {
        StandardError.write("\(topology): \(line)\n")
      }
    }
  }

  private func inspectTopics(_ loaded: Topology, _ topology: String) throws -> [String] {
    do {
      return try Worker(loaded, logger: .standardError(loaded.worker, level: .critical)).inspectTopics()
    } catch {
      let message = error.description.split(separator: "\n").map { "\(topology): \($0)" }.joined(
        separator: "\n")
      throw CommandFailure.failed(message)
    }
  }

  private func importCollector(_ path: String) throws {
    let imported: CollectorImport
    do {
      imported = try CollectorImport.load(file: path, environment: ProcessInfo.processInfo.environment)
    } catch {
      throw CommandFailure.misconfigured(error.description)
    }
    for line in imported.noteLines { StandardError.write(line + "\n") }
    if !quiet {
      let documents = imported.topologies.map { imported in
        "# From \(imported.path.isEmpty ? imported.processor : imported.path)\n\(imported.text)"
      }
      try OutputFile.write(documents.joined(separator: "---\n"), to: "-")
    }
    guard imported.policiesLeftOut == 0 else { throw CommandFailure.incomplete(path, imported) }
  }
}

extension CommandFailure {
  /// A Collector's configuration that could be carried over only in part: exit code 3.
  fileprivate static func incomplete(_ path: String, _ imported: CollectorImport) -> CommandFailure {
    let count = imported.policiesLeftOut
    let policies = count == 1 ? "1 policy has" : "\(count) policies have"
    let rest = imported.topologies.isEmpty ? "; there is no topology" : ""
    return CommandFailure(message: "\(path): \(policies) no place in a topology\(rest)", exitCode: 3)
  }
}

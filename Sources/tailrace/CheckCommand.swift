// tailrace check: is this topology valid, and do the topics match it?

import ArgumentParser
import Files
import Foundation
import Logging
import Pipeline
import Topology

struct CheckCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "check",
    abstract: "Check a topology file and, with --connect, the topics it names.",
    discussion: """
      Prints the effective configuration, with secrets masked. Errors are reported line by line, with \
      exit code 2. Files that the topology refers to are not opened and libraries not loaded, so files \
      from untrusted sources can be checked.

      With --resolve and --connect they are, as when a worker runs here; problems such as a missing \
      certificate are then reported too.

      With --import-collector, reads the configuration of an OpenTelemetry Collector instead, and \
      prints the topology that does the same as its tail_sampling processor: one YAML document per \
      processor. Settings that can't be imported are listed on standard error, one per line. If a \
      policy is among them, the exit code is 3.

      With --import-refinery, does the same for a rules file of Refinery, version 2: one YAML document \
      per environment.
      """)

  @Argument(help: "The topology file.")
  var topology: String?

  @Option(name: .customLong("import-collector"), help: "The Collector configuration to import.")
  var collector: String?

  @Option(name: .customLong("import-refinery"), help: "The rules file of Refinery to import.")
  var refinery: String?

  @Flag(help: "Open the files that the topology refers to, as a worker would; connects to nothing.")
  var resolve = false

  @Flag(help: "Ask the brokers whether the topics exist and match the topology. Creates nothing.")
  var connect = false

  @Flag(help: "Print nothing on success.")
  var quiet = false

  func validate() throws {
    guard [topology, collector, refinery].count(where: { $0 != nil }) == 1 else {
      throw ValidationError(
        "Name a topology file, or what to import with --import-collector or --import-refinery.")
    }
    if topology == nil, connect || resolve {
      throw ValidationError("--connect and --resolve are for topology files.")
    }
  }

  mutating func run() throws {
    if let collector { return try importCollector(collector) }
    if let refinery { return try importRefinery(refinery) }
    guard let topology else { return }
    let isOfThisHost = resolve || connect
    let files = isOfThisHost ? FileReferences.read : .leave
    let loaded = try Topology.loaded(from: topology, files: files, withClients: true)
    if !quiet {
      let text = loaded.redactedDescription(files: files)
      // The version may depend on files that were not read.
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
    guard imported.policiesLeftOut == 0 else {
      throw CommandFailure.incomplete(
        path, imported.policiesLeftOut, "policy", "policies", isNothing: imported.topologies.isEmpty)
    }
  }

  private func importRefinery(_ path: String) throws {
    let imported: RefineryImport
    do {
      imported = try RefineryImport.load(file: path)
    } catch {
      throw CommandFailure.misconfigured(error.description)
    }
    for line in imported.noteLines { StandardError.write(line + "\n") }
    if !quiet {
      let documents = imported.topologies.map { "# From \($0.environment)\n\($0.text)" }
      try OutputFile.write(documents.joined(separator: "---\n"), to: "-")
    }
    guard imported.rulesLeftOut == 0 else {
      throw CommandFailure.incomplete(
        path, imported.rulesLeftOut, "rule", "rules", isNothing: imported.topologies.isEmpty)
    }
  }
}

extension CommandFailure {
  /// A file that was imported only in part: exit code 3.
  fileprivate static func incomplete(
    _ path: String, _ count: Int, _ one: String, _ several: String, isNothing: Bool
  ) -> CommandFailure {
    let rest = isNothing ? "; there is no topology" : ""
    let what = "\(count) \(count == 1 ? one : several)"
    return CommandFailure(message: "\(path): \(what) could not be imported\(rest)", exitCode: 3)
  }
}

// tailrace check: is this topology right, and do the topics fit it?

import ArgumentParser
import Foundation
import Logging
import Pipeline

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
      of several. What has no place in it is named on standard error, a line each.
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
        print("# version \(loaded.version)")
      }
      print(text)
    }
    guard connect else { return }
    do {
      let lines = try Worker(loaded, logger: .standardError(loaded.worker, level: .critical)).inspectTopics()
      for line in lines {
        if !quiet {
          print("# \(line)")
        } else if line.hasPrefix(Worker.warningPrefix) {
          StandardError.write("\(topology): \(line)\n")
        }
      }
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
    guard !quiet else { return }
    let documents = imported.topologies.map { "# From processors.\($0.processor)\n\($0.text)" }
    print(documents.joined(separator: "---\n"), terminator: "")
  }
}

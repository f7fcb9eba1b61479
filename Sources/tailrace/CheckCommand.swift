// tailrace check: is this topology right, and do the topics fit it?

import ArgumentParser
import Logging
import Pipeline

struct CheckCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "check",
    abstract: "Check a topology file, and with --connect the topics that it names.",
    discussion: """
      Prints the effective configuration, with secrets masked. A wrong file is reported line by \
      line, with exit code 2.
      """)

  @Argument(help: "The topology file.")
  var topology: String

  @Flag(help: "Ask the brokers whether the topics are there and fit together. Nothing is created.")
  var connect = false

  @Flag(help: "Print nothing when all is well.")
  var quiet = false

  mutating func run() throws {
    let loaded = try Topology.loaded(from: topology)
    if !quiet { print(loaded.redactedDescription) }
    guard connect else { return }
    do {
      let lines = try Worker(loaded, logger: .standardError(level: .critical)).inspectTopics()
      if !quiet { for line in lines { print("# \(line)") } }
    } catch {
      let message = error.description.split(separator: "\n").map { "\(topology): \($0)" }.joined(
        separator: "\n")
      throw CommandFailure.failed(message)
    }
  }
}

// The command line: one sub-command a file.

import ArgumentParser
import Foundation

/// The `tailrace` command.
struct Tailrace: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "tailrace",
    abstract: "Tail sampling of distributed traces on Kafka.",
    discussion: """
      Reads spans from a Kafka topic keyed by trace id, keeps every error trace, every slow trace \
      and a baseline of the rest, and writes its decisions and the kept spans to topics of their \
      own.

      Exit codes: 0 success, 1 failure, 2 a usage or configuration error, 3 a Collector's \
      configuration that was carried over without some of its policies.
      """,
    version: Version.text,
    subcommands: [
      RunCommand.self, DemoCommand.self, CheckCommand.self, ReplayCommand.self, GenerateCommand.self,
      BenchCommand.self, BenchScalingCommand.self, BenchKafkaCommand.self, PlanCapacityCommand.self,
      SimulateCommand.self, ReportCommand.self,
    ])
}

@main
enum Main {
  /// Runs the command and turns what it throws into one line and an exit code.
  static func main() {
    do {
      var command = try Tailrace.parseAsRoot()
      try command.run()
    } catch let failure as CommandFailure {
      StandardError.write("tailrace: \(failure.message)\n")
      exit(failure.exitCode)
    } catch {
      let isUsage = Tailrace.exitCode(for: error) == .validationFailure
      let isSuccess = Tailrace.exitCode(for: error).isSuccess
      let message = Tailrace.fullMessage(for: error)
      if isSuccess {
        print(message)
      } else if !message.isEmpty {
        StandardError.write(message + "\n")
      }
      exit(isSuccess ? 0 : isUsage ? 2 : 1)
    }
  }
}

/// A command that could not do what it was asked to.
struct CommandFailure: Error {
  /// What to tell the user: lines that each name a place and a reason.
  let message: String
  let exitCode: Int32

  /// A failure while working: exit code 1.
  static func failed(_ message: String) -> CommandFailure { CommandFailure(message: message, exitCode: 1) }

  /// A wrong configuration: exit code 2.
  static func misconfigured(_ message: String) -> CommandFailure {
    CommandFailure(message: message, exitCode: 2)
  }
}

/// Messages that are not a command's result.
enum StandardError {
  /// Writes `text` as it is.
  static func write(_ text: String) {
    FileHandle.standardError.write(Data(text.utf8))
  }

  /// Whether a person is looking.
  static var isTerminal: Bool { isatty(FileHandle.standardError.fileDescriptor) == 1 }
}

/// Which version this is.
enum Version {
  static let text = "0.1.0"
}

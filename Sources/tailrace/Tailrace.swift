// The command line: one subcommand per file.

import ArgumentParser
import Files
import Foundation
import Pipeline

/// The `tailrace` command.
struct Tailrace: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "tailrace",
    abstract: "Tail sampling of distributed traces on Kafka.",
    discussion: """
      Reads spans from a Kafka topic keyed by trace id, keeps every error trace, every slow trace \
      and a baseline of the rest, and writes its decisions and the kept spans to separate topics.

      Exit codes: 0 success, 1 failure, 2 a usage or configuration error, 3 a difference: \
      a plan that changes something, or a Collector configuration imported without some of its policies.
      """,
    version: Version.text,
    subcommands: [
      RunCommand.self, DemoCommand.self, CheckCommand.self, ReplayCommand.self, RecordCommand.self,
      PlanCommand.self, ExplainCommand.self, ConsoleCommand.self, GenerateCommand.self,
      BenchCommand.self, BenchScalingCommand.self, BenchKafkaCommand.self, BenchConsoleCommand.self,
      PlanCapacityCommand.self,
      SimulateCommand.self, ReportCommand.self, VersionCommand.self,
    ])
}

@main
enum Main {
  /// Runs the command and turns errors into lines and an exit code.
  static func main() {
    do {
      var command = try Tailrace.parseAsRoot()
      try command.run()
    } catch {
      exit(report(error))
    }
  }

  /// Reports the error, or prints what was requested instead of a run: help, the version, completions.
  private static func report(_ error: any Error) -> Int32 {
    switch error {
    case let failure as CommandFailure: return report(failure)
    case let failure as FileFailure where failure.isClosedPipe: return endOfClosedPipe()
    case let failure as FileFailure: return report(.failed(failure.description))
    default:
      let code = Tailrace.exitCode(for: error)
      let message = Tailrace.fullMessage(for: error)
      guard code.isSuccess else {
        if !message.isEmpty { StandardError.write(message + "\n") }
        return code == .validationFailure ? 2 : 1
      }
      do { try StandardOutput.writeLine(message) } catch { return report(error) }
      return 0
    }
  }

  /// Each line names the program and its place.
  private static func report(_ failure: CommandFailure) -> Int32 {
    let lines = failure.message.split(separator: "\n", omittingEmptySubsequences: true)
    StandardError.write(lines.map { "tailrace: \($0)\n" }.joined())
    return failure.exitCode
  }

  /// The reader has closed the pipe: ends as programs do on SIGPIPE, even if the signal was ignored.
  private static func endOfClosedPipe() -> Int32 {
    signal(SIGPIPE, SIG_DFL)
    raise(SIGPIPE)
    return 128 + SIGPIPE
  }
}

/// A command's failure.
struct CommandFailure: Error {
  /// For the user: lines, each with a place and a reason.
  let message: String
  let exitCode: Int32

  /// A failure at run time: exit code 1.
  static func failed(_ message: String) -> CommandFailure { CommandFailure(message: message, exitCode: 1) }

  /// A wrong configuration: exit code 2.
  static func misconfigured(_ message: String) -> CommandFailure {
    CommandFailure(message: message, exitCode: 2)
  }
}

/// This version.
enum Version {
  static let text = "0.1.0"
}

struct VersionCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "version", abstract: "Print the version.")

  mutating func run() throws {
    try StandardOutput.writeLine(Version.text)
  }
}

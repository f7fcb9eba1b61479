// tailrace run: a worker.

public import ArgumentParser
import Console
import Foundation
public import Logging
import Pipeline
import Stores
import Topology

struct RunCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "run",
    abstract: "Run a worker: a topology against Kafka, until stopped.",
    discussion: """
      On SIGTERM or SIGINT the worker commits its work, leaves its group and exits with 0. Undecided \
      traces stay in Kafka: the partition's next owner decides them. A second signal ends the process \
      at once; nothing is lost by that either.

      When the topology file changes, and on SIGHUP, policies, baseline and log level take effect \
      without a restart. A file with an error is refused, and the previous configuration stays in effect.
      """)

  @Argument(help: "The topology file.")
  var topology: String

  @Option(
    name: .long,
    help:
      "The least important log lines to write: debug, info, notice, warning, error (log.level of the file).")
  var logLevel: Logger.Level?

  mutating func run() throws {
    let loaded = try Topology.loaded(from: topology, withClients: true)
    let level = LogLevel(loaded.worker.log, fixed: logLevel)
    let logger = Logger.standardError(loaded.worker, level: level)
    let worker = Worker(loaded, logger: logger) { settings in
      try HTTPStore(settings, agent: "tailrace/\(Version.text)")
    }
    let watch = TopologyWatch(
      topology, environment: ProcessInfo.processInfo.environment, worker: worker, level: level)
    defer { watch.cancel() }
    let signals = [
      Signals.stopping({ logger.notice("\($0)") }) { worker.stop() },
      Signals([SIGHUP]) { _ in watch.reload() },
    ]
    defer { for each in signals { each.cancel() } }
    let console = try console(worker, loaded)
    defer { console?.stop() }
    if let console { logger.info("health and metrics", metadata: ["address": "\(console.place)"]) }
    do {
      try worker.run()
    } catch {
      let message = error.description.split(separator: "\n").map { "\(topology): \($0)" }.joined(
        separator: "\n")
      throw CommandFailure.failed(message)
    }
  }

  private func console(_ worker: Worker, _ loaded: Topology) throws -> Console? {
    guard loaded.worker.console.isEnabled else { return nil }
    do {
      return try Console(worker, loaded, version: Version.text)
    } catch {
      throw CommandFailure.failed("\(topology): \(error)")
    }
  }
}

extension Logger.Level: @retroactive ExpressibleByArgument {}

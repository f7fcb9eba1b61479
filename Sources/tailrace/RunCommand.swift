// tailrace run: a worker.

public import ArgumentParser
import Console
import Dispatch
import Foundation
public import Logging
import Pipeline

struct RunCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "run",
    abstract: "Run a worker: a topology against Kafka, until it is told to stop.",
    discussion: """
      On SIGTERM or SIGINT the worker commits what it has done, leaves its group and exits with 0. \
      Traces that are not decided yet stay in Kafka: whoever takes the partition over decides them.
      """)

  @Argument(help: "The topology file.")
  var topology: String

  @Option(
    name: .long,
    help:
      "The least important log lines to write: debug, info, notice, warning, error (log.level of the file).")
  var logLevel: Logger.Level?

  mutating func run() throws {
    let loaded = try Topology.loaded(from: topology)
    let logger = Logger.standardError(loaded.worker, level: logLevel)
    let worker = Worker(loaded, logger: logger)
    let console = try console(worker, loaded)
    defer { console?.stop() }
    if let console { logger.info("health and metrics", metadata: ["address": "\(console.place)"]) }
    let signals = StopSignals { worker.stop() }
    defer { signals.cancel() }
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

/// Calls an action on SIGTERM and SIGINT instead of dying of them.
final class StopSignals {
  private var sources: [any DispatchSourceSignal] = []

  init(_ action: @escaping @Sendable () -> Void) {
    for number in [SIGTERM, SIGINT] {
      // The default action would end the process before the source sees the signal.
      signal(number, SIG_IGN)
      let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
      source.setEventHandler(handler: action)
      source.resume()
      sources.append(source)
    }
  }

  func cancel() {
    for source in sources { source.cancel() }
  }
}

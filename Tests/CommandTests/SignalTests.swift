// What a first and a second Ctrl-C do to long commands.

import Foundation
import Testing

@Suite struct SignalTests {
  /// A running command and its standard error.
  private final class Running {
    private let process = Process()
    private let directory: WorkingDirectory

    init(_ arguments: [String], in directory: WorkingDirectory) throws {
      self.directory = directory
      process.executableURL = try CommandRun.executable()
      process.arguments = arguments
      process.standardInput = FileHandle.nullDevice
      process.standardOutput = FileHandle.nullDevice
      process.standardError = try directory.create("errors")
      try process.run()
    }

    deinit {
      if process.isRunning { kill(process.processIdentifier, SIGKILL) }
    }

    func send(_ signal: Int32) { kill(process.processIdentifier, signal) }

    /// Waits until it has printed `text`.
    func wait(for text: String) throws {
      let deadline = ContinuousClock.now + .seconds(60)
      while true {
        let isRunning = process.isRunning
        let said = try directory.text("errors")
        if said.contains(text) { return }
        try #require(isRunning && ContinuousClock.now < deadline, "\(said)")
        usleep(200)
      }
    }

    /// Waits until it has ended; returns its exit code.
    func end(within patience: Duration) throws -> Int32 {
      let deadline = ContinuousClock.now + patience
      while process.isRunning {
        let said = try directory.text("errors")
        try #require(ContinuousClock.now < deadline, "\(said)")
        usleep(10_000)
      }
      try #require(process.terminationReason == .exit)
      return process.terminationStatus
    }
  }

  /// No one listens on port 1.
  private func workerWithoutBroker(
    _ directory: WorkingDirectory, console: String = "{enabled: false}"
  ) throws -> Running {
    let file = try directory.write(
      "kind: tail-sampling\nkafka: {bootstrap.servers: '127.0.0.1:1'}\nconsole: \(console)\n",
      to: "t.yaml")
    return try Running(["run", file], in: directory)
  }

  @Test(arguments: [SIGINT, SIGTERM]) func aWorkerWaitingForBrokersStopsAtOnce(_ signal: Int32) throws {
    let directory = try WorkingDirectory()
    let worker = try workerWithoutBroker(directory)
    try worker.wait(for: "Connection refused")
    worker.send(signal)
    try worker.wait(for: "stopping")
    #expect(try worker.end(within: .seconds(10)) == 0)
  }

  @Test func aSignalThatComesWhileAWorkerStartsIsNotLost() throws {
    for _ in 1...10 {
      let directory = try WorkingDirectory()
      let worker = try workerWithoutBroker(directory, console: "{port: 0}")
      try worker.wait(for: "health and metrics")
      worker.send(SIGTERM)
      #expect(try worker.end(within: .seconds(10)) == 0)
    }
  }

  @Test func aSecondSignalEndsTheDemo() throws {
    let demo = try Running(["demo", "--duration", "600s"], in: try WorkingDirectory())
    try demo.wait(for: "published")
    demo.send(SIGINT)
    try demo.wait(for: "stopping")
    demo.send(SIGINT)
    #expect(try demo.end(within: .seconds(5)) == 130)
  }

  @Test func aSignalEndsTheDemosTraffic() throws {
    let demo = try Running(["demo", "--duration", "600s"], in: try WorkingDirectory())
    try demo.wait(for: "published")
    demo.send(SIGINT)
    #expect(try demo.end(within: .seconds(60)) == 0, "with its report")
  }
}

// A topology file that changes while its worker runs.

import Foundation
import Logging
import Testing
import Topology

@testable import Pipeline

private let keepAll = "policies: [{name: all, type: always_sample}]\n"

@Suite struct TopologyWatchTests {
  /// A worker's topology file; it is written as a whole, under another name first.
  private struct WatchedFile {
    let path = FileManager.default.temporaryDirectory.appendingPathComponent("\(UUID().uuidString).yaml").path

    func write(_ text: String) throws {
      try Data(text.utf8).write(to: URL(fileURLWithPath: path), options: .atomic)
    }

    func remove() {
      try? FileManager.default.removeItem(atPath: path)
    }
  }

  private func wait(for what: String, _ condition: () -> Bool) throws {
    let deadline = Date(timeIntervalSinceNow: 60)
    while !condition() {
      try #require(Date.now < deadline, "waited for: \(what)")
      Thread.sleep(forTimeInterval: 0.05)
    }
  }

  @Test func aChangedFileIsAppliedAndAnInvalidOneIsRefused() throws {
    let file = WatchedFile()
    defer { file.remove() }
    try file.write("kind: tail-sampling\n")
    let loaded = try Topology.load(file: file.path, environment: [:])
    let level = LogLevel(loaded.worker.log)
    let worker = Worker(loaded, logger: .standardError(loaded.worker, level: .critical))
    let watch = TopologyWatch(file.path, environment: [:], worker: worker, level: level)
    defer { watch.cancel() }
    func status() -> ConfigurationStatus { worker.status.configuration }
    let first = status().version
    #expect(first == loaded.version)

    try file.write("kind: tail-sampling\n\(keepAll)log: {level: debug}\nlanes: 3\n")
    try wait(for: "another version") { status().version != first }
    let version = try Topology.parse(
      "kind: tail-sampling\n\(keepAll)", fileName: "t.yaml", environment: [:]
    ).version
    #expect(status().version == version)
    #expect(status().taken == 1 && status().refused == 0 && !status().isRefused)
    #expect(status().waiting == ["lanes"])
    #expect(level.value == .debug)
    #expect(worker.topology.worker.lanes == 1)
    let second = status().version

    try file.write("kind: tail-sampling\npolicies: [{name: all, type: always_simple}]\n")
    try wait(for: "a refusal") { status().refused == 1 }
    #expect(status().isRefused && status().version == second && status().taken == 1)
    // It is refused once, not at every look, unless a reload is requested.
    Thread.sleep(forTimeInterval: 2.5)
    #expect(status().refused == 1)
    watch.reload()
    try wait(for: "another refusal") { status().refused == 2 }
    file.remove()
    watch.reload()
    try wait(for: "a refusal of a missing file") { status().refused == 3 }

    try file.write("kind: tail-sampling\n")
    try wait(for: "the first version") { status().version == first }
    #expect(status().taken == 2 && !status().isRefused && status().waiting.isEmpty)
    #expect(level.value == .info)
  }

  @Test func aRepairedFileIsNotRefused() throws {
    let (file, secret) = (WatchedFile(), WatchedFile())
    defer {
      file.remove()
      secret.remove()
    }
    let text = "kind: tail-sampling\n"
    try file.write(text)
    let loaded = try Topology.load(file: file.path, environment: [:])
    let worker = Worker(loaded, logger: .standardError(loaded.worker, level: .critical))
    let watch = TopologyWatch(file.path, environment: [:], worker: worker, level: LogLevel(loaded.worker.log))
    defer { watch.cancel() }
    func status() -> ConfigurationStatus { worker.status.configuration }
    // Without a request.
    let spoils: [() throws -> Void] = [file.remove, { try file.write("kind: x\n") }, file.remove]
    for (number, spoil) in spoils.enumerated() {
      try spoil()
      try wait(for: "a refusal") { status().isRefused }
      #expect(status().refused == UInt64(number + 1))
      try file.write(text)
      try wait(for: "the file to be accepted again") { !status().isRefused }
    }
    #expect(status().taken == 0, "nothing has changed")
    // A file that it refers to is missing, then appears.
    try file.write(text + "log: {level: '${file:\(secret.path)}'}\n")
    try wait(for: "a refusal") { status().isRefused }
    try secret.write("debug\n")
    try wait(for: "the file to be accepted again") { !status().isRefused }
    #expect(worker.topology.worker.log.level == .debug)
  }
}

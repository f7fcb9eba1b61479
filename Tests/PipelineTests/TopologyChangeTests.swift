// A topology file that changes while a worker runs by it.

import Foundation
import Logging
import Sampling
import Testing

@testable import Pipeline

private func topology(_ body: String, kind: String = "tail-sampling") throws -> Topology {
  try Topology.parse("kind: \(kind)\n\(body)", fileName: "t.yaml", environment: [:])
}

private let keepAll = "policies: [{name: all, type: always_sample}]\n"

@Suite struct TopologyVersionTests {
  @Test func theVersionIsThatOfTheMeaning() throws {
    let version = try topology(keepAll).version
    #expect(version.count == 8 && version.allSatisfy(\.isHexDigit))
    let same = """
      # Comments, order and defaults that are written out make no difference, nor does what decides nothing.
      windows: {decision_wait: 30000ms}
      group: another
      kafka: {bootstrap.servers: "elsewhere:9092"}
      policies:
        - type: always_sample
          name: all
      """
    #expect(try topology(same).version == version)
    for other in [
      "policies: [{name: any, type: always_sample}]", keepAll + "sample_on_first_match: true",
      keepAll + "invert_decisions: true",
      keepAll + "windows: {decision_wait: 31s}", keepAll + "limits: {spans_per_trace: 9}",
      keepAll + "baseline: {}", keepAll + "baseline: {floor: 2}",
    ] {
      #expect(try topology(other).version != version, "\(other)")
    }
    #expect(try topology("", kind: "repartition").version == "")
  }
}

@Suite struct TopologyChangeTests {
  @Test func policiesBaselineAndLogLevelAreTakenOver() throws {
    let old = try topology("baseline: {floor: 1}\n")
    let new = try topology(
      keepAll
        + "sample_on_first_match: true\ninvert_decisions: true\n"
        + "baseline: {floor: 3, boost: 2}\nlog: {level: debug}\n"
    )
    let change = TopologyChange(from: old, to: new)
    #expect(change.effective == new)
    #expect(change.waiting.isEmpty)
  }

  @Test(arguments: [
    ("group: g", "group"), ("lanes: 2", "lanes"), ("delivery: at_least_once", "delivery"),
    ("commit_interval: 2s", "commit_interval"), ("commit_records: 9", "commit_records"),
    ("stop_timeout: 9s", "stop_timeout"), ("kafka: {linger.ms: 5}", "kafka"),
    ("console: {port: 1}", "console"),
    ("log: {format: json}", "log.format"), ("topics: {sampled: {name: s}}", "topics"),
    ("windows: {decision_wait: 9s}", "windows"), ("limits: {services: 9}", "limits"),
  ])
  func theRestWaitsForARestart(_ body: String, _ name: String) throws {
    let old = try topology("")
    let change = TopologyChange(from: old, to: try topology(body))
    #expect(change.effective == old)
    #expect(change.waiting == [name])
  }

  @Test func aBaselineComesAndGoesWithARestart() throws {
    let (without, with) = (try topology(""), try topology("baseline: {}\n"))
    #expect(TopologyChange(from: without, to: with).waiting == ["baseline", "policies"])
    let change = TopologyChange(from: with, to: without)
    #expect(change.waiting == ["baseline", "policies"])
    #expect(change.effective == with)
  }

  /// A policy may be meant for the baseline that comes with it.
  @Test(arguments: ["{interval: 20s}", "{key: [http.route]}", "{services: 7}"])
  func policiesWaitForABaselineThatWaits(_ baseline: String) throws {
    let old = try topology("baseline: {}\n")
    let change = TopologyChange(from: old, to: try topology(keepAll + "baseline: \(baseline)\n"))
    #expect(change.effective == old)
    #expect(change.waiting.count == 2 && change.waiting.last == "policies")
  }

  @Test func whatCanBeTakenIsTakenBesideWhatWaits() throws {
    let old = try topology("")
    let change = TopologyChange(from: old, to: try topology(keepAll + "windows: {decision_wait: 9s}\n"))
    #expect(change.effective.version == (try topology(keepAll)).version)
    #expect(change.waiting == ["windows"])
  }

  @Test func aRepartitionerTakesTheLogLevel() throws {
    let old = try topology("", kind: "repartition")
    let new = try topology("log: {level: debug}\nlimits: {record_bytes: 1MiB}\n", kind: "repartition")
    let change = TopologyChange(from: old, to: new)
    #expect(change.effective.worker.log.level == .debug)
    #expect(change.waiting == ["limits.record_bytes"])
    #expect(TopologyChange(from: old, to: try topology("")).waiting == ["kind"])
  }
}

@Suite struct TopologyWatchTests {
  /// A file that a worker runs by; it is written as a whole, by another name first.
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

  @Test func aChangedFileIsTakenOverAndAWrongOneIsRefused() throws {
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
    #expect(status().version == (try topology(keepAll)).version)
    #expect(status().taken == 1 && status().refused == 0 && !status().isRefused)
    #expect(status().waiting == ["lanes"])
    #expect(level.value == .debug)
    #expect(worker.topology.worker.lanes == 1)
    let second = status().version

    try file.write("kind: tail-sampling\npolicies: [{name: all, type: always_simple}]\n")
    try wait(for: "a refusal") { status().refused == 1 }
    #expect(status().isRefused && status().version == second && status().taken == 1)
    // It is refused once, not every time that it is looked at, unless somebody asks.
    Thread.sleep(forTimeInterval: 2.5)
    #expect(status().refused == 1)
    watch.reload()
    try wait(for: "another refusal") { status().refused == 2 }
    file.remove()
    watch.reload()
    try wait(for: "a refusal of a file that is not there") { status().refused == 3 }

    try file.write("kind: tail-sampling\n")
    try wait(for: "the first version") { status().version == first }
    #expect(status().taken == 2 && !status().isRefused && status().waiting.isEmpty)
    #expect(level.value == .info)
  }

  @Test func aFileThatIsWellAgainIsNotRefused() throws {
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
    // Nobody asks for it.
    let spoils: [() throws -> Void] = [file.remove, { try file.write("kind: x\n") }, file.remove]
    for (number, spoil) in spoils.enumerated() {
      try spoil()
      try wait(for: "a refusal") { status().isRefused }
      #expect(status().refused == UInt64(number + 1))
      try file.write(text)
      try wait(for: "the file to be well again") { !status().isRefused }
    }
    #expect(status().taken == 0, "nothing has changed")
    // A file that it refers to is missing, and comes.
    try file.write(text + "log: {level: '${file:\(secret.path)}'}\n")
    try wait(for: "a refusal") { status().isRefused }
    try secret.write("debug\n")
    try wait(for: "the file to be well again") { !status().isRefused }
    #expect(worker.topology.worker.log.level == .debug)
  }
}

// What a topology file means: defaults, every key, variables, the shipped files, and the way back to YAML.

import Foundation
import Sampling
import Testing

@testable import Topology

/// The root of the checkout.
private let repository = URL(fileURLWithPath: #filePath)
  .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

/// The path of a topology file that the project ships.
func shippedTopology(_ name: String) -> String {
  repository.appendingPathComponent("Topologies/\(name).yaml").path
}

private func parse(_ yaml: String, _ environment: [String: String] = [:]) throws -> Topology {
  try Topology.parse(yaml, fileName: "t.yaml", environment: environment)
}

private func parseTailSampling(
  _ body: String, _ environment: [String: String] = [:]
) throws -> TailSamplingTopology {
  let topology = try parse("kind: tail-sampling\n" + body, environment)
  let tailSampling: TailSamplingTopology? = if case .tailSampling(let found) = topology { found } else { nil }
  return try #require(tailSampling)
}

/// A file with every key, none at its default.
let everyTopologyKey = """
  kind: tail-sampling
  group: my group
  lanes: 4
  commit_interval: 250ms
  kafka:
    metadata.broker.list: b1:9092,b2:9092
    enable.idempotence: true
    ssl.key.password: "pa$$word"
    linger.ms: 5
    client.id: ''
  topics:
    create: false
    partitions: 48
    replication_factor: 3
    spans: {name: otlp_spans, encoding: otlp_json, compression: snappy}
    decisions: {name: d, encoding: json, dropped: none}
    verdicts: {name: v}
    sampled: {name: s, annotate: root}
    dead_letters: {name: x}
  windows:
    decision_wait: 1m30s
    decision_wait_after_root: 0s
    lone_roots_wait: false
    late_window: 1h
    recall_window: 30m
    buffer: log
  limits:
    spans_per_trace: 20_000
    bytes_per_trace: 2000
    record_bytes: 1MB
    memory: 3GB
    services: 7
  console: {enabled: false, address: "::1", port: 0, services: 12}
  log: {level: warning, format: json}
  policies:
    - {name: all, type: always_sample}
    - {name: "a \\"quoted\\" näme", type: status_code, status_code: {status_codes: [UNSET, OK]}}
    - {name: true, type: latency, latency: {threshold_ms: 100, upper_threshold_ms: 1_000}}
    - {name: share, type: probabilistic, probabilistic: {sampling_percentage: 1e-5}}
  shadow:
    - {name: dark, type: trace_flags}
    - {name: $$, type: drop, drop: {drop_sub_policy: [{type: always_sample}]}}
  """

@Suite struct TopologyTests {
  @Test func onlyTheKindIsRequired() throws {
    #expect(try parse("kind: tail-sampling") == .tailSampling(TailSamplingTopology()))
    #expect(try parse("kind: repartition") == .repartition(RepartitionTopology()))
    let topology = TailSamplingTopology()
    #expect(topology.worker.kafka.values == ["bootstrap.servers": "127.0.0.1:9092"])
    #expect(topology.policies.map(\.name) == ["errors", "slow", "baseline"])
  }

  @Test func shippedFilesAreTheDefaults() throws {
    let tailSampling = try Topology.load(file: shippedTopology("tail-sampling"), environment: [:])
    #expect(tailSampling == .tailSampling(TailSamplingTopology()))
    let repartition = try Topology.load(
      file: shippedTopology("repartition"), environment: ["KAFKA_BROKERS": "kafka:9092"])
    var expected = RepartitionTopology()
    expected.worker.kafka = KafkaProperties(["bootstrap.servers": "kafka:9092"])
    #expect(repartition == .repartition(expected))
    let export = try Topology.load(file: shippedTopology("export"), environment: [:])
    let store = StoreSettings(url: try #require(StoreURL("http://127.0.0.1:4318/v1/traces")))
    #expect(export == .export(ExportTopology(store: store)))
    let ports = [8080, 8081, 8082]
    #expect([tailSampling, repartition, export].map(\.worker.console.port) == ports, "they share a host")
  }

  @Test func everyKeyIsRead() throws {
    let expected = TailSamplingTopology(
      worker: WorkerSettings(
        group: "my group", lanes: 4, commitInterval: .milliseconds(250),
        kafka: KafkaProperties([
          "metadata.broker.list": "b1:9092,b2:9092", "enable.idempotence": "true",
          "ssl.key.password": "pa$word", "linger.ms": "5", "client.id": "",
        ]), console: ConsoleSettings(isEnabled: false, address: "::1", port: 0, services: 12),
        log: LogSettings(level: .warning, format: .json)),
      topics: TailSamplingTopology.Topics(
        creation: TopicCreation(enabled: false, partitions: 48, replicationFactor: 3),
        spans: SpanSource(name: "otlp_spans", encoding: .otlpJSON, compression: .snappy),
        decisions: TailSamplingTopology.Decisions(name: "d", encoding: .json, dropped: .none),
        verdicts: "v", sampled: "s", annotate: .root, deadLetters: "x"),
      windows: TailSamplingTopology.Windows(
        decisionWait: .seconds(90), decisionWaitAfterRoot: .zero, loneRootsWait: false,
        lateWindow: .seconds(3600), recallWindow: .seconds(1800), buffer: .log),
      limits: TailSamplingTopology.Limits(
        spansPerTrace: 20_000, bytesPerTrace: 2000, recordBytes: 1_000_000, memory: 3_000_000_000,
        services: 7),
      policies: [
        PolicySpecification(name: "all", rule: .alwaysSample),
        PolicySpecification(name: "a \"quoted\" näme", rule: .statusCode(codes: [.unset, .ok])),
        PolicySpecification(
          name: "true", rule: .latency(threshold: .milliseconds(100), upperThreshold: .seconds(1))),
        PolicySpecification(name: "share", rule: .probabilistic(percentage: 0.00001)),
      ],
      shadow: [
        PolicySpecification(name: "dark", rule: .traceFlags),
        PolicySpecification(name: "$", rule: .drop([PolicySpecification(name: "", rule: .alwaysSample)])),
      ])
    #expect(try parse(everyTopologyKey) == .tailSampling(expected))
  }

  @Test func defaultsGiveWayToDecisionWait() throws {
    let short = try parseTailSampling("windows: {decision_wait: 2s}").windows
    #expect(short.decisionWaitAfterRoot == .seconds(2))
    #expect(short.lateWindow == .seconds(600))
    let long = try parseTailSampling("windows: {decision_wait: 1h}").windows
    #expect(long.decisionWaitAfterRoot == .seconds(5))
    #expect(long.lateWindow == .seconds(3600))
    // With spans in the log, windows may be longer than verdicts are remembered.
    let logged = try parseTailSampling("windows: {decision_wait: 1h, buffer: log}").windows
    #expect(logged.decisionWait == .seconds(3600) && logged.lateWindow == .seconds(600))
  }

  @Test func anchorsAndAliasesAreRead() throws {
    let topology = try parseTailSampling("topics: {spans: {name: &n a}}\ngroup: *n\n")
    #expect(topology.worker.group == "a")
  }

  @Test func variables() throws {
    func group(_ text: String, _ environment: [String: String] = [:]) throws -> String {
      try parseTailSampling("group: \(text)\n", environment).worker.group
    }
    #expect(try group("${A}", ["A": "x"]) == "x")
    #expect(try group("a-${A}-${B_2:-d}-z", ["A": "x"]) == "a-x-d-z")
    #expect(try group("${A:-d}", ["A": ""]) == "d")
    #expect(try group("x${A}", ["A": ""]) == "x")
    #expect(try group("${A:-a:-b$$}") == "a:-b$")
    #expect(try group("$${A}") == "${A}")
    // Values are not read as YAML, nor expanded again.
    #expect(try group("${A}", ["A": "x\nlanes: 9 # ${B} $$"]) == "x\nlanes: 9 # ${B} $$")
    #expect(try group("${A}", ["A": "null"]) == "null")
    // Inside braces YAML requires quotes; the value is a number all the same.
    #expect(
      try parseTailSampling("topics: {partitions: \"${P}\"}", ["P": "3"]).topics.creation.partitions == 3)
  }

  @Test(arguments: [
    ("pa$$ ${A}\n", "pa$$ ${A}"), ("a\r\n", "a"), ("a\n\n", "a\n"), (" a", " a"), ("", ""),
    ("1\n2\n", "1\n2"),
  ])
  func filesAreReadAsTheyAre(_ content: String, _ value: String) throws {
    let file = FileManager.default.temporaryDirectory.appendingPathComponent("tailrace-\(UUID().uuidString)")
    defer { try? FileManager.default.removeItem(at: file) }
    try Data(content.utf8).write(to: file)
    let topology = try parseTailSampling("kafka: {sasl.password: \"<${file:\(file.path)}>\"}\n")
    #expect(topology.worker.kafka.values["sasl.password"] == "<\(value)>")
  }

  @Test func effectiveConfigurationReadsBack() throws {
    let topologies = [
      try parse("kind: tail-sampling"), try parse("kind: repartition"),
      try parse("kind: export\notlp_http: {endpoint: http://a}"),
      try parse("kind: export\notlp_grpc: {endpoint: \"a:4317\"}"),
      try parse(everyTopologyKey.replacingOccurrences(of: "ssl.key.password", with: "client.rack")),
      try parse(
        "kind: repartition\nkafka: {client.id: \"x\\ny\\t$${z}\\U0001F600\", client.rack: ~x, "
          + "sasl.username: \"null\"}"
      ),
    ]
    for topology in topologies {
      #expect(try parse(topology.redactedDescription) == topology)
    }
  }

  /// Each kind's keys are in its own part of docs/topology.md, or in that of all kinds.
  @Test(arguments: [
    "kind: tail-sampling\nbaseline: {}\n", "kind: repartition\n",
    "kind: export\notlp_http: {endpoint: https://a, headers: {b: c}}\n",
    "kind: export\notlp_grpc: {endpoint: https://a, headers: {b: c}}\n",
  ])
  func keysAreDocumentedUnderTheirKind(_ yaml: String) throws {
    let topology = try parse(yaml)
    let page = try String(contentsOf: repository.appending(path: "docs/topology.md"), encoding: .utf8)
    let kind = yaml.prefix { $0 != "\n" }
    let parts = page.components(separatedBy: "\n## ").filter {
      $0.hasPrefix("Keys of all kinds\n") || $0.hasPrefix("Keys of `\(kind)`\n")
    }
    #expect(parts.count == 2)
    for line in topology.redactedDescription.split(separator: "\n") where line.first?.isLetter == true {
      let key = line.prefix { $0 != ":" }
      let isThere = parts.contains { $0.contains("| `\(key)") || $0.contains("### `\(key)`") }
      #expect(isThere, "\(key) of \(kind)")
    }
  }

  @Test func secretsAreMasked() throws {
    let names = [
      "sasl.password", "ssl.key.password", "ssl.key.pem", "ssl.keystore.password", "SASL.PASSWORD",
      "sasl.oauthbearer.config", "sasl.oauthbearer.client.secret", "sasl.jaas.config", "my.token",
    ]
    let secrets = Dictionary(uniqueKeysWithValues: names.map { ($0, "hunter2") })
    var repartition = RepartitionTopology()
    repartition.worker.kafka = KafkaProperties(secrets.merging(["sasl.username": "me"]) { $1 })
    let topology = Topology.repartition(repartition)
    var dumped = ""
    dump(topology, to: &dumped)
    for text in [topology.redactedDescription, "\(topology)", String(reflecting: topology), dumped] {
      #expect(!text.contains("hunter2"))
      #expect(text.contains("***"))
      #expect(text.contains("sasl.username"))
    }
    #expect(topology.redactedDescription.contains("\n  sasl.password: \"***\"\n"))
  }

  @Test func brokersAreTextOrAList() throws {
    func brokers(_ text: String) throws -> String? {
      try parse("kind: repartition\nkafka: {bootstrap.servers: \(text)}").worker.kafka.values[
        "bootstrap.servers"]
    }
    #expect(try brokers("'a:1, b, '") == "a:1, b, ")
    #expect(
      try brokers("[a:1, 'SASL_SSL://b:2', \"[::1]:3\", '::1', 10.0.0.1]")
        == "a:1,SASL_SSL://b:2,[::1]:3,::1,10.0.0.1")
    for wrong in [
      "a:0", "a:b", "a:", ":1", "a b:1", "a/x:1", "kafka://a:1", "[::1:3", "u:p@a:1", "a:1:2", ",",
    ] {
      #expect(throws: TopologyError.self, "\(wrong)") { try brokers("'\(wrong)'") }
    }
  }

  /// Checking a stranger's file must not open files of this host.
  @Test func filesCanBeLeftAlone() throws {
    let text =
      "kind: tail-sampling\ngroup: ${file:/no/such}\nkafka: {client.id: 'a${file:/etc/hostname}$$', "
      + "linger.ms: '${file:/no/such}', sasl.password: '${file:/no/such}', "
      + "plugin.library.paths: /no/such, ssl.ca.location: /no/such}\n"
    let topology = try Topology.parse(text, fileName: "t.yaml", environment: [:], files: .leave)
    let shown = topology.redactedDescription(files: .leave)
    #expect(shown.contains("group: \"${file:/no/such}\"\n"))
    #expect(shown.contains("client.id: \"a${file:/etc/hostname}$$\"\n"))
    #expect(shown.contains("sasl.password: \"***\"\n"))
    let again = try Topology.parse(shown, fileName: "t.yaml", environment: [:], files: .leave)
    #expect(again.redactedDescription(files: .leave) == shown)
    #expect(throws: TopologyError.self) { try Topology.parse(text, fileName: "t.yaml", environment: [:]) }
    for text in ["lanes: ${file:/no/such}\n", "delivery: ${file:/no/such}\n"] {
      let error = #expect(throws: TopologyError.self) {
        try Topology.parse("kind: repartition\n" + text, fileName: "t.yaml", environment: [:], files: .leave)
      }
      #expect(
        error?.description.hasSuffix("comes from a file that is not read; check it with --resolve") == true)
    }
    #expect(throws: TopologyError.self, "a path is absolute, read or not") {
      try Topology.parse(
        "kind: repartition\ngroup: ${file:x}\n", fileName: "t", environment: [:], files: .leave)
    }
  }

  @Test func unreadableFiles() throws {
    func describe(_ path: String) -> String? {
      let error = #expect(throws: TopologyError.self) { try Topology.load(file: path, environment: [:]) }
      return error?.description
    }
    #expect(describe("missing/t.yaml")?.hasPrefix("missing/t.yaml: the file can't be read: ") == true)
    #expect(describe(repository.path)?.hasPrefix("\(repository.path): the file can't be read: ") == true)
    let directory = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
    try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: directory) }
    let file = directory.appendingPathComponent("t.yaml")
    try Data("kind: repartition\ngroup: \u{e9}\n\n".utf8).write(to: file)
    #expect(try Topology.load(file: file.path, environment: [:]).worker.group == "é")
    try (Data("kind: repartition\ngroup: ".utf8) + Data([0xE9, 0x0A])).write(to: file)
    #expect(describe(file.path) == "\(file.path):2:1: this line is not valid UTF-8")
    try Data(repeating: UInt8(ascii: "#"), count: 300_000).write(to: file)
    #expect(describe(file.path) == "\(file.path):1:1: the file is longer than 256KiB")
  }
}

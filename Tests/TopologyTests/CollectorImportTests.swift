// Importing a Collector's configuration: mappings, notes, variables, secrets, several processors.

import Expressions
import Testing

@testable import Sampling
@testable import Topology

private func imported(_ yaml: String, _ environment: [String: String] = [:]) throws -> CollectorImport {
  try CollectorImport.parse(yaml, fileName: "c.yaml", environment: environment)
}

private func topology(_ yaml: String, _ environment: [String: String] = [:]) throws -> TailSamplingTopology {
  try #require(try imported(yaml, environment).topologies.first).topology
}

/// The written topology, read back with these values of its variables.
private func reread(_ text: String, _ environment: [String: String]) throws -> TailSamplingTopology {
  let topology = try Topology.parse(text, fileName: "t.yaml", environment: environment)
  guard case .tailSampling(let found) = topology else { fatalError("another kind") }
  return found
}

private let always = "policies: [{name: all, type: always_sample}]"

/// A gateway that reads spans from Kafka.
let collectorGateway = #"""
  receivers:
    otlp: {protocols: {grpc: }}
    kafka/spans:
      brokers: ["${env:KAFKA_A}", "b:9092"]
      group_id: otel
      client_id: gw
      initial_offset: earliest
      traces: {topics: ["${env:TOPIC:-otlp_spans}"], encoding: otlp_json}
      auth:
        sasl: {username: "${KAFKA_USER}", password: hunter2, mechanism: SCRAM-SHA-512}
      tls: {ca_file: /etc/ca.pem, insecure_skip_verify: true}
  processors:
    batch:
    tail_sampling:
      decision_wait: 1m30s
      decision_wait_after_root_received: 500ms
      sample_on_first_match: true
      num_traces: 100
      policies:
        - {name: slow, type: latency, latency: {threshold_ms: 5000}}
        - name: "${env:SERVICE}-only"
          type: string_attribute
          string_attribute: {key: service.name, values: ["${env:SERVICE}", a$b]}
        - name: cond
          type: ottl_condition
          ottl_condition: {error_mode: ignore, span: ['attributes["a"] == "x-${env:SERVICE}"']}
  exporters:
    kafka/kept: {brokers: [c:9092], topic: kept}
  service:
    pipelines:
      traces:
        receivers: [kafka/spans, otlp]
        processors: [batch, tail_sampling]
        exporters: [kafka/kept]
      metrics: {receivers: [otlp], exporters: [kafka/kept]}
  """#

@Suite struct CollectorImportTests {
  @Test func aGateway() throws {
    let result = try #require(try imported(collectorGateway).topologies.first)
    #expect(result.processor == "tail_sampling")
    let again = try reread(
      result.text,
      ["KAFKA_A": "a:1", "KAFKA_USER": "me", "KAFKA_PASSWORD": "p$w", "SERVICE": "cart"])
    #expect(
      again.worker.kafka.values == [
        "bootstrap.servers": "a:1,b:9092", "client.id": "gw", "auto.offset.reset": "earliest",
        "security.protocol": "sasl_ssl", "sasl.mechanism": "SCRAM-SHA-512", "sasl.username": "me",
        "sasl.password": "p$w", "ssl.ca.location": "/etc/ca.pem",
        "enable.ssl.certificate.verification": "false",
      ])
    #expect(again.topics.spans == SpanSource(name: "otlp_spans", encoding: .otlpJSON))
    #expect(again.topics.sampled == "kept")
    #expect(again.windows.decisionWait == .seconds(90))
    #expect(again.windows.decisionWaitAfterRoot == .milliseconds(500))
    #expect(again.sampleOnFirstMatch)
    #expect(again.worker.group == TailSamplingTopology.groupDefault)
    let condition = try OTTLCondition(#"attributes["a"] == "x-cart""#, context: .span)
    #expect(
      again.policies == [
        PolicySpecification(
          name: "slow", rule: .latency(threshold: .seconds(5), upperThreshold: nil, measure: .spans)),
        PolicySpecification(
          name: "cart-only",
          rule: .stringAttribute(
            key: "service.name", values: ["cart", "a$b"], areRegularExpressions: false, invertMatch: false)),
        PolicySpecification(
          name: "cond", rule: .ottlCondition(spans: [condition], events: [], errorMode: .ignore)),
      ])
    #expect(
      try reread(
        result.text,
        [
          "KAFKA_A": "a", "KAFKA_USER": "u", "KAFKA_PASSWORD": "p", "SERVICE": "s",
          "TOPIC": "other",
        ]
      ).topics.spans.name == "other")
    #expect(!result.text.contains("hunter2"))
  }

  /// Each note has its line and key, and states what replaces the setting.
  @Test func notes() throws {
    let lines = try imported(collectorGateway).noteLines
    for expected in [
      "c.yaml:5:receivers.kafka/spans.group_id: not carried over: Tailrace has its own group",
      "c.yaml:10:receivers.kafka/spans.auth.sasl.password: secrets are not copied: set the environment",
      "c.yaml:18:processors.tail_sampling.num_traces: not carried over: limits.memory bounds",
      "c.yaml:28:exporters.kafka/kept: it uses the connection of receivers.kafka/spans",
      "c.yaml:32:service.pipelines.traces.receivers[1]: 'otlp' stays in a Collector",
      "c.yaml:33:service.pipelines.traces.processors[0]: 'batch' stays in a Collector",
    ] { #expect(lines.contains { $0.hasPrefix(expected) }, "\(expected)\n\(lines.joined(separator: "\n"))") }
    #expect(lines.count == 6, "\(lines.joined(separator: "\n"))")
  }

  @Test(arguments: [
    "num_traces: 5", "expected_new_traces_per_sec: 5", "decision_cache: {sampled_cache_size: 9}",
    "block_on_overflow: true", "drop_pending_traces_on_shutdown: true", "sampling_strategy: span-ingest",
    "num_shards: 4", "tail_storage: x", "wibble: 1", "decision_wait: soon", "decision_wait: 1ms",
    "maximum_trace_size_bytes: 1000000",
  ])
  func settingsThatAreNotCarriedOver(setting: String) throws {
    let yaml = "processors:\n  tail_sampling:\n    \(setting)\n    \(always)\n"
    let key = setting.prefix { $0 != ":" }
    let lines = try imported(yaml).noteLines
    #expect(lines.contains { $0.hasPrefix("c.yaml:3:processors.tail_sampling.\(key): ") }, "\(lines)")
    #expect(lines.contains { $0.contains("unknown to this version") } == (key == "wibble"))
    let limits = try topology(yaml).limits
    #expect(limits.bytesPerTrace == (key == "maximum_trace_size_bytes" ? 1_000_000 : 16 << 20))
  }

  @Test func boundsAndNames() throws {
    let yaml = """
      processors:
        tail_sampling:
          policies:
            - {name: n, type: numeric_attribute, numeric_attribute: {key: k, min_value: 0, max_value: 9}}
      receivers: {kafka: {brokers: "", traces: {topic: decisions}}}
      service: {pipelines: {traces: {receivers: [kafka], processors: [tail_sampling]}}}
      """
    let found = try topology(yaml)
    #expect(
      found.policies.map(\.rule)
        == [.numericAttribute(key: "k", minValue: nil, maxValue: 9, invertMatch: false)])
    #expect(found.topics.spans.name == "spans")
    let lines = try imported(yaml).noteLines
    #expect(lines.contains { $0.hasPrefix("c.yaml:4:") && $0.contains("a bound of 0 means none") })
    #expect(lines.contains { $0.hasPrefix("c.yaml:5:receivers.kafka: its topic is not carried over") })
  }

  /// Go's durations, and the wait after a root.
  @Test func durations() throws {
    func windows(_ settings: String) throws -> TailSamplingTopology.Windows {
      try topology("processors: {tail_sampling: {\(settings), \(always)}}").windows
    }
    #expect(try windows("decision_wait: 1.5s").decisionWait == .milliseconds(1500))
    #expect(try windows("decision_wait: 10000000000").decisionWait == .seconds(10))
    #expect(try windows("decision_wait: 0.5m").decisionWait == .seconds(30))
    #expect(try windows("decision_wait: 1h").lateWindow == .seconds(3600))
    #expect(try windows("decision_wait: 7s").decisionWaitAfterRoot == .seconds(7))
    #expect(
      try windows("decision_wait: 7s, decision_wait_after_root_received: 0s").decisionWaitAfterRoot
        == .seconds(7))
    #expect(
      try windows("decision_wait_after_root_received: 2s, decision_wait: 7s").decisionWaitAfterRoot
        == .seconds(2))
  }

  /// A policy that can't be read is left out with its reason; the others stay.
  @Test func policiesThatAreLeftOut() throws {
    let yaml = #"""
      processors:
        tail_sampling:
          policies:
            - {name: all, type: always_sample}
            - {name: odd, type: my_extension}
            - {name: nested, type: ottl_condition, ottl_condition: {span: ['attributes["a"] == [1]']}}
            - {name: more, type: latency, latency: {threshold_ms: 1, wibble: 2}}
      """#
    let result = try imported(yaml)
    #expect(result.topologies[0].topology.policies.map(\.name) == ["all"])
    let lines = result.noteLines
    for line in 5...7 {
      let path = "processors.tail_sampling.policies[\(line - 4)]"
      #expect(lines.contains { $0.hasPrefix("c.yaml:\(line):\(path): this policy is left out") }, "\(lines)")
    }
    let condition = "c.yaml:6:processors.tail_sampling.policies[2].ottl_condition.span[0]: "
    #expect(lines.contains { $0.hasPrefix(condition) && $0.contains("1:20: found '['") })
  }

  /// The receiver's names of encodings are ours.
  @Test(arguments: SpanEncoding.allCases)
  func encodingsKeepTheirNames(_ encoding: SpanEncoding) throws {
    func yaml(_ name: String) -> String {
      let pipeline = "{receivers: [kafka], processors: [tail_sampling], exporters: [otlp]}"
      return """
        receivers: {kafka: {traces: {topic: t, encoding: \(name)}}}
        processors: {tail_sampling: {\(always)}}
        exporters: {otlp: {}}
        service: {pipelines: {traces: \(pipeline)}}
        """
    }
    #expect(try topology(yaml(encoding.rawValue)).topics.spans == SpanSource(name: "t", encoding: encoding))
    #expect(
      try imported(yaml("zipkin_thrift")).noteLines.contains { $0.contains("can't read 'zipkin_thrift'") })
  }

  /// Where a number is expected, a variable's value is used, with a note.
  @Test func variablesOfNumbers() throws {
    let policy = "{name: p, type: probabilistic, probabilistic: {sampling_percentage: \"${env:PCT:-10}\"}}"
    let yaml = "processors: {tail_sampling: {policies: [\(policy), {name: all, type: always_sample}]}}"
    #expect(try topology(yaml).policies.first?.rule == .probabilistic(percentage: 10))
    #expect(try topology(yaml, ["PCT": "3"]).policies.first?.rule == .probabilistic(percentage: 3))
    #expect(try imported(yaml).noteLines.contains { $0.contains("PCT is replaced by its current value") })
    #expect(try topology(yaml, ["PCT": "lots"]).policies.map(\.name) == ["all"])
  }

  @Test func severalProcessors() throws {
    let yaml = "processors:\n  tail_sampling: {\(always)}\n  tail_sampling/b c: {\(always)}\n  batch: {}\n"
    let result = try imported(yaml)
    #expect(result.topologies.map(\.processor) == ["tail_sampling", "tail_sampling/b c"])
    #expect(result.topologies.map(\.topology.worker.group) == ["tailrace-default", "tailrace-b-c"])
    #expect(result.topologies[1].topology.topics.decisions.name == "decisions-b-c")
  }

  /// A Collector that publishes spans: its exporter's topic is the one to read.
  @Test func aPublisher() throws {
    let yaml = """
      processors: {tail_sampling: {\(always)}}
      exporters: {kafka: {brokers: k:9092, topic: raw, auth: {plain_text: {username: u, password: "${P}"}}}}
      service:
        pipelines:
          traces/in: {receivers: [otlp], exporters: [kafka]}
          traces/out: {receivers: [x], processors: [tail_sampling], exporters: [y]}
      """
    let result = try imported(yaml)
    let found = try reread(result.topologies[0].text, ["P": "secret"])
    #expect(found.topics.spans.name == "raw" && found.topics.sampled == "sampled")
    #expect(found.worker.kafka.values["sasl.password"] == "secret")
    #expect(found.worker.kafka.values["security.protocol"] == "sasl_plaintext")
    #expect(
      result.noteLines.contains { $0.hasPrefix("c.yaml:2:exporters.kafka: set partition_traces_by_id") })
  }

  /// Parts of a configuration, and files that embed one.
  @Test(arguments: [
    ("tail_sampling:\n  \(always)\n", "tail_sampling", "tail_sampling"),
    ("tail_sampling/a:\n  decision_wait: 7s\n  \(always)\n", "tail_sampling/a", "tail_sampling/a"),
    ("decision_wait: 7s\n\(always)\n", "tail_sampling", ""), ("\(always)\n", "tail_sampling", ""),
    ("- {name: all, type: always_sample}\n", "tail_sampling", ""),
    ("tail_sampling: [{name: all, type: always_sample}]\n", "tail_sampling", "tail_sampling"),
    ("- tail_sampling: {\(always)}\n", "tail_sampling", "[0].tail_sampling"),
    (
      "processors:\n  - batch:\n  - tail_sampling: {\(always)}\n", "tail_sampling",
      "processors[1].tail_sampling"
    ),
    (
      "processors: {tail_sampling: [{name: all, type: always_sample}]}\n", "tail_sampling",
      "processors.tail_sampling"
    ),
    (
      "mode: deployment\nconfig:\n  processors: {tail_sampling: {\(always)}}\n", "tail_sampling",
      "config.processors.tail_sampling"
    ),
    (
      "kind: OpenTelemetryCollector\nspec:\n  config:\n    processors: {tail_sampling: {\(always)}}\n",
      "tail_sampling", "spec.config.processors.tail_sampling"
    ),
  ])
  func parts(yaml: String, processor: String, path: String) throws {
    let result = try imported(yaml)
    #expect(result.topologies.map(\.processor) == [processor])
    #expect(result.topologies.map(\.path) == [path])
    #expect(result.policiesLeftOut == 0)
    let found = try #require(result.topologies.first).topology
    #expect(found.policies == [PolicySpecification(name: "all", rule: .alwaysSample)])
    #expect(found.worker.group == TailSamplingTopology.groupDefault)
    #expect(found.windows.decisionWait == (yaml.contains("7s") ? .seconds(7) : .seconds(30)))
    #expect(result.noteLines.allSatisfy { $0.contains("decision_wait_after_root") }, "\(result.noteLines)")
  }

  @Test func severalProcessorsInAPart() throws {
    let result = try imported("tail_sampling: {\(always)}\ntail_sampling/b: {\(always)}\n")
    #expect(result.topologies.map(\.topology.worker.group) == ["tailrace-default", "tailrace-b"])
  }

  /// If no policy can be carried over, every reason is reported; the count determines the exit code.
  @Test func noPolicyCanBeCarriedOver() throws {
    let yaml = #"""
      tail_sampling:
        policies:
          - {name: a, type: my_extension}
          - {name: b, type: latency, latency: {threshold_ms: soon}}
          - {name: c, type: ottl_condition, ottl_condition: {span: ['no such thing']}}
      """#
    let result = try imported(yaml)
    #expect(result.topologies.isEmpty && result.policiesLeftOut == 3)
    for expected in [
      "c.yaml:1:tail_sampling: none of its policies can be carried over",
      "c.yaml:3:tail_sampling.policies[0].type: policy type 'my_extension' is not supported",
      "c.yaml:3:tail_sampling.policies[0]: this policy is left out",
      "c.yaml:4:tail_sampling.policies[1].latency.threshold_ms: must be a whole number",
      "c.yaml:5:tail_sampling.policies[2].ottl_condition.span[0]: 'no such thing' is not a valid condition",
    ] {
      let lines = result.noteLines
      #expect(lines.contains { $0.hasPrefix(expected) }, "\(expected)\n\(lines.joined(separator: "\n"))")
    }
    let some = try imported(yaml + "\n    - {name: d, type: always_sample}")
    #expect(some.topologies.count == 1 && some.policiesLeftOut == 3)
  }

  /// More than a topology can have.
  @Test func tooManyPolicies() throws {
    let list = (0..<70).map { "{name: p\($0), type: always_sample}" }.joined(separator: ", ")
    let result = try imported("tail_sampling: {policies: [\(list)]}\n")
    #expect(result.topologies.first?.topology.policies.count == 64 && result.policiesLeftOut == 6)
  }

  /// Settings that mean something other than the file's author may think.
  @Test(arguments: [
    (
      "{name: p, type: string_attribute, string_attribute: {key: k, values: [v], invert_match: true}}", "",
      "invert_match samples what does not match"
    ),
    (
      "{name: p, type: boolean_attribute, boolean_attribute: {key: k, value: true, invert_match: true}}", "",
      "set invert_decisions: true"
    ),
    (
      "{name: p, type: ottl_condition, ottl_condition: {span: ['name == \"a\"']}}", ".ottl_condition",
      "error_mode is not set and defaults to propagate"
    ),
    (
      "{name: p, type: and, and: {and_sub_policy: [{name: q, type: ottl_condition, "
        + "ottl_condition: {spanevent: ['name == \"a\"']}}]}}",
      ".and.and_sub_policy[0].ottl_condition", "error_mode is not set"
    ),
  ])
  func notesOfPolicies(policy: String, path: String, message: String) throws {
    let result = try imported("tail_sampling:\n  policies:\n    - \(policy)\n")
    #expect(result.policiesLeftOut == 0)
    let prefix = "c.yaml:3:tail_sampling.policies[0]\(path): "
    #expect(
      result.noteLines.contains { $0.hasPrefix(prefix) && $0.contains(message) }, "\(result.noteLines)")
  }

  @Test func invertedPoliciesAndErrorModes() throws {
    let found = try topology(
      """
      tail_sampling:
        policies:
          - {name: p, type: numeric_attribute, numeric_attribute: {key: k, min_value: 1, invert_match: true}}
          - {name: q, type: ottl_condition, ottl_condition: {span: ['name == "a"']}}
      """)
    #expect(!found.invertDecisions)
    guard case .ottlCondition(_, _, .propagate) = found.policies[1].rule else {
      Issue.record("\(found.policies[1])")
      return
    }
  }

  /// As in Collectors since July 2026.
  @Test func aShareThatIsMissing() throws {
    let parts = "[{name: a, type: always_sample}, {name: b, type: always_sample}]"
    let composite =
      "{max_total_spans_per_second: 10, composite_sub_policy: \(parts), "
      + "rate_allocation: [{policy: a, percent: 30}]}"
    let found = try topology("- {name: c, type: composite, composite: \(composite)}\n")
    guard case .composite(let core)? = SamplerConfiguration(found).policies.first?.rule else {
      Issue.record("no composite")
      return
    }
    #expect(core.parts.map(\.spansPerSecond) == [3, 5])
  }

  @Test func extensionsStay() throws {
    let yaml = """
      extensions: {health_check: }
      processors: {tail_sampling: {\(always), tail_storage: pebble, sampling_strategy: span-ingest}}
      service: {extensions: [health_check]}
      """
    let lines = try imported(yaml).noteLines
    #expect(
      lines.contains { $0.hasPrefix("c.yaml:1:extensions: they stay in a Collector") }, "\(lines)")
    #expect(
      lines.contains { $0.hasPrefix("c.yaml:2:processors.tail_sampling.tail_storage: not carried over") })
    #expect(
      lines.contains { $0.hasPrefix("c.yaml:2:processors.tail_sampling.sampling_strategy: not carried") })
  }

  /// A Collector takes anything above 100 % as 100 %.
  @Test func moreThan100Percent() throws {
    let policy = "{name: p, type: probabilistic, probabilistic: {sampling_percentage: 250}}"
    #expect(try topology("- \(policy)\n").policies.first?.rule == .probabilistic(percentage: 100))
  }

  /// Using it as a topology file gives an error that says so.
  @Test(arguments: [
    collectorGateway, "tail_sampling: {\(always)}", "tail_sampling/a: {\(always)}", "receivers: {otlp: }",
    "- tail_sampling: {\(always)}", "config: {processors: {batch: }}",
    "apiVersion: opentelemetry.io/v1beta1\nkind: OpenTelemetryCollector\nspec: {config: {processors: {a: }}}",
  ])
  func aCollectorsFileIsNotATopology(yaml: String) {
    let error = #expect(throws: TopologyError.self) {
      try Topology.parse(yaml, fileName: "c.yaml", environment: [:])
    }
    #expect(
      error?.description
        == "c.yaml:1:1: this is a Collector's configuration, not a topology; import it with: "
        + "tailrace check --import-collector c.yaml")
  }

  @Test(arguments: ["kind: tail-sampling\nprocessors: {}\n", "policies: []\n", "- a\n"])
  func otherFilesAreNotTakenForCollectors(yaml: String) {
    let error = #expect(throws: TopologyError.self) {
      try Topology.parse(yaml, fileName: "c.yaml", environment: [:])
    }
    #expect(error?.description.contains("Collector") == false)
  }

  @Test(arguments: [
    ("kind: tail-sampling\n", "c.yaml:1:1: this is not a Collector's configuration"),
    ("- a\n", "c.yaml:1:1: this is not a Collector's configuration"),
    ("a: [\n", "c.yaml:2:1: not valid YAML"),
    ("", "c.yaml:1:1: the file is empty"),
    ("processors: {batch: {}}\n", "c.yaml:1:1: processors has no tail_sampling processor"),
    ("processors: {tail_sampling: }\n", "c.yaml:1:14: processors.tail_sampling has no list of policies"),
    ("tail_sampling: {policies: 1}\n", "c.yaml:1:1: tail_sampling has no list of policies"),
    ("tail_sampling: {policies: []}\n", "c.yaml:1:27: tail_sampling.policies needs at least one item"),
  ])
  func whatIsRefused(yaml: String, message: String) {
    let error = #expect(throws: TopologyError.self) { try imported(yaml) }
    #expect(error?.description.hasPrefix(message) == true, "\(error?.description ?? "")")
  }
}

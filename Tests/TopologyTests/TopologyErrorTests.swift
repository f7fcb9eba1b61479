// Every kind of mistake in a topology file, with its exact line.

import Foundation
import Testing

@testable import Topology

/// A file, the environment, and the lines expected in the error, without the file's name.
struct TopologyMistake: Sendable, CustomTestStringConvertible {
  var yaml: String
  var lines: [String]
  var environment: [String: String] = [:]

  init(_ yaml: String, _ lines: String..., environment: [String: String] = [:]) {
    self.yaml = yaml
    self.lines = lines
    self.environment = environment
  }

  var testDescription: String { lines.joined(separator: " | ") }
}

/// Puts `body` after a valid first line, so it starts on line 2.
private func tail(_ body: String, _ lines: String..., environment: [String: String] = [:]) -> TopologyMistake
{
  var mistake = TopologyMistake("kind: tail-sampling\n" + body, environment: environment)
  mistake.lines = lines
  return mistake
}

private func policy(_ body: String, _ lines: String...) -> TopologyMistake {
  var mistake = TopologyMistake("kind: tail-sampling\npolicies:\n" + body)
  mistake.lines = lines
  return mistake
}

/// Items of a list: policies with a rate limit each.
private func limits(_ name: String, _ count: Int) -> String {
  (1...count).map {
    "- {name: \(name)\($0), type: rate_limiting, rate_limiting: {spans_per_second: \($0)}}\n"
  }.joined()
}

@Suite struct TopologyErrorTests {
  private func check(_ mistake: TopologyMistake) {
    let error = #expect(throws: TopologyError.self) {
      try Topology.parse(mistake.yaml, fileName: "t.yaml", environment: mistake.environment)
    }
    #expect(error?.description == mistake.lines.map { "t.yaml:\($0)" }.joined(separator: "\n"))
  }

  @Test func unreadableFilesGiveTheSystemsReason() throws {
    let directory = FileManager.default.temporaryDirectory.path
    for (path, reason) in [
      (directory, "Is a directory"), ("\(directory)/\(UUID())", "No such file or directory"),
    ] {
      let error = #expect(throws: TopologyError.self) { try Topology.load(file: path, environment: [:]) }
      #expect(error?.description == "\(path): the file can't be read: \(reason)")
    }
  }

  @Test(arguments: [
    TopologyMistake("", "1:1: the file is empty; it needs at least the key 'kind'"),
    TopologyMistake("# nothing\n", "1:1: the file is empty; it needs at least the key 'kind'"),
    TopologyMistake(
      "a: [b\n",
      "2:1: not valid YAML: did not find expected ',' or ']', while parsing a flow "
        + "sequence that starts at 1:4"
    ),
    TopologyMistake("kind: a: b\n", "1:8: not valid YAML: mapping values are not allowed in this context"),
    TopologyMistake("kind: \u{1}\n", "1:7: not valid YAML: control characters are not allowed"),
    TopologyMistake("kind: x\r\nlanes: é\u{1}\n", "2:9: not valid YAML: control characters are not allowed"),
    tail("windows:\n\tlate_window: 5m\n", "3:1: not valid YAML: a tab where only spaces are allowed"),
    tail(
      "windows:\n  late_window: 5m\n  \tdecision_wait: 30s\n",
      "4:3: not valid YAML: a tab where only spaces are allowed"),
    TopologyMistake("kind: *nothing\n", "1:7: not valid YAML: found undefined alias"),
    TopologyMistake("- kind\n", "1:1: the file must be a section of keys and values, found a list"),
    TopologyMistake(
      "tail-sampling\n", "1:1: the file must be a section of keys and values, found a single value"),
    TopologyMistake(
      "kind: tail-sampling\n---\nkind: repartition\n",
      "3:1: a second YAML document begins here; a file holds one topology"),
    tail(
      "lanes: 0\n--- {}\n", "2:8: lanes must be a whole number from 1 to 64, found '0'",
      "3:5: a second YAML document begins here; a file holds one topology"),
    tail("? [a]\n: b\n", "2:3: a key must be plain text"),
    tail("windows: {? [a] : b}\n", "2:13: a key in windows must be plain text"),
    tail("lanes: !!binary 5\n", "2:8: lanes has the tag 'tag:yaml.org,2002:binary'; tags are not allowed"),
    tail("windows: !mine {}\n", "2:10: windows has the tag '!mine'; tags are not allowed"),
    tail(
      "policies: !!set [1]\n",
      "2:11: policies has the tag 'tag:yaml.org,2002:set'; tags are not allowed",
      "2:18: policies[0] must be a section of keys and values, found a single value"),
  ]) func yaml(mistake: TopologyMistake) { check(mistake) }

  @Test(arguments: [
    TopologyMistake("lanes: 1\n", "1:1: the file needs the key 'kind'"),
    TopologyMistake("kind:\n", "1:1: kind has no value; it must be tail-sampling, repartition or export"),
    TopologyMistake(
      "kind: tail-samplign\n",
      "1:7: kind must be tail-sampling, repartition or export, found 'tail-samplign'; did you mean "
        + "'tail-sampling'?"),
    tail(
      "windows:\n  decision_wiat: 30s\n",
      "3:3: unknown key 'decision_wiat' in windows; did you mean 'decision_wait'?"),
    tail("Lanes: 2\n", "2:1: unknown key 'Lanes' at the top level; did you mean 'lanes'?"),
    tail("wibble: 2\n", "2:1: unknown key 'wibble' at the top level"),
    tail("<<: {lanes: 2}\n", "2:1: unknown key '<<' at the top level"),
    tail("${lanes}: 2\n", "2:1: unknown key '${lanes}' at the top level", environment: ["lanes": "lanes"]),
    tail("decision_wait: 10s\n", "2:1: unknown key 'decision_wait' at the top level; it belongs in windows"),
    tail("memory: 1GiB\n", "2:1: unknown key 'memory' at the top level; it belongs in limits"),
    tail(
      "\"a\\nb\\e[31m\": 1\n", "2:1: unknown key 'a\\u{a}b\\u{1b}[31m' at the top level"),
    tail(
      "topics: {raw_spans: {name: x}}\n",
      "2:10: unknown key 'raw_spans' in topics; it is only valid with 'kind: repartition'"),
    tail("console: {prot: 1}\n", "2:11: unknown key 'prot' in console; did you mean 'port'?"),
    tail("log: {format: jsn}\n", "2:15: log.format must be text or json, found 'jsn'; did you mean 'json'?"),
    tail(
      "console: {address: localhost, port: 65536}\n",
      "2:20: console.address must be an IP address such as 127.0.0.1 or ::, found 'localhost'",
      "2:37: console.port must be a whole number from 0 to 65535, found '65536'"),
    tail("topics: {stats: {nam: x}}\n", "2:18: unknown key 'nam' in topics.stats; did you mean 'name'?"),
    tail(
      "topics: {sampled: {annotate: al}}\n",
      "2:30: topics.sampled.annotate must be none, root or all, found 'al'; did you mean 'all'?"),
    TopologyMistake(
      "kind: repartition\nwindows: {}\npolicies: []\n",
      "2:1: unknown key 'windows' at the top level; it is only valid with 'kind: tail-sampling'",
      "3:1: unknown key 'policies' at the top level; it is only valid with 'kind: tail-sampling'"),
    TopologyMistake(
      "kind: repartition\ntopics:\n  spans: {encoding: otlp_proto}\n  sampled: {name: "
        + "x}\nlimits:\n  memory: 1GiB\n",
      "3:11: unknown key 'encoding' in topics.spans; spans are always written as otlp_proto",
      "4:3: unknown key 'sampled' in topics; it is only valid with 'kind: tail-sampling'",
      "6:3: unknown key 'memory' in limits; it is only valid with 'kind: tail-sampling'"),
    tail("lanes: 1\nlanes: 2\n", "3:1: duplicate key 'lanes', first given on line 2"),
    tail(
      "\"lanes\": 1\nlanes: 2\n'lanes': 3\n", "3:1: duplicate key 'lanes', first given on line 2",
      "4:1: duplicate key 'lanes', first given on line 2"),
    tail(
      "windows: {late_window: 1h, late_window: 2h}\nlanes: 0\n",
      "2:28: duplicate key 'late_window' in windows, first given on line 2",
      "3:8: lanes must be a whole number from 1 to 64, found '0'"),
    tail(
      "kafka: {client.id: a, \"client.id\": b}\n",
      "2:23: duplicate key 'client.id' in kafka, first given on line 2"),
    tail("x: {a: 1, a: 2}\n", "2:1: unknown key 'x' at the top level", "2:5: duplicate key 'a'"),
    tail("x: {'': 1, '': 2}\nlanes: 0\n", "2:5: duplicate key ''"),
    tail(
      "kafka: {a: 1, a: 2}\nlanes: [\n", "2:9: duplicate key 'a'",
      "4:1: not valid YAML: did not find expected node content, while parsing a flow "
        + "node that starts at 4:1"),
  ]) func keys(mistake: TopologyMistake) { check(mistake) }

  @Test(arguments: [
    tail("group: ''\n", "2:8: group must be a consumer group id, found the quoted string ''"),
    tail("group: [a]\n", "2:8: group must be a consumer group id, found a list"),
    tail("lanes:\n", "2:1: lanes has no value; it must be a whole number from 1 to 64"),
    tail("lanes: ~\n", "2:1: lanes has no value; it must be a whole number from 1 to 64"),
    tail("lanes: 65\n", "2:8: lanes must be a whole number from 1 to 64, found '65'"),
    tail("lanes: two\n", "2:8: lanes must be a whole number from 1 to 64, found 'two'"),
    tail("lanes: 1.5\n", "2:8: lanes must be a whole number from 1 to 64, found '1.5'"),
    tail("lanes: 010\n", "2:8: lanes must be a whole number from 1 to 64, found '010'"),
    tail(
      "lanes: 99999999999999999999\n",
      "2:8: lanes must be a whole number from 1 to 64, found '99999999999999999999'"),
    tail("lanes: \"2\"\n", "2:8: lanes must be a whole number from 1 to 64, found the quoted string '2'"),
    tail("lanes: {a: 1}\n", "2:8: lanes must be a whole number from 1 to 64, found a section"),
    tail(
      "delivery: exactly-once\n",
      "2:11: delivery must be at_least_once or exactly_once, found 'exactly-once'; "
        + "did you mean 'exactly_once'?"),
    tail(
      "delivery: at_leastonce\n",
      "2:11: delivery must be at_least_once or exactly_once, found 'at_leastonce'; "
        + "did you mean 'at_least_once'?"),
    tail(
      "commit_interval: 10\n",
      "2:18: commit_interval must be a duration from 50ms to 1m, such as 500ms, 30s or 1m30s, found '10'"),
    tail(
      "commit_interval: 49ms\n",
      "2:18: commit_interval must be a duration from 50ms to 1m, such as 500ms, 30s or 1m30s, found '49ms'"),
    tail("kafka:\n", "2:1: kafka has no value; it must be a section of keys and values"),
    tail("kafka: a=b\n", "2:8: kafka must be a section of keys and values, found a single value"),
    tail(
      "kafka:\n  bootstrap:\n    servers: a\n",
      "3:3: unknown property 'bootstrap' in kafka; write 'bootstrap.servers'"),
    tail(
      "kafka: {linger.ms: }\n", "2:9: kafka.linger.ms has no value; it must be a number from 0 to 900000"),
    tail(
      "kafka: {ssl.keystore.locatoin: x, no.such.thing: y, error_cb: z}\n",
      "2:9: unknown property 'ssl.keystore.locatoin' in kafka; did you mean 'ssl.keystore.location'?",
      "2:35: unknown property 'no.such.thing' in kafka", "2:53: unknown property 'error_cb' in kafka"),
    tail(
      "kafka: {security.protocol: sals_ssl, linger.ms: 900001, compression.type: gzipp, acks: some}\n",
      "2:28: kafka.security.protocol must be plaintext, ssl, sasl_plaintext or sasl_ssl, found 'sals_ssl'; "
        + "did you mean 'sasl_ssl'?",
      "2:49: kafka.linger.ms must be a number from 0 to 900000, found '900001'",
      "2:75: kafka.compression.type must be none, gzip, snappy, lz4 or zstd, found 'gzipp'; "
        + "did you mean 'gzip'?",
      "2:88: kafka.acks must be a number from -1 to 1000, found 'some'"),
    tail(
      "kafka: {enable.idempotence: yep, debug: 'brokr'}\n",
      "2:29: kafka.enable.idempotence must be true or false, found 'yep'",
      "2:41: kafka.debug must be generic, broker, topic, metadata, feature, queue, msg, protocol, cgrp, "
        + "security, fetch, interceptor, plugin, consumer, admin, eos, mock, assignor, conf or all, "
        + "found 'brokr'; did you mean 'broker'?"),
    tail(
      "kafka: {linger.ms: '${NO_SUCH_VARIABLE:-soon}'}\n",
      "2:20: kafka.linger.ms must be a number from 0 to 900000, found '${NO_SUCH_VARIABLE:-soon}'"),
    tail("kafka: {group.id: x}\n", "2:9: kafka.group.id can't be set; use the key 'group'"),
    tail(
      "kafka: {enable.auto.commit: true}\n",
      "2:9: kafka.enable.auto.commit can't be set; Tailrace commits offsets itself"),
    tail(
      "kafka: {bootstrap.servers: ''}\n",
      "2:28: kafka.bootstrap.servers must be a list of brokers such as host1:9092,host2:9092, found ''"),
    tail(
      "kafka: {bootstrap.servers: 'http://broker:9092'}\n",
      "2:28: kafka.bootstrap.servers must be a list of brokers such as host1:9092,host2:9092, "
        + "found 'http://broker:9092'; a broker is host:port, without a scheme such as http://"),
    tail(
      "kafka:\n  metadata.broker.list:\n    - a:9092\n    - b:99999\n    - https://u:pw@c/x\n",
      "5:7: kafka.metadata.broker.list[1] must be a list of brokers such as host1:9092,host2:9092, "
        + "found 'b:99999'",
      "6:7: kafka.metadata.broker.list[2] must be a list of brokers such as host1:9092,host2:9092, "
        + "found 'https://***@c/x'; a broker is host:port, without a scheme such as http://"),
    tail(
      "kafka: {bootstrap.servers: []}\n", "2:28: kafka.bootstrap.servers needs at least one item"),
    tail(
      "kafka: {sasl.mechanism: [PLAIN]}\n",
      "2:25: kafka.sasl.mechanism must be a single value, found a list"),
  ]) func worker(mistake: TopologyMistake) { check(mistake) }

  @Test(arguments: [
    tail("topics: {create: yes}\n", "2:18: topics.create must be true or false, found 'yes'"),
    tail(
      "topics: {create: 'true'}\n",
      "2:18: topics.create must be true or false, found the quoted string 'true'"),
    tail(
      "topics: {partitions: 0}\n",
      "2:22: topics.partitions must be a whole number from 1 to 10000, found '0'"),
    tail(
      "topics: {replication_factor: 0}\n",
      "2:30: topics.replication_factor must be a whole number from 1 to 32767, "
        + "or -1 for the broker's default, found '0'"),
    tail(
      "topics: {spans: spans}\n",
      "2:17: topics.spans must be a section of keys and values, found a single value"),
    tail(
      "topics: {spans: {name: a b}}\n",
      "2:24: topics.spans.name must be a topic name of 1 to 249 characters: a-z, "
        + "A-Z, 0-9, '.', '_' and '-', "
        + "found 'a b'"),
    tail(
      "topics: {spans: {name: ..}}\n",
      "2:24: topics.spans.name must be a topic name of 1 to 249 characters: a-z, "
        + "A-Z, 0-9, '.', '_' and '-', "
        + "found '..'"),
    tail(
      "topics: {spans: {encoding: otlp_jsn}}\n",
      "2:28: topics.spans.encoding must be otlp_proto, otlp_json, jaeger_proto, jaeger_json, zipkin_json or "
        + "zipkin_proto, found 'otlp_jsn'; did you mean 'otlp_json'?"
    ),
    tail(
      "topics: {logs: {encoding: zipkin_json}}\n",
      "2:27: topics.logs.encoding must be otlp_proto or otlp_json, found 'zipkin_json'"),
    tail(
      "topics: {spans: {compression: gzip}}\n",
      "2:31: topics.spans.compression must be auto, none or snappy, found 'gzip'"),
    tail(
      "topics: {logs: {compression: none}}\n",
      "2:17: unknown key 'compression' in topics.logs"),
    tail(
      "topics: {decisions: {encoding: protobuf}}\n",
      "2:32: topics.decisions.encoding 'protobuf' is not supported yet"),
    tail(
      "topics: {decisions: {dropped: no}}\n",
      "2:31: topics.decisions.dropped must be ledger, compact, full or none, found 'no'"),
    tail(
      "topics: {spans: {name: x}, sampled: {name: x}}\n",
      "2:44: topics.spans.name and topics.sampled.name are the same topic, 'x'"),
    tail(
      "topics: {spans: {name: sampled}}\n",
      "2:24: topics.spans.name and topics.sampled.name are the same topic, 'sampled'"),
    TopologyMistake(
      "kind: repartition\ntopics: {raw_spans: {name: spans}}\n",
      "2:28: topics.raw_spans.name and topics.spans.name are the same topic, 'spans'"),
  ]) func topics(mistake: TopologyMistake) { check(mistake) }

  @Test(arguments: [
    tail(
      "windows: {decision_wait: 30}\n",
      "2:26: windows.decision_wait must be a duration from 100ms to 24h, such as "
        + "500ms, 30s or 1m30s, found '30'"
    ),
    tail(
      "windows: {decision_wait: 30s1m}\n",
      "2:26: windows.decision_wait must be a duration from 100ms to 24h, such as 500ms, 30s or 1m30s, "
        + "found '30s1m'"),
    tail(
      "windows:\n  decision_wait: 10s\n  decision_wait_after_root: 11s\n",
      "4:29: windows.decision_wait_after_root must not be longer than decision_wait"),
    tail(
      "windows: {late_window: 29s}\n",
      "2:24: windows.late_window must not be shorter than decision_wait: "
        + "recovery replays that far back and needs the verdicts"),
    tail(
      "windows: {late_window: 29s, buffer: disk}\n",
      "2:24: windows.late_window must not be shorter than decision_wait: "
        + "recovery replays that far back and needs the verdicts",
      "2:37: windows.buffer must be memory or log, found 'disk'"),
    tail(
      "windows: {decision_wait: 0s, decision_wait_after_root: 31s}\n",
      "2:26: windows.decision_wait must be a duration from 100ms to 24h, such as "
        + "500ms, 30s or 1m30s, found '0s'"
    ),
    tail(
      "limits: {spans_per_trace: 0}\n",
      "2:27: limits.spans_per_trace must be a whole number from 1 to 10000000, found '0'"),
    tail(
      "limits: {memory: 2Gi}\n",
      "2:18: limits.memory must be a size from 64MiB to 1TiB, such as 64MiB, 2GB or a "
        + "number of bytes, found '2Gi'"
    ),
    tail(
      "limits: {record_bytes: 1001MB}\n",
      "2:24: limits.record_bytes must be a size from 1KiB to 1GB, such as 64MiB, 2GB or a number of bytes, "
        + "found '1001MB'"),
    tail(
      "limits: {memory: 64MiB, bytes_per_trace: 65MiB, record_bytes: 65MiB}\n",
      "2:42: limits.bytes_per_trace must not be larger than limits.memory",
      "2:63: limits.record_bytes must not be larger than limits.memory"),
  ]) func windowsAndLimits(mistake: TopologyMistake) { check(mistake) }

  @Test(arguments: [
    tail("policies:\n", "2:1: policies has no value; it must be a list of policies"),
    tail("policies: []\n", "2:11: policies needs at least one item"),
    tail("policies: {}\n", "2:11: policies must be a list of policies, found a section"),
    policy("- always\n", "3:3: policies[0] must be a section of keys and values, found a single value"),
    policy("- {}\n", "3:3: policies[0] needs the key 'name'", "3:3: policies[0] needs the key 'type'"),
    policy("- {name: '', type: always_sample}\n", "3:10: policies[0].name must not be empty"),
    policy(
      "- {name: a, type: always_sample}\n- {name: a, type: always_sample}\n",
      "4:10: policies[1].name 'a' is already used by the policy on line 3"),
    tail("shadow:\n", "2:1: shadow has no value; it must be a list of policies"),
    tail("shadow: [{name: s}]\n", "2:10: shadow[0] needs the key 'type'"),
    tail(
      "shadow: [{name: s, type: baseline}]\n",
      "2:26: unknown policy type 'baseline'; it must be always_sample, latency, "
        + "numeric_attribute, probabilistic, status_code, string_attribute, boolean_attribute, trace_state, "
        + "trace_flags, rate_limiting, bytes_limiting, span_count, ottl_condition, and, not, drop or "
        + "composite"),
    policy(
      "- {name: a, type: always_sample}\nshadow: [{name: a, type: trace_flags}]\n",
      "4:17: shadow[0].name 'a' is already used by the policy on line 3"),
    tail(
      "shadow: [{name: slow, type: trace_flags}]\n",
      "2:1: the policy name 'slow' is already used by a policy that decides: rename the shadow policy"),
    tail(
      "baseline: {}\nshadow: [{name: baseline, type: trace_flags}]\n",
      "3:1: the policy name 'baseline' is already used by a policy that decides: rename the shadow policy"),
    policy(
      limits("a", 1) + "shadow:\n" + limits("s", 65),
      "4:1: shadow and policies together need more than 64 rate limits, policies of composites included",
      "69:3: shadow has 65 items; at most 64 are allowed"),
    policy(
      "- {name: a, type: latncy}\n", "3:19: unknown policy type 'latncy'; did you mean 'latency'?"),
    policy(
      "- {name: a, type: magic}\n",
      "3:19: unknown policy type 'magic'; it must be always_sample, latency, "
        + "numeric_attribute, probabilistic, status_code, string_attribute, boolean_attribute, trace_state, "
        + "trace_flags, rate_limiting, bytes_limiting, span_count, ottl_condition, and, not, drop or "
        + "composite"
    ),
    policy(
      "- {name: a, type: ottl_condition}\n", "3:3: policies[0] needs the key 'ottl_condition'"),
    policy("- {name: a, type: latency}\n", "3:3: policies[0] needs the key 'latency'"),
    policy(
      "- {name: a, type: latency, latency: {}}\n", "3:37: policies[0].latency needs the key 'threshold_ms'"),
    policy(
      "- name: a\n  type: latency\n  status_code: {status_codes: [ERROR]}\n  latency: {threshold_ms: 1}\n",
      "5:3: unknown key 'status_code' in policies[0]; the policy's type is latency"),
    policy(
      "- {name: a, type: always_sample, always_sample: {}}\n",
      "3:34: unknown key 'always_sample' in policies[0]; the policy's type is always_sample"),
    policy(
      "- {name: a, type: latency, latency: {threshold_ms: 2s}}\n",
      "3:52: policies[0].latency.threshold_ms must be a whole number of milliseconds from 0 to "
        + "1000000000000, found '2s'"
    ),
    policy(
      "- {name: a, type: latency, latency: {threshold_ms: 5, upper_threshold_ms: 5}}\n",
      "3:75: policies[0].latency.upper_threshold_ms must be larger than threshold_ms, "
        + "or 0 for no upper threshold"
    ),
    policy(
      "- {name: a, type: status_code, status_code: {status_codes: [error, ERROR, ERROR, FAIL]}}\n",
      "3:61: policies[0].status_code.status_codes[0] must be OK, ERROR or UNSET, found 'error'; "
        + "did you mean 'ERROR'?",
      "3:75: policies[0].status_code.status_codes[2] repeats a status code",
      "3:82: policies[0].status_code.status_codes[3] must be OK, ERROR or UNSET, found 'FAIL'"),
    policy(
      "- {name: a, type: status_code, status_code: {status_codes: []}}\n",
      "3:60: policies[0].status_code.status_codes needs at least one item"),
    policy(
      "- {name: a, type: probabilistic, probabilistic: {sampling_percentage: 101, hash_salt: x}}\n",
      "3:71: policies[0].probabilistic.sampling_percentage must be a number from 0 to 100, found '101'"),
    policy(
      "- {name: a, type: probabilistic, probabilistic: {sampling_percentage: .nan}}\n",
      "3:71: policies[0].probabilistic.sampling_percentage must be a number from 0 to 100, found '.nan'"),
  ]) func policies(mistake: TopologyMistake) { check(mistake) }

  @Test(arguments: [
    tail(
      "group: ${GROUP}\n",
      "2:8: group: environment variable 'GROUP' is not set; set it, or write '${GROUP:-default}'"),
    tail(
      "group: ${GROUP\n",
      "2:8: group: a '${' has no closing '}' (a default can't contain another variable)"),
    tail(
      "group: ${A:-${B}}\n",
      "2:8: group: a '${' has no closing '}' (a default can't contain another variable)",
      environment: ["A": "a"]),
    tail("group: a$b\n", "2:8: group: a lone '$'; write '$$' for a dollar sign, '${NAME}' for a variable"),
    tail(
      "group: ${env:GROUP}\n",
      "2:8: group: '${env:GROUP}' is not a valid variable; write '${NAME}' or '${NAME:-default}'"),
    tail(
      "group: ${file:secret}\n", "2:8: group: '${file:…}' needs an absolute path, found 'secret'"),
    tail(
      "group: ${file:/dev/zero}\n",
      "2:8: group: the file '/dev/zero' must be UTF-8 text of at most 64 KiB"),
    tail(
      "group: ${1A}\n", "2:8: group: '${1A}' is not a valid variable; write '${NAME}' or '${NAME:-default}'"),
    tail("group: ${}\n", "2:8: group: '${}' is not a valid variable; write '${NAME}' or '${NAME:-default}'"),
    tail(
      "lanes: ${LANES}\n", "2:8: lanes must be a whole number from 1 to 64, found '${LANES}'",
      environment: ["LANES": "hunter2"]),
    tail(
      "delivery: ${D}\n", "2:11: delivery must be at_least_once or exactly_once, found '${D}'",
      environment: ["D": "hunter2"]),
    tail(
      "topics: {spans: {name: \"${T}\"}, sampled: {name: hunter2}}\n",
      "2:49: topics.spans.name and topics.sampled.name are the same topic, 'hunter2'",
      environment: ["T": "hunter2"]),
    tail(
      "topics: {spans: {name: hunter2}, sampled: {name: \"${T}\"}}\n",
      "2:50: topics.spans.name and topics.sampled.name are the same topic, '${T}'",
      environment: ["T": "hunter2"]),
    tail(
      "policies: [{name: a, type: \"${T}\"}]\n",
      "2:28: unknown policy type '${T}'; it must be always_sample, latency, "
        + "numeric_attribute, probabilistic, status_code, string_attribute, boolean_attribute, trace_state, "
        + "trace_flags, rate_limiting, bytes_limiting, span_count, ottl_condition, and, not, drop or "
        + "composite",
      environment: ["T": "hunter2"]),
  ]) func variables(mistake: TopologyMistake) { check(mistake) }

  @Test func issuesKeepTheirParts() throws {
    let error = #expect(throws: TopologyError.self) {
      try Topology.parse("kind: tail-sampling\nlimits: {memory: 1}\n", fileName: "a\nb", environment: [:])
    }
    let issue = try #require(error?.issues.first)
    #expect(error?.issues.count == 1)
    #expect((issue.line, issue.column) == (2, 18))
    #expect(issue.keyPath == "limits.memory")
    #expect(error?.description.hasPrefix("a\\u{a}b:2:18: limits.memory must be ") == true)
  }

  @Test func longValuesAreShortened() {
    check(
      tail(
        "lanes: \(String(repeating: "x", count: 1000))\n",
        "2:8: lanes must be a whole number from 1 to 64, found '\(String(repeating: "x", count: 80))…'"))
  }

  @Test func manyIssuesAreCutOff() {
    let keys = (1...250).map { "zz\($0): 1\n" }.joined()
    let error = #expect(throws: TopologyError.self) {
      try Topology.parse("kind: tail-sampling\n\(keys)", fileName: "t.yaml", environment: [:])
    }
    #expect(error?.issues.count == 201)
    #expect(error?.description.hasSuffix("\nt.yaml: 50 more problems are not shown") == true)
  }
}

@Suite struct TopologyBombTests {
  @Test func tooManyPolicies() {
    let policies = (1...65).map { "- {name: p\($0), type: always_sample}\n" }.joined()
    let error = #expect(throws: TopologyError.self) {
      try Topology.parse("kind: tail-sampling\npolicies:\n\(policies)", fileName: "t.yaml", environment: [:])
    }
    #expect(error?.description == "t.yaml:67:3: policies has 65 items; at most 64 are allowed")
  }

  @Test func tooManyAliases() {
    var yaml = "a0: &a0 [x]\n"
    for level in 1...40 { yaml += "a\(level): &a\(level) [*a\(level - 1), *a\(level - 1)]\n" }
    let error = #expect(throws: TopologyError.self) {
      try Topology.parse(yaml, fileName: "t.yaml", environment: [:])
    }
    #expect(
      error?.description == "t.yaml:10:10: more than 16 aliases (text that looks like '*name' counts too)")
  }

  /// A key is hashed with all copies that its aliases make; the limit keeps these few.
  @Test func allowedAliasesInAKey() {
    var yaml = "a0: &a0 [\(String(repeating: "x,", count: 1000))]\n"
    for level in 1...5 { yaml += "a\(level): &a\(level) [*a\(level - 1), *a\(level - 1), *a\(level - 1)]\n" }
    yaml += "? *a5\n: 1\n"
    let error = #expect(throws: TopologyError.self) {
      try Topology.parse("kind: tail-sampling\n" + yaml, fileName: "t.yaml", environment: [:])
    }
    #expect(error?.issues.count == 7)
  }

  @Test func tooLong() {
    let error = #expect(throws: TopologyError.self) {
      try Topology.parse(String(repeating: "#", count: 262_145), fileName: "t.yaml", environment: [:])
    }
    #expect(error?.description == "t.yaml:1:1: the file is longer than 256KiB")
  }

  @Test(arguments: ["[", "{a: ", "- ", "? "]) func deep(opening: String) {
    let yaml = "kind: tail-sampling\nx: " + String(repeating: opening, count: 50_000)
    #expect(throws: TopologyError.self) {
      try Topology.parse(yaml, fileName: "t.yaml", environment: [:])
    }
  }
}

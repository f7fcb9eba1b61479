// Writes the configuration in effect as a topology file: every default filled in, every secret masked.

import Expressions
internal import Kafka
internal import OTLP
internal import Sampling

extension Topology {
  /// The configuration in effect as YAML, secrets replaced by `***`. Apart from those it reads back as this
  /// topology. Durations are in whole milliseconds.
  public var redactedDescription: String { redactedDescription(files: .read) }

  /// The same, for a topology that was loaded with `files`.
  public func redactedDescription(files: FileReferences) -> String {
    var writer = TopologyWriter(files: files)
    switch self {
    case .tailSampling(let topology): writer.write(topology)
    case .repartition(let topology): writer.write(topology)
    case .export(let topology): writer.write(topology)
    }
    return writer.text
  }
}

struct TopologyWriter {
  /// The text written so far.
  private(set) var text = ""
  private let variables: [StandIn]
  private let files: FileReferences

  /// - Parameters:
  ///   - variables: the stand-ins in texts, which are replaced by their variables. They are not secrets.
  ///   - files: whether texts still contain references to files.
  init(variables: [StandIn] = [], files: FileReferences = .read) {
    self.variables = variables
    self.files = files
  }

  /// A text that stands in for a variable.
  struct StandIn: Equatable {
    var stand: String
    /// The variable as written in a topology file: `${NAME}`.
    var expression: String
  }

  mutating func write(_ topology: TailSamplingTopology) {
    line(0, "kind: tail-sampling")
    write(topology.worker)
    let topics = topology.topics
    write(topics.creation)
    line(1, "spans: \(source(topics.spans))")
    line(1, "decisions:")
    line(2, "name: \(value(topics.decisions.name))")
    line(2, "encoding: \(topics.decisions.encoding.rawValue)")
    line(2, "dropped: \(topics.decisions.dropped.rawValue)")
    line(2, "shape: \(topics.decisions.tellsShapes)")
    line(1, "verdicts: {name: \(value(topics.verdicts))}")
    line(1, "sampled: {name: \(value(topics.sampled)), annotate: \(topics.annotate.rawValue)}")
    line(1, "dead_letters: {name: \(value(topics.deadLetters))}")
    line(1, "stats: {name: \(value(topics.stats))}")
    if topology.metrics != nil { line(1, "metrics: {name: \(value(topics.metrics))}") }
    if topology.links != nil { line(1, "links: {name: \(value(topics.links))}") }
    if let logs = topics.logs {
      line(1, "logs: {name: \(value(logs.name)), encoding: \(logs.encoding.rawValue)}")
      line(1, "sampled_logs: {name: \(value(topics.sampledLogs))}")
    }
    writeRules(of: topology)
    writeRecall(topology.recall)
    if topics.logs != nil { writeLogs(topology.logs) }
    if let metrics = topology.metrics { write(metrics) }
    writeOperation(topology.worker)
  }

  private func source(_ source: SpanSource) -> String {
    let (name, encoding) = (value(source.name), source.encoding.rawValue)
    return "{name: \(name), encoding: \(encoding), compression: \(source.compression.rawValue)}"
  }

  /// How dropped traces are read again.
  private mutating func writeRecall(_ recall: TailSamplingTopology.Recall) {
    line(0, "recall:")
    line(1, "bytes_per_second: \(ByteSizeText.format(recall.bytesPerSecond))")
  }

  /// How all spans are counted.
  private mutating func write(_ metrics: SpanMetricsConfiguration) {
    line(0, "metrics:")
    line(1, "interval: \(DurationText.format(.nanoseconds(metrics.interval.nanoseconds)))")
    line(1, "series_limit: \(metrics.seriesMax)")
    line(1, "unit: \(metrics.unit.rawValue)")
    line(1, "serve: \(metrics.isServed)")
  }

  /// How verdicts spread along links.
  private mutating func write(_ links: LinksConfiguration) {
    line(0, "links:")
    line(1, "direction: \(links.direction.rawValue)")
    line(1, "max_hops: \(links.maxHops)")
    line(1, "traces_per_second: \(links.tracesPerSecond)")
    line(1, "remember: \(DurationText.format(.nanoseconds(links.remember.nanoseconds)))")
    line(1, "traces: \(links.tracesMax)")
    line(1, "share_randomness: \(links.sharesRandomness)")
  }

  /// How logs follow verdicts.
  private mutating func writeLogs(_ logs: TailSamplingTopology.Logs) {
    line(0, "logs:")
    line(1, "wait: \(DurationText.format(logs.wait))")
    line(1, "without_trace: \(logs.withoutTrace.rawValue)")
    line(1, "without_verdict: \(logs.withoutVerdict.rawValue)")
  }

  /// Everything besides the spans that decision records depend on.
  mutating func writeRules(of topology: TailSamplingTopology) {
    line(0, "windows:")
    line(1, "decision_wait: \(DurationText.format(topology.windows.decisionWait))")
    line(1, "decision_wait_after_root: \(DurationText.format(topology.windows.decisionWaitAfterRoot))")
    line(1, "lone_roots_wait: \(topology.windows.loneRootsWait)")
    line(1, "late_window: \(DurationText.format(topology.windows.lateWindow))")
    line(1, "recall_window: \(DurationText.format(topology.windows.recallWindow))")
    if topology.windows.buffer != .memory { line(1, "buffer: \(topology.windows.buffer.rawValue)") }
    if let links = topology.links { write(links) }
    line(0, "limits:")
    line(1, "spans_per_trace: \(topology.limits.spansPerTrace)")
    line(1, "bytes_per_trace: \(ByteSizeText.format(topology.limits.bytesPerTrace))")
    line(1, "record_bytes: \(ByteSizeText.format(topology.limits.recordBytes))")
    line(1, "memory: \(ByteSizeText.format(topology.limits.memory))")
    line(1, "services: \(topology.limits.services)")
    line(0, "sample_on_first_match: \(topology.sampleOnFirstMatch)")
    line(0, "invert_decisions: \(topology.invertDecisions)")
    line(0, topology.policies.isEmpty ? "policies: []" : "policies:")
    write(topology.policies)
    if !topology.rules.isEmpty { write(topology.rules) }
    if !topology.shadow.isEmpty {
      line(0, "shadow:")
      write(topology.shadow)
    }
    if let baseline = topology.baseline { write(baseline) }
  }

  private mutating func write(_ policies: [PolicySpecification]) {
    for policy in policies {
      line(1, "- name: \(value(policy.name))")
      write(policy.rule)
    }
  }

  private mutating func write(_ rules: [RuleSpecification]) {
    line(0, "rules:")
    for rule in rules {
      line(1, "- name: \(value(rule.name))")
      if !rule.services.isEmpty { line(2, "services: \(list(rule.services))") }
      if !rule.attributes.isEmpty {
        line(2, "attributes:")
        for attribute in rule.attributes {
          line(3, "\(scalar(attribute.key)): \(list(attribute.values))")
        }
      }
      if !rule.conditions.isEmpty { line(2, "when: \(list(rule.conditions))") }
      line(2, "then: \(text(of: rule.outcome))")
    }
  }

  private func text(of outcome: RuleSpecification.Outcome) -> String {
    switch outcome {
    case .keep: return "keep"
    case .drop: return "drop"
    case .percentage(let percentage): return "{percentage: \(NumberText.format(percentage))}"
    case .spansPerSecond(let rate, let burst, let scope): return limit("spans", rate, burst, scope)
    case .bytesPerSecond(let rate, let burst, let scope): return limit("bytes", rate, burst, scope)
    }
  }

  private func limit(_ unit: String, _ rate: Int, _ burst: Int?, _ scope: RateLimit.Scope) -> String {
    let burst = burst.map { ", burst_capacity: \($0)" } ?? ""
    // Only where it differs from the default: the version of other topologies must stay.
    return "{\(unit)_per_second: \(rate)\(burst)\(scope == .partition ? "" : ", scope: \(scope.rawValue)")}"
  }

  private mutating func write(_ baseline: BaselineSettings) {
    line(0, "baseline:")
    switch baseline.budget {
    case .traces(let percentage): line(1, "budget: {traces_percentage: \(NumberText.format(percentage))}")
    case .spans(let percentage): line(1, "budget: {spans_percentage: \(NumberText.format(percentage))}")
    case .bytes(let percentage): line(1, "budget: {bytes_percentage: \(NumberText.format(percentage))}")
    case .spansPerSecond(let spans): line(1, "budget: {spans_per_second: \(NumberText.format(spans))}")
    }
    line(1, "includes_other_policies: \(baseline.includesOtherPolicies)")
    switch baseline.key {
    case .service: line(1, "key: service")
    case .parts(let parts): line(1, "key: \(list(parts.map(\.text)))")
    }
    line(1, "floor: \(baseline.floor.map { NumberText.format($0) } ?? "within_budget")")
    line(1, "ceiling: \(NumberText.format(baseline.ceilingPercentage))")
    line(1, "boost: \(NumberText.format(baseline.boost))")
    line(1, "interval: \(DurationText.format(baseline.interval))")
    line(1, "services: \(baseline.services)")
    line(1, "first_of_shape: \(NumberText.format(baseline.firstOfShapePercentage))")
    if baseline.firstOfShapePercentage > 0 {
      line(1, "shape_silence: \(DurationText.format(baseline.shapeSilence))")
    }
  }

  mutating func write(_ topology: RepartitionTopology) {
    line(0, "kind: repartition")
    write(topology.worker)
    let topics = topology.topics
    write(topics.creation)
    line(1, "raw_spans: \(source(topics.rawSpans))")
    line(1, "spans: {name: \(value(topics.spans))}")
    line(1, "dead_letters: {name: \(value(topics.deadLetters))}")
    line(0, "limits:")
    line(1, "record_bytes: \(ByteSizeText.format(topology.recordBytesMax))")
    writeOperation(topology.worker)
  }

  mutating func write(_ topology: ExportTopology) {
    line(0, "kind: export")
    write(topology.worker)
    write(topology.topics.creation)
    line(1, "sampled: {name: \(value(topology.topics.sampled))}")
    line(1, "dead_letters: {name: \(value(topology.topics.deadLetters))}")
    line(0, "limits:")
    line(1, "record_bytes: \(ByteSizeText.format(topology.recordBytesMax))")
    write(topology.store)
    writeOperation(topology.worker)
  }

  private mutating func write(_ store: StoreSettings) {
    line(0, "\(store.transport.rawValue):")
    switch store.transport {
    case .http: line(1, "traces_endpoint: \(value(store.url.description))")
    // The path is the call's.
    case .grpc: line(1, "endpoint: \(value(store.url.base))")
    }
    if !store.headers.isEmpty {
      line(1, "headers:")
      for header in store.headers { line(2, "\(scalar(header.name)): \(quoted(KafkaProperty.mask))") }
    }
    line(1, "compression: \(store.compression.rawValue)")
    line(1, "timeout: \(DurationText.format(store.timeout))")
    line(1, "connections: \(store.connections)")
    line(1, "batch_bytes: \(ByteSizeText.format(store.batchBytes))")
    line(1, "batch_wait: \(DurationText.format(store.batchWait))")
    line(1, "retry_on_failure:")
    line(2, "initial_interval: \(DurationText.format(store.retryInitial))")
    line(2, "max_interval: \(DurationText.format(store.retryMax))")
    guard store.url.isSecure else { return }
    line(1, "tls:")
    let tls = store.tls
    let files = [
      ("ca_file", tls.authoritiesFile), ("cert_file", tls.certificateFile), ("key_file", tls.keyFile),
      ("server_name_override", tls.serverName),
    ]
    for case (let key, let text?) in files { line(2, "\(key): \(value(text))") }
    line(2, "insecure_skip_verify: \(tls.skipsVerification)")
  }

  private mutating func write(_ worker: WorkerSettings) {
    line(0, "group: \(value(worker.group))")
    line(0, "lanes: \(worker.lanes)")
    line(0, "delivery: \(worker.delivery.rawValue)")
    line(0, "commit_interval: \(DurationText.format(worker.commitInterval))")
    line(0, "commit_records: \(worker.commitRecords)")
    line(0, "stop_timeout: \(DurationText.format(worker.stopTimeout))")
    line(0, "kafka:")
    for (property, shown) in zip(worker.kafka.values.sorted { $0.key < $1.key }, worker.kafka.redacted) {
      let isVariable = variables.contains { $0.stand == property.value }
      line(1, "\(scalar(property.key)): \(value(isVariable ? property.value : shown.value))")
    }
  }

  /// Written last: readers look for other things first.
  private mutating func writeOperation(_ worker: WorkerSettings) {
    line(0, "console:")
    line(1, "enabled: \(worker.console.isEnabled)")
    line(1, "address: \(quoted(worker.console.address))")
    line(1, "port: \(worker.console.port)")
    line(1, "services: \(worker.console.services)")
    line(0, "log: {level: \(worker.log.level.rawValue), format: \(worker.log.format.rawValue)}")
  }

  private mutating func write(_ creation: TopicCreation) {
    line(0, "topics:")
    line(1, "create: \(creation.enabled)")
    line(1, "partitions: \(creation.partitions)")
    line(1, "replication_factor: \(creation.replicationFactor ?? -1)")
  }

  private mutating func write(_ rule: PolicyRule) {
    line(2, "type: \(rule.typeName)")
    if let settings = settings(of: rule) { line(2, "\(rule.typeName): \(settings)") }
  }

  /// A policy's settings on one line; nil for a type that has none.
  private func settings(of rule: PolicyRule) -> String? {
    switch rule {
    case .alwaysSample, .traceFlags: return nil
    case .statusCode(let codes):
      return "{status_codes: [\(codes.map(\.rawValue).joined(separator: ", "))]}"
    case .latency(let threshold, let upperThreshold, let measure):
      let lower = NumberText.format(threshold / .milliseconds(1))
      let upper = NumberText.format((upperThreshold ?? .zero) / .milliseconds(1))
      return "{threshold_ms: \(lower), upper_threshold_ms: \(upper), measure: \(measure.rawValue)}"
    case .probabilistic(let percentage, let salt):
      let hash = salt.map { ", hash_salt: \(value($0))" } ?? ""
      return "{sampling_percentage: \(NumberText.format(percentage))\(hash)}"
    case .numericAttribute(let key, let least, let most, let isInverted):
      let range = (least.map { ", min_value: \($0)" } ?? "") + (most.map { ", max_value: \($0)" } ?? "")
      return "{key: \(value(key))\(range), invert_match: \(isInverted)}"
    case .stringAttribute(let key, let values, let areRegularExpressions, let isInverted):
      return "{key: \(value(key)), values: \(list(values)), "
        + "enabled_regex_matching: \(areRegularExpressions), invert_match: \(isInverted)}"
    case .booleanAttribute(let key, let truth, let isInverted):
      return "{key: \(value(key)), value: \(truth), invert_match: \(isInverted)}"
    case .traceState(let key, let values): return "{key: \(value(key)), values: \(list(values))}"
    case .ottlCondition(let spans, let events, let mode):
      let lists = [("span", spans), ("spanevent", events)].filter { !$0.1.isEmpty }
      return "{error_mode: \(mode.rawValue), "
        + lists.map { "\($0.0): \(list($0.1.map(\.text)))" }.joined(separator: ", ") + "}"
    case .spanCount(let least, let most): return "{min_spans: \(least), max_spans: \(most)}"
    case .rateLimiting(let rate, let burst, let scope): return limit("spans", rate, burst, scope)
    case .bytesLimiting(let rate, let burst, let scope): return limit("bytes", rate, burst, scope)
    case .and(let policies): return "{and_sub_policy: \(list(policies))}"
    case .not(let policy): return "{not_sub_policy: \(inline(policy))}"
    case .drop(let policies): return "{drop_sub_policy: \(list(policies))}"
    case .composite(let composite): return settings(of: composite)
    }
  }

  private func settings(of composite: CompositePolicy) -> String {
    let names = composite.policies.map(\.name)
    let allocated = names.compactMap { name in composite.allocations[name].map { (name, $0) } }
    let allocations = allocated.map { "{policy: \(value($0.0)), percent: \($0.1)}" }
    let rates = allocations.isEmpty ? "" : "rate_allocation: [\(allocations.joined(separator: ", "))], "
    return "{max_total_spans_per_second: \(composite.spansPerSecondMax), policy_order: \(list(names)), "
      + "composite_sub_policy: \(list(composite.policies)), \(rates)"
      + "fall_through: \(composite.fallsThrough), cap_total: \(composite.capsTotal)}"
  }

  private func inline(_ policy: PolicySpecification) -> String {
    let name = policy.name.isEmpty ? "" : "name: \(value(policy.name)), "
    let type = policy.rule.typeName
    return "{\(name)type: \(type)\(settings(of: policy.rule).map { ", \(type): \($0)" } ?? "")}"
  }

  private func list(_ policies: [PolicySpecification]) -> String {
    "[\(policies.map { inline($0) }.joined(separator: ", "))]"
  }

  private func list(_ texts: [String]) -> String {
    "[\(texts.map { value($0) }.joined(separator: ", "))]"
  }

  private mutating func line(_ depth: Int, _ content: String) {
    text += String(repeating: "  ", count: depth) + content + "\n"
  }

  /// A value, with its dollars escaped: they would be read as variables.
  private func value(_ text: String) -> String {
    var places = variables.compactMap { variable in
      text.firstRange(of: variable.stand).map { (range: $0, expression: variable.expression) }
    }
    if files == .leave, let range = text.firstRange(of: #/\$\{file:[^}]*\}/#) {
      places.append((range: range, expression: String(text[range])))
    }
    guard let (range, expression) = places.min(by: { $0.range.lowerBound < $1.range.lowerBound }) else {
      return scalar(text.split(separator: "$", omittingEmptySubsequences: false).joined(separator: "$$"))
    }
    // Inside braces YAML requires quotes around a variable.
    let before = inside(value(String(text[..<range.lowerBound])))
    let behind = inside(value(String(text[range.upperBound...])))
    return "\"\(before)\(inside(quoted(expression)))\(behind)\""
  }

  /// A scalar without the quotes around it, if it has any.
  private func inside(_ scalar: String) -> Substring {
    scalar.hasPrefix("\"") ? scalar.dropFirst().dropLast() : scalar[...]
  }

  /// A scalar: plain if no reader can take it for anything but text, otherwise in double quotes.
  private func scalar(_ text: String) -> String {
    let isPlain = text.utf8.allSatisfy { byte in
      switch Unicode.Scalar(byte) {
      case "a"..."z", "A"..."Z", "0"..."9", ".", "_", "-", "/": true
      default: false
      }
    }
    let words = ["true", "false", "yes", "no", "on", "off", "null", "y", "n"]
    let startsAsText = text.utf8.first.map { Unicode.Scalar($0).properties.isAlphabetic } ?? false
    if isPlain, startsAsText, !words.contains(text.lowercased()) { return text }
    return quoted(text)
  }

  private func quoted(_ text: String) -> String {
    var quoted = "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": quoted += "\\\""
      case "\\": quoted += "\\\\"
      case " "..."~": quoted.unicodeScalars.append(scalar)
      default:
        quoted += "\\U" + Hexadecimal.text(UInt64(scalar.value), digits: 8)
      }
    }
    return quoted + "\""
  }
}

extension PolicyRule {
  /// The type's name in a topology file.
  fileprivate var typeName: String {
    switch self {
    case .alwaysSample: "always_sample"
    case .statusCode: "status_code"
    case .latency: "latency"
    case .probabilistic: "probabilistic"
    case .numericAttribute: "numeric_attribute"
    case .stringAttribute: "string_attribute"
    case .booleanAttribute: "boolean_attribute"
    case .traceState: "trace_state"
    case .traceFlags: "trace_flags"
    case .ottlCondition: "ottl_condition"
    case .spanCount: "span_count"
    case .rateLimiting: "rate_limiting"
    case .bytesLimiting: "bytes_limiting"
    case .and: "and"
    case .not: "not"
    case .drop: "drop"
    case .composite: "composite"
    }
  }
}

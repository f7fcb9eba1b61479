// The keys of a topology file: what each section may contain, and the bounds and defaults of every value.

import Files
import Foundation
import Sampling
import Yams

/// The known keys, section by section.
enum Keys {
  static let common = [
    "kind", "group", "lanes", "delivery", "commit_interval", "commit_records", "stop_timeout", "kafka",
    "topics", "limits", "console", "log",
  ]
  /// Sections of an export topology, one of which describes the store.
  static let stores = StoreSettings.Transport.allCases.map(\.rawValue)
  static let tailSampling =
    common + [
      "windows", "recall", "logs", "policies", "rules", "shadow", "sample_on_first_match", "invert_decisions",
      "baseline", "metrics", "links",
    ]
  static let spanSource = ["name", "encoding", "compression"]
  static let creation = ["create", "partitions", "replication_factor"]
  static let windows = [
    "decision_wait", "decision_wait_after_root", "lone_roots_wait", "late_window", "recall_window",
    "buffer",
  ]
  static let recall = ["bytes_per_second"]
  static let metrics = ["interval", "series_limit", "unit", "serve"]
  static let logs = ["wait", "without_trace", "without_verdict"]
  static let console = ["enabled", "address", "port", "services"]
  static let log = ["level", "format"]
  static let limits = ["spans_per_trace", "bytes_per_trace", "record_bytes", "memory", "services"]
}

/// The kinds of topology.
enum Kind: String, CaseIterable {
  case tailSampling = "tail-sampling"
  case repartition
  case export
}

extension TopologyReader {
  /// The topology under `root`; nil only if an issue is noted.
  mutating func topology(_ root: Node) -> Topology? {
    let start = FilePlace(line: 1, column: 1)
    guard let file = section(TopologyField(key: "", path: "", place: start, node: root)),
      let kindField = required("kind", of: file), let kind = choice(kindField, as: Kind.self)
    else { return nil }
    switch kind {
    case .tailSampling: return .tailSampling(tailSampling(file))
    case .repartition: return .repartition(repartition(file))
    case .export: return export(file).map { .export($0) }
    }
  }

  private mutating func tailSampling(_ file: TopologySection) -> TailSamplingTopology {
    checkKeys(of: file, Keys.tailSampling) { key in
      if Keys.stores.contains(key) { return "it is only valid with 'kind: export'" }
      if Keys.windows.contains(key) { return "it belongs in windows" }
      return Keys.limits.contains(key) ? "it belongs in limits" : nil
    }
    let worker = worker(file, defaults: TailSamplingTopology().worker)
    let topics = tailSamplingTopics(section("topics", of: file), besides: file)
    let windows = windows(section("windows", of: file))
    let limits = limits(section("limits", of: file))
    // The baseline replaces the default policy of that name, and rules set the rate themselves.
    let hasOtherRates = file["baseline"] != nil || file["rules"] != nil
    let defaults = PolicySpecification.defaults.filter {
      !hasOtherRates || $0.name != BaselineSettings.policyName
    }
    var names: [String: FilePlace] = [:]
    let policies = file["policies"].map { field in
      hasOtherRates && field.isEmptyList ? [] : self.policies(field, seen: &names)
    }
    let rules = file["rules"].map { self.rules($0, besides: policies ?? defaults, seen: &names) } ?? []
    let deciding = (policies ?? defaults) + RuleSpecification.policies(of: rules)
    let baseline = file["baseline"].flatMap { self.baseline($0, policies: deciding) }
    let shadow = file["shadow"].map { field in
      shadowPolicies(field, besides: deciding, hasBaseline: baseline != nil, seen: &names)
    }
    return TailSamplingTopology(
      worker: worker, topics: topics, windows: windows, recall: recall(section("recall", of: file)),
      logs: logs(file, windows, isUsed: topics.logs != nil), limits: limits,
      policies: policies ?? defaults, rules: rules,
      sampleOnFirstMatch: truth("sample_on_first_match", of: file, default: false),
      invertDecisions: truth("invert_decisions", of: file, default: false),
      baseline: baseline, shadow: shadow ?? [], metrics: file["metrics"].flatMap { metrics($0) },
      links: file["links"].flatMap { links($0, windows, policies: deciding) })
  }

  private mutating func repartition(_ file: TopologySection) -> RepartitionTopology {
    checkKeys(of: file, Keys.common) { key in
      if Keys.stores.contains(key) { return "it is only valid with 'kind: export'" }
      return Keys.tailSampling.contains(key) ? "it is only valid with 'kind: tail-sampling'" : nil
    }
    let worker = worker(file, defaults: RepartitionTopology.workerDefault)
    let topics = repartitionTopics(section("topics", of: file))
    let limits = section("limits", of: file)
    checkKeys(of: limits, ["record_bytes"]) { key in
      Keys.limits.contains(key) ? "it is only valid with 'kind: tail-sampling'" : nil
    }
    let recordBytes = recordBytes(limits, default: RepartitionTopology().recordBytesMax).value
    return RepartitionTopology(worker: worker, topics: topics, recordBytesMax: recordBytes)
  }

  /// Nil, and noted, if it names no store.
  private mutating func export(_ file: TopologySection) -> ExportTopology? {
    checkKeys(of: file, Keys.common + Keys.stores) { key in
      Keys.tailSampling.contains(key) ? "it is only valid with 'kind: tail-sampling'" : nil
    }
    let worker = worker(file, defaults: ExportTopology.workerDefault)
    let topics = exportTopics(section("topics", of: file))
    let limits = section("limits", of: file)
    checkKeys(of: limits, ["record_bytes"]) { key in
      Keys.limits.contains(key) ? "it is only valid with 'kind: tail-sampling'" : nil
    }
    let recordBytes = recordBytes(limits, default: 4 << 20).value
    guard let store = store(of: file) else { return nil }
    return ExportTopology(worker: worker, topics: topics, recordBytesMax: recordBytes, store: store)
  }

  // MARK: Worker

  private mutating func worker(_ file: TopologySection, defaults: WorkerSettings) -> WorkerSettings {
    let group = setting("group", of: file, "a consumer group id", default: defaults.group) { text in
      text.value.isEmpty ? nil : text.value
    }
    return WorkerSettings(
      group: group.value,
      lanes: integer("lanes", of: file, in: 1...64, default: defaults.lanes),
      delivery: choice(
        "delivery", of: file, default: defaults.delivery),
      commitInterval: duration(
        "commit_interval", of: file, in: .milliseconds(50)...(.seconds(60)), default: defaults.commitInterval
      ).value,
      commitRecords: integer(
        "commit_records", of: file, in: 1...100_000_000, default: defaults.commitRecords),
      stopTimeout: duration(
        "stop_timeout", of: file, in: .seconds(1)...(.seconds(600)), default: defaults.stopTimeout
      ).value,
      kafka: kafka(section("kafka", of: file)),
      console: console(section("console", of: file), defaults: defaults.console),
      log: log(section("log", of: file), defaults: defaults.log))
  }

  private mutating func console(
    _ section: TopologySection, defaults: ConsoleSettings
  ) -> ConsoleSettings {
    checkKeys(of: section, Keys.console)
    let address = setting(
      "address", of: section, "an IP address such as 127.0.0.1 or ::", default: defaults.address
    ) { text in
      Self.isAddress(text.value) ? text.value : nil
    }
    return ConsoleSettings(
      isEnabled: truth("enabled", of: section, default: defaults.isEnabled), address: address.value,
      port: integer("port", of: section, in: 0...65_535, default: defaults.port),
      services: integer("services", of: section, in: 0...10_000, default: defaults.services))
  }

  static func isAddress(_ text: String) -> Bool {
    var bytes = in6_addr()
    // Sound: inet_pton writes an address, at most as long as IPv6's, into `bytes`.
    return [AF_INET, AF_INET6].contains { unsafe inet_pton($0, text, &bytes) == 1 }
  }

  private mutating func log(_ section: TopologySection, defaults: LogSettings) -> LogSettings {
    checkKeys(of: section, Keys.log)
    return LogSettings(
      level: choice("level", of: section, default: defaults.level),
      format: choice("format", of: section, default: defaults.format))
  }

  // MARK: Topics

  private mutating func tailSamplingTopics(
    _ section: TopologySection, besides file: TopologySection
  ) -> TailSamplingTopology.Topics {
    let (hasMetrics, hasLinks) = (file["metrics"] != nil, file["links"] != nil)
    checkKeys(
      of: section,
      Keys.creation + [
        "spans", "decisions", "verdicts", "sampled", "dead_letters", "stats", "metrics", "links", "logs",
        "sampled_logs",
      ]
    ) { key in
      key == "raw_spans" ? "it is only valid with 'kind: repartition'" : nil
    }
    let defaults = TailSamplingTopology.Topics()
    let spans = self.section("spans", of: section)
    checkKeys(of: spans, Keys.spanSource)
    let decisions = self.section("decisions", of: section)
    checkKeys(of: decisions, ["name", "encoding", "dropped", "shape"])
    let verdicts = self.section("verdicts", of: section)
    checkKeys(of: verdicts, ["name"])
    let sampled = self.section("sampled", of: section)
    checkKeys(of: sampled, ["name", "annotate"])
    let deadLetters = self.section("dead_letters", of: section)
    checkKeys(of: deadLetters, ["name"])
    let stats = self.section("stats", of: section)
    checkKeys(of: stats, ["name"])
    let metrics = topicWithUse("metrics", of: section, isUsed: hasMetrics, with: "metrics")
    let links = topicWithUse("links", of: section, isUsed: hasLinks, with: "links")
    let hasLogs = section["logs"] != nil
    let logs = self.section("logs", of: section)
    checkKeys(of: logs, ["name", "encoding"])
    let sampledLogs = topicWithUse("sampled_logs", of: section, isUsed: hasLogs, with: "topics.logs")
    var named = [
      (spans, defaults.spans.name), (decisions, defaults.decisions.name), (sampled, defaults.sampled),
      (deadLetters, defaults.deadLetters), (stats, defaults.stats), (verdicts, defaults.verdicts),
    ]
    if hasLogs { named += [(logs, "logs"), (sampledLogs, defaults.sampledLogs)] }
    if hasMetrics { named.append((metrics, defaults.metrics)) }
    if hasLinks { named.append((links, defaults.links)) }
    let names = topicNames(named)
    return TailSamplingTopology.Topics(
      creation: creation(section),
      spans: spanSource(spans, names[0]),
      decisions: TailSamplingTopology.Decisions(
        name: names[1],
        encoding: choice(
          "encoding", of: decisions, planned: ["protobuf"], default: defaults.decisions.encoding),
        dropped: choice("dropped", of: decisions, default: defaults.decisions.dropped),
        tellsShapes: truth("shape", of: decisions, default: defaults.decisions.tellsShapes)),
      verdicts: names[5], sampled: names[2],
      annotate: choice("annotate", of: sampled, default: defaults.annotate),
      deadLetters: names[3], stats: names[4],
      metrics: hasMetrics ? names[names.count - (hasLinks ? 2 : 1)] : defaults.metrics,
      links: hasLinks ? names[names.count - 1] : defaults.links,
      logs: hasLogs ? logSource(logs, names[6]) : nil,
      sampledLogs: hasLogs ? names[7] : defaults.sampledLogs)
  }

  /// The section of a topic that is only used with another setting.
  private mutating func topicWithUse(
    _ key: String, of topics: TopologySection, isUsed: Bool, with other: String
  ) -> TopologySection {
    let section = section(key, of: topics)
    checkKeys(of: section, ["name"])
    if let place = section.place, !isUsed {
      report("\(section.path) has no effect without \(other)", at: place, path: section.path)
    }
    return section
  }

  private mutating func repartitionTopics(_ section: TopologySection) -> RepartitionTopology.Topics {
    checkKeys(of: section, Keys.creation + ["raw_spans", "spans", "dead_letters"]) { key in
      ["decisions", "verdicts", "sampled", "stats", "metrics", "links", "logs", "sampled_logs"].contains(key)
        ? "it is only valid with 'kind: tail-sampling'" : nil
    }
    let defaults = RepartitionTopology.Topics()
    let rawSpans = self.section("raw_spans", of: section)
    checkKeys(of: rawSpans, Keys.spanSource)
    let spans = self.section("spans", of: section)
    checkKeys(of: spans, ["name"]) { key in
      key == "encoding" ? "spans are always written as otlp_proto" : nil
    }
    let deadLetters = self.section("dead_letters", of: section)
    checkKeys(of: deadLetters, ["name"])
    let names = topicNames([
      (rawSpans, defaults.rawSpans.name), (spans, defaults.spans), (deadLetters, defaults.deadLetters),
    ])
    return RepartitionTopology.Topics(
      creation: creation(section),
      rawSpans: spanSource(rawSpans, names[0]),
      spans: names[1], deadLetters: names[2])
  }

  mutating func creation(_ topics: TopologySection) -> TopicCreation {
    let defaults = TopicCreation()
    let factor = setting(
      "replication_factor", of: topics, "a whole number from 1 to 32767, or -1 for the broker's default",
      default: defaults.replicationFactor ?? -1
    ) { text in
      let number = text.isQuoted ? nil : NumberText.parseInteger(text.value)
      return number.flatMap { $0 == -1 || (1...32767).contains($0) ? $0 : nil }
    }
    return TopicCreation(
      enabled: truth("create", of: topics, default: defaults.enabled),
      partitions: integer("partitions", of: topics, in: 1...10_000, default: defaults.partitions),
      replicationFactor: factor.value == -1 ? nil : factor.value)
  }

  private mutating func spanSource(_ topic: TopologySection, _ name: String) -> SpanSource {
    SpanSource(
      name: name, encoding: choice("encoding", of: topic, default: .otlpProto),
      compression: choice("compression", of: topic, default: .auto))
  }

  /// Jaeger and Zipkin have no requests of logs.
  private mutating func logSource(_ topic: TopologySection, _ name: String) -> SpanSource {
    SpanSource(
      name: name,
      encoding: choice("encoding", of: topic, among: [.otlpProto, .otlpJSON], default: .otlpProto))
  }

  /// The `name` of each topic. Two topics with the same name are rejected: a worker would read what it wrote.
  mutating func topicNames(_ topics: [(section: TopologySection, default: String)]) -> [String] {
    var seen: [(path: String, name: TopologySetting<String>)] = []
    for topic in topics {
      // Kafka's own rule for names.
      let expected = "a topic name of 1 to 249 characters: a-z, A-Z, 0-9, '.', '_' and '-'"
      let name = setting("name", of: topic.section, expected, default: topic.default) { text in
        Self.isTopicName(text.value) ? text.value : nil
      }
      let path = topic.section.path(of: "name")
      if let other = seen.first(where: { $0.name.value == name.value && $0.name.isValid }), name.isValid,
        let place = name.place ?? other.name.place
      {
        let shown = MessageText.quoted(name.raw ?? other.name.raw ?? name.value)
        let message = "\(other.path) and \(path) are the same topic, \(shown)"
        report(message, at: place, path: name.place == nil ? other.path : path)
      }
      seen.append((path, name))
    }
    return seen.map(\.name.value)
  }

  /// Whether `text` is a valid Kafka topic name.
  static func isTopicName(_ text: String) -> Bool {
    let isLegal = text.utf8.allSatisfy(Self.isTopicCharacter) && ![".", ".."].contains(text)
    return isLegal && (1...249).contains(text.utf8.count)
  }

  private static func isTopicCharacter(_ byte: UInt8) -> Bool {
    switch Unicode.Scalar(byte) {
    case "a"..."z", "A"..."Z", "0"..."9", ".", "_", "-": true
    default: false
    }
  }

  // MARK: Windows and limits

  private mutating func windows(_ section: TopologySection) -> TailSamplingTopology.Windows {
    checkKeys(of: section, Keys.windows)
    let defaults = TailSamplingTopology.Windows()
    let day = Duration.seconds(86_400)
    let wait = duration(
      "decision_wait", of: section, in: .milliseconds(100)...day, default: defaults.decisionWait)
    // Defaults adapt to a decision_wait that they don't fit.
    let afterRoot = duration(
      "decision_wait_after_root", of: section, in: .zero...day,
      default: min(defaults.decisionWaitAfterRoot, wait.value))
    let buffer = choice("buffer", of: section, default: defaults.buffer)
    let late = duration(
      "late_window", of: section, in: .zero...day,
      default: buffer == .log ? defaults.lateWindow : max(defaults.lateWindow, wait.value))
    if let place = afterRoot.place, afterRoot.isValid, wait.isValid, afterRoot.value > wait.value {
      let path = section.path(of: "decision_wait_after_root")
      report("\(path) must not be longer than decision_wait", at: place, path: path)
    }
    if buffer == .memory, let place = late.place, late.isValid, wait.isValid, late.value < wait.value {
      let path = section.path(of: "late_window")
      let reason = "recovery replays that far back and needs the verdicts"
      report("\(path) must not be shorter than decision_wait: \(reason)", at: place, path: path)
    }
    return TailSamplingTopology.Windows(
      decisionWait: wait.value, decisionWaitAfterRoot: afterRoot.value,
      loneRootsWait: truth("lone_roots_wait", of: section, default: defaults.loneRootsWait),
      lateWindow: late.value,
      recallWindow: duration(
        "recall_window", of: section, in: .zero...day, default: defaults.recallWindow
      ).value, buffer: buffer)
  }

  private mutating func recall(_ section: TopologySection) -> TailSamplingTopology.Recall {
    checkKeys(of: section, Keys.recall)
    let defaults = TailSamplingTopology.Recall()
    let rate = byteSize(
      "bytes_per_second", of: section, in: (64 << 10)...(10 << 30), default: defaults.bytesPerSecond)
    return TailSamplingTopology.Recall(bytesPerSecond: rate.value)
  }

  private mutating func logs(
    _ file: TopologySection, _ windows: TailSamplingTopology.Windows, isUsed: Bool
  ) -> TailSamplingTopology.Logs {
    let section = section("logs", of: file)
    checkKeys(of: section, Keys.logs)
    if let place = section.place, !isUsed {
      report("logs has no effect without topics.logs", at: place, path: section.path)
    }
    let defaults = TailSamplingTopology.Logs()
    let least = Duration.milliseconds(100)
    // The first span may arrive after the log record by as much as it lasts, and the verdict up to
    // decision_wait after that.
    let half = Duration.milliseconds(Int64(windows.lateWindow / .milliseconds(2)))
    let wait = duration(
      "wait", of: section, in: least...(.seconds(86_400)),
      default: max(least, min(windows.decisionWait * 2, half)))
    if let place = wait.place, wait.isValid, wait.value > windows.lateWindow {
      let path = section.path(of: "wait")
      let reason = "verdicts may be forgotten before the logs that need them are due"
      report("\(path) must not be longer than windows.late_window: \(reason)", at: place, path: path)
    }
    // Without a topic of logs, the defaults do not depend on anything.
    return TailSamplingTopology.Logs(
      wait: isUsed ? wait.value : defaults.wait,
      withoutTrace: choice("without_trace", of: section, default: defaults.withoutTrace),
      withoutVerdict: choice("without_verdict", of: section, default: defaults.withoutVerdict))
  }

  /// Nil, and noted, if it is not a section.
  private mutating func metrics(_ field: TopologyField) -> SpanMetricsConfiguration? {
    guard let section = section(field) else { return nil }
    checkKeys(of: section, Keys.metrics)
    var metrics = SpanMetricsConfiguration()
    let interval = duration(
      "interval", of: section, in: .seconds(1)...(.seconds(3600)),
      default: .nanoseconds(metrics.interval.nanoseconds))
    metrics.interval = Interval(interval.value)
    metrics.seriesMax = integer("series_limit", of: section, in: 1...100_000, default: metrics.seriesMax)
    metrics.unit = choice("unit", of: section, default: metrics.unit)
    metrics.isServed = truth("serve", of: section, default: metrics.isServed)
    return metrics
  }

  private mutating func limits(_ section: TopologySection) -> TailSamplingTopology.Limits {
    checkKeys(of: section, Keys.limits)
    let defaults = TailSamplingTopology.Limits()
    let memory = byteSize("memory", of: section, in: (64 << 20)...(1 << 40), default: defaults.memory)
    let trace = byteSize(
      "bytes_per_trace", of: section, in: 1024...(1 << 30), default: defaults.bytesPerTrace)
    let record = recordBytes(section, default: defaults.recordBytes)
    for (key, size) in [("bytes_per_trace", trace), ("record_bytes", record)] {
      // Both defaults fit the smallest memory, so only a size that is given can be too large.
      guard let place = size.place, size.isValid, memory.isValid, size.value > memory.value else { continue }
      let path = section.path(of: key)
      report("\(path) must not be larger than limits.memory", at: place, path: path)
    }
    return TailSamplingTopology.Limits(
      spansPerTrace: integer(
        "spans_per_trace", of: section, in: 1...10_000_000, default: defaults.spansPerTrace),
      bytesPerTrace: trace.value, recordBytes: record.value, memory: memory.value,
      services: integer("services", of: section, in: 1...1_000_000, default: defaults.services))
  }

  /// At most 1 GB, librdkafka's own bound on `message.max.bytes` and `fetch.message.max.bytes`.
  private mutating func recordBytes(_ limits: TopologySection, default fallback: Int) -> TopologySetting<Int>
  {
    byteSize("record_bytes", of: limits, in: 1024...1_000_000_000, default: fallback)
  }
}

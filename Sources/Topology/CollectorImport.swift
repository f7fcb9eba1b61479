// Converts the configuration of an OpenTelemetry Collector to topologies: one for each `tail_sampling`
// processor, with a note for each setting that has no equivalent.

import Files
internal import Sampling
internal import Yams

/// A Collector's configuration, converted to topologies.
public struct CollectorImport: Sendable {
  /// The topology of one processor.
  public struct Imported: Sendable {
    /// The processor's key, as in `tail_sampling/checkout`.
    public let processor: String
    /// Its key path, as in `processors.tail_sampling/checkout`.
    public let path: String
    /// The topology, with stand-ins for the configuration's variables.
    public let topology: TailSamplingTopology
    /// The topology as YAML, with variables as `${NAME}`.
    public let text: String
  }

  /// In the configuration's order, without processors none of whose policies could be carried over.
  public let topologies: [Imported]
  /// What was left out or changed, and why, in the configuration's order.
  public let notes: [TopologyError.Issue]
  /// How many policies could not be carried over. Each has a note.
  public let policiesLeftOut: Int
  private let file: String

  /// One line for each note: `file:line:key: why`.
  public var noteLines: [String] {
    notes.map { $0.noteLine(of: file) }
  }

  /// Reads a Collector's configuration.
  ///
  /// - Parameters:
  ///   - path: the file; UTF-8, at most 256 KiB.
  ///   - environment: the variables, whose values are used where a number is expected.
  /// - Throws: if it is not a Collector's configuration, or has no policies.
  public static func load(
    file path: String, environment: [String: String]
  ) throws(TopologyError) -> CollectorImport {
    try parse(try Topology.text(ofFile: path), fileName: path, environment: environment)
  }

  /// Reads the text of a Collector's configuration.
  public static func parse(
    _ yaml: String, fileName: String, environment: [String: String]
  ) throws(TopologyError) -> CollectorImport {
    let document = TopologyDocument(yaml)
    guard document.problems.isEmpty, let root = document.root else {
      throw TopologyError(
        file: fileName,
        issues: document.problems.map { problem in
          .init(
            line: problem.place.line, column: problem.place.column, keyPath: "", message: problem.message)
        })
    }
    var importer = CollectorImporter(document: document, environment: environment)
    let found = importer.topologies(root)
    let policiesLeftOut = importer.policiesLeftOut
    let (notes, variables) = importer.finish()
    guard !found.isEmpty || policiesLeftOut > 0 else {
      let refusal = importer.refusal.map {
        TopologyError.Issue(line: 1, column: 1, keyPath: "", message: $0)
      }
      throw TopologyError(file: fileName, issues: notes + [refusal].compactMap(\.self))
    }
    var topologies: [Imported] = []
    for (processor, path, topology) in found {
      var writer = TopologyWriter(variables: variables.standIns)
      writer.write(topology)
      let again = try Topology.parse(
        writer.text, fileName: "the topology of \(fileName)", environment: variables.standInsByName)
      guard again == .tailSampling(topology) else {
        throw TopologyError(file: fileName, wholeFile: "\(processor) does not read back as it was written")
      }
      topologies.append(
        Imported(processor: processor, path: path, topology: topology, text: writer.text))
    }
    return CollectorImport(
      topologies: topologies, notes: notes, policiesLeftOut: policiesLeftOut, file: fileName)
  }
}

/// Walks a Collector's configuration.
struct CollectorImporter {
  var reader: TopologyReader
  /// Why there is no topology, if no note explains it.
  private(set) var refusal: String? =
    "this is not a Collector's configuration: it has no tail_sampling processor"
  /// Policies that could not be carried over.
  private(set) var policiesLeftOut = 0

  init(document: TopologyDocument, environment: [String: String]) {
    reader = TopologyReader(
      document: document, environment: environment,
      collectorVariables: CollectorVariables(environment: environment))
  }

  /// The notes, and the variables found.
  mutating func finish() -> ([TopologyError.Issue], CollectorVariables) {
    let variables = reader.collectorVariables ?? CollectorVariables(environment: [:])
    for (place, taken) in variables.taken {
      reader.report("\(taken.name) is replaced by its current value", at: place, path: taken.path)
    }
    return (reader.finish(), variables)
  }

  /// Notes that the setting `field` was left out or changed.
  mutating func note(_ field: TopologyField, _ why: String) {
    reader.report(why, at: field.place, path: field.path)
  }

  /// A section that may be empty, as in a Collector's configuration.
  mutating func section(_ field: TopologyField?) -> TopologySection {
    guard let field, case .mapping = field.node else { return .absent(field?.path ?? "") }
    return reader.section(field) ?? .absent(field.path)
  }

  /// A topology for each tail-sampling processor.
  mutating func topologies(
    _ root: Node
  ) -> [(processor: String, path: String, topology: TailSamplingTopology)] {
    let layout = CollectorLayout(root)
    let file = layout.configuration.map { section($0) } ?? .absent("")
    if layout.configuration != nil { refusal = "processors has no tail_sampling processor" }
    if let extensions = file["extensions"] ?? section(file["service"])["extensions"] {
      note(extensions, "they stay in a Collector; a worker's health and metrics are under console")
    }
    let components = CollectorComponents(file, &self)
    return layout.processors.compactMap { field in
      topology(of: field, components, isOnly: layout.processors.count == 1).map {
        (field.key, field.path, $0)
      }
    }
  }

  /// Whether a component's key, as in `kafka/traces`, is of the given type.
  static func isKind(_ type: String, _ key: String) -> Bool {
    key == type || key.hasPrefix("\(type)/")
  }

  private mutating func topology(
    of field: TopologyField, _ components: CollectorComponents, isOnly: Bool
  ) -> TailSamplingTopology? {
    // A list in place of the processor is its list of policies.
    let settings = field.isList ? .absent(field.path) : section(field)
    let policyField = field.isList ? field : settings["policies"]
    guard let policyField, policyField.isList else {
      refusal = nil
      note(field, "\(TopologyReader.shown(field.path)) has no list of policies")
      return nil
    }
    var topology = TailSamplingTopology()
    topology.windows.decisionWait = Self.collectorWait
    for setting in settings.fields { carry(setting, of: settings, into: &topology) }
    topology.policies = policies(policyField)
    guard !topology.policies.isEmpty else {
      refusal = nil
      if policiesLeftOut > 0 { note(field, "none of its policies can be carried over: there is no topology") }
      return nil
    }
    topology.windows.lateWindow = max(topology.windows.lateWindow, topology.windows.decisionWait)
    if settings["decision_wait_after_root_received"] == nil {
      topology.windows.decisionWaitAfterRoot = topology.windows.decisionWait
      note(
        field,
        "decision_wait_after_root_received is not set, so windows.decision_wait_after_root is decision_wait; "
          + "5s, Tailrace's default, decides most traces sooner and uses less memory")
    }
    if !isOnly { separate(&topology, field) }
    carryKafka(of: field.key, components, into: &topology)
    return topology
  }

  /// Each of several processors becomes its own group, with its own output topics.
  private mutating func separate(_ topology: inout TailSamplingTopology, _ field: TopologyField) {
    let name = field.key.split(separator: "/", maxSplits: 1).dropFirst().first ?? "default"
    let suffix = String(
      name.map { $0.isASCII && ($0.isLetter || $0.isNumber || "._-".contains($0)) ? $0 : "-" }.prefix(100))
    topology.worker.group += "-\(suffix)"
    topology.topics.decisions.name += "-\(suffix)"
    topology.topics.verdicts += "-\(suffix)"
    topology.topics.sampled += "-\(suffix)"
    topology.topics.deadLetters += "-\(suffix)"
    note(field, "the file has several such processors: this one's group and topics are '…-\(suffix)'")
  }

  // MARK: Settings of the processor

  /// Why some settings are not carried over.
  private static let reasons: [String: String] = [
    "num_traces": """
    not carried over: limits.memory bounds memory; when it runs short, the oldest traces are decided early, \
    and none is lost
    """,
    "expected_new_traces_per_sec": "not carried over: nothing is allocated in advance",
    "decision_cache": """
    not carried over: verdicts are remembered for windows.late_window, however many there are
    """,
    "block_on_overflow": """
    not carried over: unread spans wait in the topic; when limits.memory runs short, the oldest traces are \
    decided early
    """,
    "drop_pending_traces_on_shutdown": """
    not carried over: open traces are neither dropped nor decided at shutdown; the partition's next owner \
    replays them
    """,
    "sampling_strategy": """
    not carried over: policies evaluate the whole trace, as with trace-complete; what is certain earlier is \
    kept at once, as with span-ingest
    """,
    "num_shards": "not carried over: set lanes, and run more workers in the group",
    "tail_storage": "not carried over: undecided spans stay in the topic",
  ]

  /// The Collector's default for `decision_wait`.
  private static var collectorWait: Duration { .seconds(30) }

  private mutating func carry(
    _ field: TopologyField, of settings: TopologySection, into topology: inout TailSamplingTopology
  ) {
    switch field.key {
    case "policies": break
    case "sample_on_first_match":
      topology.sampleOnFirstMatch = reader.truth(field.key, of: settings, default: false)
    case "decision_wait":
      if let wait = duration(field, in: .milliseconds(100)...(.seconds(86_400))) {
        topology.windows.decisionWait = wait
      }
    case "decision_wait_after_root_received":
      guard let wait = duration(field, in: .zero...(.seconds(86_400))) else { break }
      let whole = settings["decision_wait"].flatMap { reader.goDuration($0) } ?? Self.collectorWait
      // Zero turns it off.
      topology.windows.decisionWaitAfterRoot = wait == .zero ? whole : min(wait, whole)
    case "maximum_trace_size_bytes":
      topology.limits.bytesPerTrace =
        reader.byteSize(
          field.key, of: settings, in: 1024...topology.limits.memory, default: topology.limits.bytesPerTrace
        ).value
      note(field, "becomes limits.bytes_per_trace: a larger trace is kept as a skeleton, not dropped")
    default:
      note(field, CollectorImporter.reasons[field.key] ?? "not carried over: unknown to this version")
    }
  }

  private mutating func duration(
    _ field: TopologyField, in range: ClosedRange<Duration>
  ) -> Duration? {
    guard let duration = reader.goDuration(field) else {
      note(field, "not carried over: it must be a duration in whole milliseconds")
      return nil
    }
    if range.contains(duration) { return duration }
    note(
      field,
      "not carried over: it must be from \(DurationText.format(range.lowerBound)) to "
        + DurationText.format(range.upperBound))
    return nil
  }

  // MARK: Policies

  /// The policies that can be carried over, with a note for each that can't.
  private mutating func policies(_ field: TopologyField) -> [PolicySpecification] {
    var places: [String: FilePlace] = [:]
    var policies: [PolicySpecification] = []
    for item in reader.list(field, of: "policies") ?? [] {
      reader.remarks = []
      guard let section = reader.section(item),
        let name = reader.required("name", of: section).flatMap({ reader.policyName($0, seen: &places) }),
        let rule = reader.policyRule(section, depth: 0), !reader.hasIssues(under: item.path)
      else {
        leaveOut(item, "this policy is left out: the others decide what it would have kept or dropped")
        continue
      }
      guard policies.count < TopologyReader.policiesMax else {
        leaveOut(item, "this policy is left out: a topology can have at most \(TopologyReader.policiesMax)")
        continue
      }
      for remark in reader.remarks { reader.report(remark.why, at: remark.place, path: remark.path) }
      if rule.isInverted {
        note(
          item,
          "invert_match samples what does not match, as in Collectors since 0.144; before, it dropped "
            + "what matched: for that, set invert_decisions: true or use a drop policy")
      }
      policies.append(PolicySpecification(name: name, rule: noted(rule, item)))
    }
    while let excess = Policy.excess(in: policies.map(Policy.init)) {
      let left = policies.removeLast()
      leaveOut(
        field, "policy \(MessageText.quoted(left.name)) is left out: together the policies need \(excess)")
    }
    return policies
  }

  private mutating func leaveOut(_ field: TopologyField, _ why: String) {
    policiesLeftOut += 1
    note(field, why)
  }

  /// The rule, with the Collector's default where that differs; adds a note where the meaning differs.
  private mutating func noted(_ rule: PolicyRule, _ item: TopologyField) -> PolicyRule {
    switch rule {
    case .latency(let threshold, let upper, _):
      return .latency(threshold: threshold, upperThreshold: upper, measure: .spans)
    case .probabilistic(_, nil):
      note(
        item,
        "the same share, but of different traces, by the trace's own randomness; with hash_salt: "
          + "default-hash-seed they are the same traces as a Collector's")
      return rule
    case .numericAttribute(let key, let least, let most, let isInverted) where least == 0 || most == 0:
      guard (least ?? 0) != 0 || (most ?? 0) != 0 else { return rule }
      note(item, "a bound of 0 means none in a Collector, so it is left out")
      return .numericAttribute(
        key: key, minValue: least == 0 ? nil : least, maxValue: most == 0 ? nil : most,
        invertMatch: isInverted)
    case .rateLimiting, .bytesLimiting:
      note(item, "the rate applies to each partition; with scope: fleet to all of them together")
      return rule
    case .and(let policies): return .and(policies.map { noted($0, item) })
    case .drop(let policies): return .drop(policies.map { noted($0, item) })
    case .not(let policy): return .not(noted(policy, item))
    case .composite(var composite):
      note(
        item,
        "its rates apply to each partition: divide them by the number of partitions; policies are "
          + "evaluated in policy_order, where a Collector goes by the list")
      composite.policies = composite.policies.map { noted($0, item) }
      return .composite(composite)
    default: return rule
    }
  }

  private mutating func noted(
    _ policy: PolicySpecification, _ item: TopologyField
  ) -> PolicySpecification {
    PolicySpecification(name: policy.name, rule: noted(policy.rule, item))
  }
}

extension PolicyRule {
  /// Whether it has `invert_match`, and that is set.
  fileprivate var isInverted: Bool {
    switch self {
    case .numericAttribute(_, _, _, let isInverted), .stringAttribute(_, _, _, let isInverted),
      .booleanAttribute(_, _, let isInverted):
      isInverted
    default: false
    }
  }
}

extension TopologyReader {
  /// Whether an issue was noted for the key `path` or one below it.
  func hasIssues(under path: String) -> Bool {
    issuePaths.contains { $0 == path || $0.hasPrefix("\(path).") || $0.hasPrefix("\(path)[") }
  }

  /// A duration as Go writes it: `1m30s`, `1.5s`, or a number of nanoseconds. Nil, without a note, if it is
  /// not a duration in whole milliseconds.
  mutating func goDuration(_ field: TopologyField) -> Duration? {
    guard let text = scalar(field, "a duration") else { return nil }
    if let nanoseconds = NumberText.parseInteger(text.value) {
      return nanoseconds % 1_000_000 == 0 && nanoseconds >= 0
        ? .milliseconds(nanoseconds / 1_000_000) : nil
    }
    let units = [
      "h": 3_600_000.0, "m": 60_000, "s": 1000, "ms": 1, "us": 0.001, "µs": 0.001, "ns": 0.000_001,
    ]
    var milliseconds = 0.0
    var rest = text.value[...]
    while !rest.isEmpty {
      let number = rest.prefix { $0.isASCII && ($0.isNumber || $0 == ".") }
      rest = rest.dropFirst(number.count)
      let unit = rest.prefix { $0.isLetter }
      rest = rest.dropFirst(unit.count)
      guard let count = Double(number), let factor = units[String(unit)] else { return nil }
      milliseconds += count * factor
    }
    let whole = milliseconds.rounded()
    guard whole < 1e12, abs(milliseconds - whole) < 1e-6 else { return nil }
    return .milliseconds(Int(whole))
  }
}

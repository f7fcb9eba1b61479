// Converts the rules file of Honeycomb's Refinery, version 2, to topologies: one for each environment, with a
// note for what has no equivalent.
//
// Its format: <https://docs.honeycomb.io/manage-data-volume/sample/honeycomb-refinery/sampling-methods/>.

import Expressions
import Files
internal import Sampling
internal import Yams

/// A rules file of Refinery, converted to topologies.
public struct RefineryImport: Sendable {
  /// The topology of one environment.
  public struct Imported: Sendable {
    /// The environment: a key of `Samplers`.
    public let environment: String
    /// The topology.
    public let topology: TailSamplingTopology
    /// The topology as YAML.
    public let text: String
  }

  /// In the file's order, without environments whose sampler could not be carried over.
  public let topologies: [Imported]
  /// What was left out or changed, and why, in the file's order.
  public let notes: [TopologyError.Issue]
  /// How many samplers and rules could not be carried over. Each has a note.
  public let rulesLeftOut: Int
  private let file: String

  /// One line for each note: `file:line:key: why`.
  public var noteLines: [String] { notes.map { $0.noteLine(of: file) } }

  /// Reads a rules file: UTF-8, at most 256 KiB.
  ///
  /// - Throws: if it is not a rules file of version 2.
  public static func load(file path: String) throws(TopologyError) -> RefineryImport {
    try parse(try Topology.text(ofFile: path), fileName: path)
  }

  /// Reads the text of a rules file.
  public static func parse(_ yaml: String, fileName: String) throws(TopologyError) -> RefineryImport {
    let document = TopologyDocument(yaml)
    guard document.problems.isEmpty, let root = document.root else {
      let issues = document.problems.map { problem in
        TopologyError.Issue(
          line: problem.place.line, column: problem.place.column, keyPath: "", message: problem.message)
      }
      throw TopologyError(file: fileName, issues: issues)
    }
    var importer = RefineryImporter(document)
    guard let found = importer.topologies(root) else {
      throw TopologyError(file: fileName, issues: importer.notes)
    }
    var topologies: [Imported] = []
    for (environment, topology) in found {
      var writer = TopologyWriter()
      writer.write(topology)
      let name = "the topology of \(fileName)"
      let again = try Topology.parse(writer.text, fileName: name, environment: [:])
      guard again == .tailSampling(topology) else {
        throw TopologyError(file: fileName, wholeFile: "\(environment) does not read back as it was written")
      }
      topologies.append(Imported(environment: environment, topology: topology, text: writer.text))
    }
    return RefineryImport(
      topologies: topologies, notes: importer.notes, rulesLeftOut: importer.rulesLeftOut, file: fileName)
  }
}

/// Walks a rules file.
struct RefineryImporter {
  var reader: TopologyReader
  /// Samplers and rules that could not be carried over.
  private(set) var rulesLeftOut = 0

  init(_ document: TopologyDocument) {
    reader = TopologyReader(document: document, environment: [:])
  }

  var notes: [TopologyError.Issue] {
    var reader = reader
    return reader.finish()
  }

  /// The topologies; nil, and noted, if it is not a rules file.
  mutating func topologies(_ root: Node) -> [(environment: String, topology: TailSamplingTopology)]? {
    let start = FilePlace(line: 1, column: 1)
    guard let file = reader.section(TopologyField(key: "", path: "", place: start, node: root)),
      let version = reader.required("RulesVersion", of: file), let given = reader.scalar(version, "2"),
      let samplers = reader.required("Samplers", of: file).flatMap({ reader.section($0) })
    else { return nil }
    guard given.value == "2" else {
      note(version, "only version 2 of Refinery's rules is read")
      return nil
    }
    reader.checkKeys(of: file, ["RulesVersion", "Samplers"])
    return samplers.fields.compactMap { field in
      guard let topology = topology(field) else {
        rulesLeftOut += 1
        return nil
      }
      return (field.key, topology)
    }
  }

  mutating func note(_ field: TopologyField, _ why: String) {
    reader.report(why, at: field.place, path: field.path)
  }

  private mutating func topology(_ field: TopologyField) -> TailSamplingTopology? {
    guard let section = reader.section(field), let sampler = section.fields.first, section.fields.count == 1,
      let settings = reader.section(sampler)
    else {
      note(field, "an environment needs one sampler")
      return nil
    }
    var topology = TailSamplingTopology(policies: [])
    switch sampler.key {
    case "RulesBasedSampler":
      let rules = settings["Rules"].flatMap { reader.list($0, of: "rules") } ?? []
      topology.rules = rules.enumerated().compactMap { number, item in
        let rule = rule(item, number + 1)
        if rule == nil {
          rulesLeftOut += 1
          note(item, "the rule is left out: the rules after it see its traces too")
        }
        return rule
      }
      for setting in settings.fields where setting.key != "Rules" { noteUnknown(setting) }
      // Refinery keeps what no rule is for.
      if !topology.rules.contains(where: \.isForAll) {
        topology.rules.append(RuleSpecification(name: "no rule", outcome: .keep))
      }
      cutAfterEnd(&topology.rules, field)
    case "DeterministicSampler":
      guard let outcome = share(settings, "SampleRate") else { return nil }
      topology.rules = [RuleSpecification(name: "all", outcome: outcome)]
    default:
      guard let baseline = baseline(sampler, settings) else { return nil }
      topology.baseline = baseline
    }
    return topology
  }

  /// Rules after one for every trace are never reached.
  private mutating func cutAfterEnd(_ rules: inout [RuleSpecification], _ field: TopologyField) {
    guard let end = rules.firstIndex(where: \.isForAll), end < rules.count - 1 else { return }
    note(
      field, "the rules after \(MessageText.quoted(rules[end].name)), which is for every trace, are left out")
    rules.removeSubrange((end + 1)...)
  }

  private mutating func noteUnknown(_ field: TopologyField) {
    note(field, "\(field.key) has no place in a topology")
  }

  // MARK: Rates

  /// One of `SampleRate` traces.
  private mutating func share(_ section: TopologySection, _ key: String) -> RuleSpecification.Outcome? {
    guard let field = reader.required(key, of: section),
      let text = reader.scalar(field, "a whole number of at least 1")
    else { return nil }
    guard let rate = NumberText.parseInteger(text.value), rate >= 0 else {
      note(field, "\(field.path) must be a whole number of at least 1")
      return nil
    }
    return rate == 0 ? .drop : rate == 1 ? .keep : .percentage(100 / Double(rate))
  }

  private static let adaptive = [
    "DynamicSampler": "SampleRate", "EMADynamicSampler": "GoalSampleRate",
    "EMAThroughputSampler": "GoalThroughputPerSec", "WindowedThroughputSampler": "GoalThroughputPerSec",
    "TotalThroughputSampler": "GoalThroughputPerSec",
  ]

  /// The adaptive baseline that is closest to a dynamic sampler.
  private mutating func baseline(
    _ sampler: TopologyField, _ settings: TopologySection
  ) -> BaselineSettings? {
    guard let goal = Self.adaptive[sampler.key] else {
      note(sampler, "the sampler \(MessageText.quoted(sampler.key)) is not known")
      return nil
    }
    guard let field = reader.required(goal, of: settings), let text = reader.scalar(field, "a number"),
      let number = NumberText.parseInteger(text.value), number > 0
    else { return nil }
    var baseline = BaselineSettings()
    baseline.includesOtherPolicies = true
    if goal == "GoalThroughputPerSec" {
      baseline.budget = .spansPerSecond(Double(number))
      note(field, "the budget is the fleet's; Refinery's goal is each node's: multiply it by their number")
    } else {
      baseline.budget = .traces(percentage: 100 / Double(number))
    }
    if let fields = settings["FieldList"].flatMap({ reader.list($0, of: "fields") }) {
      let names = fields.compactMap { reader.scalar($0, "a field")?.value }.map(RefineryField.attribute)
      if names.count > BaselineKey.partsMax {
        note(
          sampler,
          "a baseline's key has at most \(BaselineKey.partsMax) attributes: the rest is left out")
      }
      baseline.key = .attributes(Array(names.prefix(BaselineKey.partsMax)))
    }
    for setting in settings.fields where setting.key != goal && setting.key != "FieldList" {
      note(setting, "the baseline has its own control law: docs/topology.md")
    }
    return baseline
  }

  // MARK: Rules

  private mutating func rule(_ item: TopologyField, _ number: Int) -> RuleSpecification? {
    guard let section = reader.section(item) else { return nil }
    let name = section["Name"].flatMap { reader.scalar($0, "a name", allowsLoneDollars: true)?.value }
    guard let outcome = outcome(section) else { return nil }
    let scope = section["Scope"].flatMap { reader.scalar($0, "trace or span")?.value } ?? "trace"
    var conditions = RefineryConditions()
    for item in section["Conditions"].flatMap({ $0.isEmptyList ? [] : reader.list($0, of: "conditions") })
      ?? []
    {
      guard let condition = condition(item) else { return nil }
      conditions.add(condition)
    }
    for field in section.fields
    where !["Name", "Drop", "SampleRate", "Sampler", "Scope", "Conditions"].contains(field.key) {
      noteUnknown(field)
    }
    return RuleSpecification(
      // Names are unique in a topology.
      name: "\(number): \(name ?? "rule")", conditions: conditions.policies(areOfOneSpan: scope == "span"),
      outcome: outcome)
  }

  private mutating func outcome(_ section: TopologySection) -> RuleSpecification.Outcome? {
    if reader.truth("Drop", of: section, default: false) { return .drop }
    guard let field = section["Sampler"] else {
      return section["SampleRate"] == nil ? .keep : share(section, "SampleRate")
    }
    guard let sampler = reader.section(field)?.fields.first, let settings = reader.section(sampler) else {
      return nil
    }
    if sampler.key == "DeterministicSampler" { return share(settings, "SampleRate") }
    guard let goal = Self.adaptive[sampler.key] else {
      note(sampler, "the sampler \(MessageText.quoted(sampler.key)) is not known")
      return nil
    }
    if goal == "GoalThroughputPerSec" {
      guard let field = reader.required(goal, of: settings), let rate = reader.rate(field, of: "spans") else {
        return nil
      }
      note(sampler, "a rule has no adaptive rate: all of its traces up to the goal, for the whole fleet")
      return .spansPerSecond(rate, burstCapacity: nil, scope: .fleet)
    }
    note(sampler, "a rule has no adaptive rate: the goal is a fixed share; see baseline for one that adapts")
    return share(settings, goal)
  }

  private mutating func condition(_ item: TopologyField) -> RefineryCondition? {
    guard let section = reader.section(item) else { return nil }
    let names = section["Fields"] ?? section["Field"]
    let fields = names.map { field in
      field.isList ? reader.list(field, of: "fields") ?? [] : [field]
    }
    guard let fields, let `operator` = reader.required("Operator", of: section),
      let word = reader.scalar(`operator`, "an operator")?.value
    else {
      if names == nil { note(item, "a condition needs the key Field or Fields") }
      return nil
    }
    let texts = fields.compactMap { reader.scalar($0, "a field", allowsLoneDollars: true)?.value }
    let datatype = section["Datatype"].flatMap { reader.scalar($0, "a type")?.value }
    let values = section["Value"].map { $0.isList ? reader.list($0, of: "values") ?? [] : [$0] } ?? []
    let literals = values.compactMap { value in
      reader.scalar(value, "a value", allowsLoneDollars: true).map { RefineryValue($0, datatype) }
    }
    guard texts.count == fields.count, literals.count == values.count else { return nil }
    do throws(RefineryCondition.NoPlace) {
      return try RefineryCondition(fields: texts, operator: word, values: literals)
    } catch {
      note(item, error.why)
      return nil
    }
  }
}

extension TopologyError.Issue {
  /// `file:line:key: why`.
  func noteLine(of file: String) -> String {
    // Many messages begin with the key.
    let begins = ["\(keyPath): ", "\(keyPath) "].first { message.hasPrefix($0) } ?? ""
    let why = keyPath.isEmpty ? message[...] : message.dropFirst(begins.count)
    let place = keyPath.isEmpty ? "" : ":\(keyPath)"
    return "\(MessageText.oneLine(file)):\(line)\(place): \(why)"
  }
}

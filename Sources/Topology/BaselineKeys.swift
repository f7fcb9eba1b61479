// The keys of the `baseline` section.

import Files
internal import Sampling

private enum BudgetKey: String, CaseIterable {
  case traces = "traces_percentage"
  case spans = "spans_percentage"
  case bytes = "bytes_percentage"
  case spansPerSecond = "spans_per_second"
}

extension TopologyReader {
  /// The baseline under `field`; nil if it is invalid.
  mutating func baseline(_ field: TopologyField, policies: [PolicySpecification]) -> BaselineSettings? {
    guard let section = section(field) else { return nil }
    checkKeys(
      of: section,
      [
        "budget", "includes_other_policies", "key", "floor", "ceiling", "boost", "interval", "services",
        "first_of_shape", "shape_silence",
      ])
    var settings = BaselineSettings()
    if let budget = section["budget"].flatMap({ self.budget($0) }) { settings.budget = budget }
    settings.includesOtherPolicies = truth(
      "includes_other_policies", of: section, default: settings.includesOtherPolicies)
    if let key = section["key"].flatMap({ baselineKey($0) }) { settings.key = key }
    settings.floor = floor(of: section)
    settings.ceilingPercentage = number(
      "ceiling", of: section, in: 0.0001...100, default: settings.ceilingPercentage)
    settings.boost = number("boost", of: section, in: 1...64, default: settings.boost)
    settings.interval =
      duration("interval", of: section, in: .seconds(1)...(.seconds(600)), default: settings.interval).value
    settings.services = integer("services", of: section, in: 1...100_000, default: settings.services)
    readShapes(of: section, into: &settings)
    if policies.contains(where: { $0.name == BaselineSettings.policyName }) {
      let name = BaselineSettings.policyName
      report(
        "the policy name '\(name)' is reserved where there is a baseline: rename the policy",
        at: field.place, path: field.path)
    }
    return settings
  }

  /// Nil if the floor is within the budget.
  private mutating func floor(of section: TopologySection) -> Double? {
    setting("floor", of: section, "within_budget, or a number from 0 to 1000000", default: nil as Double?) {
      text -> Double?? in
      if text.isQuoted { return nil }
      if text.value == "within_budget" { return .some(nil) }
      return NumberText.parseDecimal(text.value).flatMap { (0...1e6).contains($0) ? .some($0) : nil }
    }.value
  }

  /// Reads what becomes of the first traces of shapes.
  private mutating func readShapes(of section: TopologySection, into settings: inout BaselineSettings) {
    let isUsual = settings.key.parts.contains(.traceShape) && settings.floor == nil
    settings.firstOfShapePercentage = number(
      "first_of_shape", of: section, in: 0...100,
      default: isUsual ? BaselineSettings.firstOfShapeUsually : 0)
    settings.shapeSilence =
      duration(
        "shape_silence", of: section, in: .seconds(60)...(.seconds(31 * 86_400)),
        default: settings.shapeSilence
      ).value
    if let field = section["first_of_shape"], settings.firstOfShapePercentage > 0, settings.floor != nil {
      report("\(field.path) needs floor: within_budget", at: field.valuePlace, path: field.path)
    }
    if let field = section["shape_silence"], settings.firstOfShapePercentage == 0 {
      report("\(field.path) has no effect without first_of_shape", at: field.place, path: field.path)
    }
  }

  private mutating func baselineKey(_ field: TopologyField) -> BaselineKey? {
    guard field.isList else {
      let expected = "service or a list of attributes, such as [service.name, http.route]"
      guard let text = scalar(field, expected) else { return nil }
      if text.value == "service" { return .service }
      let meant =
        Suggestion.nearest(to: text.value, among: ["service"]) ?? (text.value.isEmpty ? nil : "[\(text.raw)]")
      let hint = meant.map { "; did you mean \(MessageText.quoted($0))?" } ?? ""
      let message = "\(field.path) must be \(expected), found \(MessageText.quoted(text.raw))\(hint)"
      report(message, at: text.place, path: field.path)
      return nil
    }
    guard let items = list(field, of: "attributes") else { return nil }
    if items.count > BaselineKey.partsMax {
      let most = BaselineKey.partsMax
      let message = "\(field.path) can have at most \(most) attributes, found \(items.count)"
      report(message, at: field.valuePlace, path: field.path)
    }
    var parts: [BaselineKeyPart] = []
    for item in items {
      guard let text = scalar(item, "an attribute name") else { continue }
      let part = BaselineKeyPart(text: text.value)
      if let problem = problem(of: part, text, among: parts) {
        report("\(item.path) \(problem)", at: text.place, path: item.path)
      }
      parts.append(part ?? .attribute(text.value))
    }
    return parts.count == items.count ? .parts(parts) : nil
  }

  private func problem(
    of part: BaselineKeyPart?, _ text: ScalarText, among others: [BaselineKeyPart]
  ) -> String? {
    guard let part else {
      let builtIn = BaselineKeyPart.builtIn.map(\.text)
      let meant = Suggestion.nearest(to: text.value, among: builtIn) ?? "attribute." + text.value
      return "must be one of \(builtIn.joined(separator: ", ")) or an attribute, found "
        + "\(MessageText.quoted(text.raw)); did you mean \(MessageText.quoted(meant))?"
    }
    if part == .attribute("") { return "must be an attribute name, found an empty string" }
    if others.contains(part) { return "repeats \(MessageText.quoted(text.raw))" }
    // By OpenTelemetry's conventions no attribute is named like a namespace: this would silently match
    // nothing.
    guard text.value == "service" else { return nil }
    return "must be an attribute name, found 'service'; did you mean 'service.name'?"
  }

  private mutating func budget(_ field: TopologyField) -> BaselineSettings.Budget? {
    guard let section = section(field) else { return nil }
    let names = BudgetKey.allCases.map(\.rawValue)
    checkKeys(of: section, names)
    let given = BudgetKey.allCases.filter { section[$0.rawValue] != nil }
    guard given.count == 1, let key = given.first else {
      let message = "\(field.path) must have exactly one of \(names.joined(separator: ", "))"
      report(message, at: field.place, path: field.path)
      return nil
    }
    let isShare = key != .spansPerSecond
    let value = number(key.rawValue, of: section, in: 0.000_001...(isShare ? 100 : 1e12), default: 1)
    switch key {
    case .traces: return .traces(percentage: value)
    case .spans: return .spans(percentage: value)
    case .bytes: return .bytes(percentage: value)
    case .spansPerSecond: return .spansPerSecond(value)
    }
  }

  /// A decimal number.
  private mutating func number(
    _ key: String, of section: TopologySection, in range: ClosedRange<Double>, default fallback: Double
  ) -> Double {
    let expected =
      "a number from \(NumberText.format(range.lowerBound)) to \(NumberText.format(range.upperBound))"
    return setting(key, of: section, expected, default: fallback) { text in
      text.isQuoted ? nil : NumberText.parseDecimal(text.value).flatMap { range.contains($0) ? $0 : nil }
    }.value
  }
}

extension BaselineKeyPart {
  /// What is no attribute.
  fileprivate static let builtIn: [BaselineKeyPart] = [.traceShape, .rootOperation, .spanName]
  /// Attributes whose names begin like this need a prefix: they could be taken for what is built in, and a
  /// typing error for an attribute that no span has.
  private static let namespaces = ["trace.", "root.", "span.", prefix]
  private static let prefix = "attribute."

  /// A part as a file has it; nil if it is neither built in nor certainly an attribute.
  fileprivate init?(text: String) {
    if let part = BaselineKeyPart.builtIn.first(where: { $0.text == text }) {
      self = part
    } else if text.hasPrefix(BaselineKeyPart.prefix) {
      self = .attribute(String(text.dropFirst(BaselineKeyPart.prefix.count)))
    } else if BaselineKeyPart.namespaces.contains(where: { text.hasPrefix($0) }) {
      return nil
    } else {
      self = .attribute(text)
    }
  }

  /// The part as a file has it.
  var text: String {
    switch self {
    case .traceShape: "trace.shape"
    case .rootOperation: "root.operation"
    case .spanName: "span.name"
    case .attribute(let name):
      BaselineKeyPart.namespaces.contains { name.hasPrefix($0) } ? BaselineKeyPart.prefix + name : name
    }
  }
}

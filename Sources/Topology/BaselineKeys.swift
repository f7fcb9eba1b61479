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
      ["budget", "includes_other_policies", "key", "floor", "ceiling", "boost", "interval", "services"])
    var settings = BaselineSettings()
    if let budget = section["budget"].flatMap({ self.budget($0) }) { settings.budget = budget }
    settings.includesOtherPolicies = truth(
      "includes_other_policies", of: section, default: settings.includesOtherPolicies)
    if let key = section["key"].flatMap({ baselineKey($0) }) { settings.key = key }
    settings.floor = number("floor", of: section, in: 0...1e6, default: settings.floor)
    settings.ceilingPercentage = number(
      "ceiling", of: section, in: 0.0001...100, default: settings.ceilingPercentage)
    settings.boost = number("boost", of: section, in: 1...64, default: settings.boost)
    settings.interval =
      duration("interval", of: section, in: .seconds(1)...(.seconds(600)), default: settings.interval).value
    settings.services = integer("services", of: section, in: 1...100_000, default: settings.services)
    if policies.contains(where: { $0.name == BaselineSettings.policyName }) {
      let name = BaselineSettings.policyName
      report(
        "the policy name '\(name)' is reserved where there is a baseline: rename the policy",
        at: field.place, path: field.path)
    }
    return settings
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
    if items.count > BaselineKey.attributesMax {
      let most = BaselineKey.attributesMax
      let message = "\(field.path) can have at most \(most) attributes, found \(items.count)"
      report(message, at: field.valuePlace, path: field.path)
    }
    var names: [String] = []
    for item in items {
      guard let text = scalar(item, "an attribute name") else { continue }
      if let problem = problem(ofAttribute: text, among: names) {
        report("\(item.path) \(problem)", at: text.place, path: item.path)
      }
      names.append(text.value)
    }
    return names.count == items.count ? .attributes(names) : nil
  }

  private func problem(ofAttribute text: ScalarText, among others: [String]) -> String? {
    if text.value.isEmpty { return "must be an attribute name, found an empty string" }
    if others.contains(text.value) { return "repeats \(MessageText.quoted(text.raw))" }
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

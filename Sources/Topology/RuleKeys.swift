// The `rules` list.

import Files
internal import Sampling

extension TopologyReader {
  /// The rules of the list `field`; those with an issue are left out.
  ///
  /// - Parameters:
  ///   - policies: the policies beside them, which share limits with them.
  ///   - places: the places of names that are taken; theirs are added.
  mutating func rules(
    _ field: TopologyField, besides policies: [PolicySpecification], seen places: inout [String: FilePlace]
  ) -> [RuleSpecification] {
    if field.isEmptyList { return [] }
    var rules: [RuleSpecification] = []
    let items = list(field, of: "rules") ?? []
    if policies.count + items.count > Self.policiesMax {
      let message =
        "\(field.path) and policies have \(policies.count + items.count) items together; at most "
        + "\(Self.policiesMax) are allowed"
      report(message, at: field.place, path: field.path)
      return []
    }
    // Names of policies that the file gives are in `places`; the default ones' are not.
    for policy in policies where places[policy.name] == nil { places[policy.name] = field.place }
    var hasEnd = false
    for item in items {
      guard let section = section(item) else { continue }
      if hasEnd {
        let message = "\(item.path) is never reached: the rule before it is for every trace"
        report(message, at: item.place, path: item.path)
      }
      guard let rule = rule(section, seen: &places) else { continue }
      rules.append(rule)
      hasEnd = rule.isForAll
    }
    if Policy.excess(in: policies.map(Policy.init)) == nil {
      let all = policies + RuleSpecification.policies(of: rules)
      if let excess = Policy.excess(in: all.map(Policy.init)) {
        report("\(field.path) and policies together need \(excess)", at: field.place, path: field.path)
      }
    }
    return rules
  }

  private mutating func rule(
    _ section: TopologySection, seen places: inout [String: FilePlace]
  ) -> RuleSpecification? {
    checkKeys(of: section, ["name", "services", "attributes", "when", "then"]) { key in
      key == "type" ? "a rule's conditions are a list under 'when'" : nil
    }
    let name = required("name", of: section).flatMap { policyName($0, seen: &places) }
    let services = section["services"].map { ruleValues($0) } ?? []
    var attributes: [RuleSpecification.Attribute]? = []
    for field in self.section("attributes", of: section).fields {
      guard let values = ruleValues(field), !field.key.isEmpty else {
        attributes = nil
        continue
      }
      attributes?.append(RuleSpecification.Attribute(key: field.key, values: values))
    }
    let conditions = section["when"].map { $0.isEmptyList ? [] : subPolicies($0, 1) } ?? []
    let outcome = required("then", of: section).flatMap { ruleOutcome($0) }
    guard let name, let services, let attributes, let outcome, let conditions else { return nil }
    return RuleSpecification(
      name: name, services: services, attributes: attributes, conditions: conditions, outcome: outcome)
  }

  /// A text or several; nil, and noted, if one of them is none.
  private mutating func ruleValues(_ field: TopologyField) -> [String]? {
    let items = field.isList ? list(field, of: "strings") ?? [] : [field]
    let texts = items.compactMap { scalar($0, "a string")?.value }
    return texts.isEmpty || texts.count != items.count ? nil : texts
  }

  private mutating func ruleOutcome(_ field: TopologyField) -> RuleSpecification.Outcome? {
    let expected = "keep, drop, or a section with percentage, spans_per_second or bytes_per_second"
    guard field.isSection else {
      let given = setting(field, expected, default: nil as RuleSpecification.Outcome?) { text in
        text.value == "keep" ? .some(.keep) : text.value == "drop" ? .some(.drop) : nil
      }
      return given.value
    }
    guard let section = section(field) else { return nil }
    let kinds = ["percentage", "spans_per_second", "bytes_per_second"]
    let given = kinds.filter { section[$0] != nil }
    guard given.count == 1 else {
      checkKeys(of: section, kinds + ["burst_capacity", "scope"])
      report("\(field.path) must be \(expected)", at: field.valuePlace, path: field.path)
      return nil
    }
    if given[0] == "percentage" {
      checkKeys(of: section, ["percentage"])
      let share = setting("percentage", of: section, "a number from 0 to 100", default: 0.0) { text in
        text.isQuoted
          ? nil : NumberText.parseDecimal(text.value).flatMap { (0...100).contains($0) ? $0 : nil }
      }
      return share.isValid ? .percentage(share.value) : nil
    }
    let isOfSpans = given[0] == "spans_per_second"
    guard let (rate, burst, scope) = limit(section, isOfSpans ? "spans" : "bytes") else {
      return nil
    }
    return isOfSpans
      ? .spansPerSecond(rate, burstCapacity: burst, scope: scope)
      : .bytesPerSecond(rate, burstCapacity: burst, scope: scope)
  }
}

// The `policies` list, with the names, keys and meaning of the OpenTelemetry Collector's `tail_sampling`
// policies.

import Files
internal import Sampling

/// The policy types of the Collector's `tail_sampling` processor.
private enum PolicyType: String, CaseIterable {
  case alwaysSample = "always_sample"
  case latency
  case numericAttribute = "numeric_attribute"
  case probabilistic
  case statusCode = "status_code"
  case stringAttribute = "string_attribute"
  case booleanAttribute = "boolean_attribute"
  case traceState = "trace_state"
  case traceFlags = "trace_flags"
  case rateLimiting = "rate_limiting"
  case bytesLimiting = "bytes_limiting"
  case spanCount = "span_count"
  case ottlCondition = "ottl_condition"
  case and
  case not
  case drop
  case composite

  /// Whether the type has a section of settings, under its own name.
  var hasSection: Bool { self != .alwaysSample && self != .traceFlags }

  /// Whether it is allowed only at the top level.
  var isTopLevelOnly: Bool { self == .drop || self == .composite }
}

/// How deep policies may nest.
private let nestingMax = 16

extension TopologyReader {
  /// The core keeps the set of policies that match a trace in one word.
  static let policiesMax = 64

  /// The policies of the list `field`; those with an issue are left out.
  ///
  /// - Parameters:
  ///   - others: policies that share limits with them.
  ///   - places: the places of names that are taken; theirs are added.
  mutating func policies(
    _ field: TopologyField, besides others: [PolicySpecification] = [],
    seen places: inout [String: FilePlace]
  ) -> [PolicySpecification] {
    var policies: [PolicySpecification] = []
    let items = list(field, of: "policies") ?? []
    if items.count > Self.policiesMax {
      let message = "\(field.path) has \(items.count) items; at most \(Self.policiesMax) are allowed"
      report(message, at: items[Self.policiesMax].place, path: field.path)
    }
    for item in items.prefix(Self.policiesMax) {
      guard let section = section(item) else { continue }
      let name = required("name", of: section).flatMap { policyName($0, seen: &places) }
      if let rule = policyRule(section, depth: 0), let name {
        policies.append(PolicySpecification(name: name, rule: rule))
      }
    }
    // What the others exceed is their own issue.
    if Policy.excess(in: others.map(Policy.init)) == nil,
      let excess = Policy.excess(in: (others + policies).map(Policy.init))
    {
      let together = others.isEmpty ? "together" : "and policies together"
      report("\(field.path) \(together) need \(excess)", at: field.place, path: field.path)
    }
    return policies
  }

  /// The shadow policies of the list `field`, which may be empty.
  ///
  /// - Parameters:
  ///   - policies: the policies that decide. Their names are taken.
  ///   - places: the places of these names, where the file gives them.
  mutating func shadowPolicies(
    _ field: TopologyField, besides policies: [PolicySpecification], hasBaseline: Bool,
    seen places: inout [String: FilePlace]
  ) -> [PolicySpecification] {
    if field.isEmptyList { return [] }
    let shadow = self.policies(field, besides: policies, seen: &places)
    var taken = policies.map(\.name)
    if hasBaseline { taken.append(BaselineSettings.policyName) }
    for name in shadow.map(\.name) where taken.contains(name) {
      report(
        "the policy name \(MessageText.quoted(name)) is already used by a policy that decides: rename the "
          + "shadow policy", at: field.place, path: field.path)
    }
    return shadow
  }

  /// - Parameter seen: the places of earlier policies' names; this name is added.
  mutating func policyName(_ field: TopologyField, seen places: inout [String: FilePlace]) -> String? {
    guard let text = scalar(field, "a name") else { return nil }
    if text.value.isEmpty {
      report("\(field.path) must not be empty", at: text.place, path: field.path)
      return nil
    }
    if let first = places[text.value] {
      let message =
        "\(field.path) \(MessageText.quoted(text.raw)) is already used by the policy on line \(first.line)"
      report(message, at: text.place, path: field.path)
      return nil
    }
    places[text.value] = text.place
    return text.value
  }

  /// The rule of a policy.
  ///
  /// - Parameter depth: how many policies it is nested in.
  mutating func policyRule(_ policy: TopologySection, depth: Int) -> PolicyRule? {
    guard let field = required("type", of: policy), let type = policyType(field, depth: depth) else {
      return nil
    }
    let known = ["name", "type"] + (type.hasSection ? [type.rawValue] : [])
    checkKeys(of: policy, known) { key in
      PolicyType(rawValue: key) == nil ? nil : "the policy's type is \(type.rawValue)"
    }
    if type == .alwaysSample { return .alwaysSample }
    if type == .traceFlags { return .traceFlags }
    guard let settings = required(type.rawValue, of: policy).flatMap({ section($0) }) else { return nil }
    return switch type {
    case .alwaysSample, .traceFlags: nil
    case .statusCode: statusCodes(settings)
    case .latency: latency(settings)
    case .probabilistic: probabilistic(settings)
    case .numericAttribute: numericAttribute(settings)
    case .stringAttribute: stringAttribute(settings)
    case .booleanAttribute: booleanAttribute(settings)
    case .traceState: traceState(settings)
    case .ottlCondition: ottlCondition(settings)
    case .spanCount: spanCount(settings)
    case .rateLimiting: rateLimiting(settings)
    case .bytesLimiting: bytesLimiting(settings)
    case .and: subPolicies(settings, "and_sub_policy", depth).map { .and($0) }
    case .drop: subPolicies(settings, "drop_sub_policy", depth).map { .drop($0) }
    case .not: notSubPolicy(settings, depth).map { .not($0) }
    case .composite: composite(settings, depth)
    }
  }

  private mutating func policyType(_ field: TopologyField, depth: Int) -> PolicyType? {
    let types = PolicyType.allCases.filter { depth == 0 || !$0.isTopLevelOnly }.map(\.rawValue)
    guard let text = scalar(field, "a policy type") else { return nil }
    let shown = MessageText.quoted(text.raw)
    if let type = PolicyType(rawValue: text.value) {
      if depth == 0 || !type.isTopLevelOnly { return type }
      report("policy type \(shown) can't be nested in another policy", at: text.place, path: field.path)
    } else {
      if collectorVariables != nil, !text.value.isEmpty {
        let why =
          "policy type \(shown) is not supported; policies of a Collector's extensions can't be carried over"
        report(why, at: text.place, path: field.path)
        return nil
      }
      let near = Suggestion.nearest(to: text.value, among: types)
      let hint = near.map { "; did you mean '\($0)'?" } ?? "; it must be \(Self.alternatives(types))"
      report("unknown policy type \(shown)\(hint)", at: text.place, path: field.path)
    }
    return nil
  }

  // MARK: Policies inside policies

  /// The policies of a list under `key`, the only key of `section`; nil if one of them has an issue.
  private mutating func subPolicies(
    _ section: TopologySection, _ key: String, _ depth: Int
  ) -> [PolicySpecification]? {
    checkKeys(of: section, [key])
    return required(key, of: section).flatMap { subPolicies($0, depth) }
  }

  /// The policies of a list; nil if one of them has an issue.
  mutating func subPolicies(_ field: TopologyField, _ depth: Int) -> [PolicySpecification]? {
    guard let items = list(field, of: "policies") else { return nil }
    let policies = items.map { subPolicy($0, depth) }
    return policies.contains(nil) ? nil : policies.compactMap(\.self)
  }

  private mutating func notSubPolicy(_ section: TopologySection, _ depth: Int) -> PolicySpecification? {
    checkKeys(of: section, ["not_sub_policy"])
    return required("not_sub_policy", of: section).flatMap { subPolicy($0, depth) }
  }

  /// A policy nested in another. Its name is only for readers of the file.
  private mutating func subPolicy(_ field: TopologyField, _ depth: Int) -> PolicySpecification? {
    guard depth < nestingMax else {
      report("policies are nested more than \(nestingMax) deep", at: field.place, path: field.path)
      return nil
    }
    guard let section = section(field) else { return nil }
    let name = section["name"].map { scalar($0, "a name")?.value } ?? ""
    guard let rule = policyRule(section, depth: depth + 1), let name else { return nil }
    return PolicySpecification(name: name, rule: rule)
  }

  private mutating func composite(_ section: TopologySection, _ depth: Int) -> PolicyRule? {
    checkKeys(
      of: section,
      [
        "max_total_spans_per_second", "policy_order", "composite_sub_policy", "rate_allocation",
        "fall_through", "cap_total",
      ])
    let max = required("max_total_spans_per_second", of: section).flatMap { rate($0, of: "spans") }
    var places: [String: FilePlace] = [:]
    var policies: [PolicySpecification] = []
    let field = required("composite_sub_policy", of: section)
    for item in field.flatMap({ list($0, of: "policies") }) ?? [] {
      guard let policy = self.section(item) else { continue }
      let name = required("name", of: policy).flatMap { policyName($0, seen: &places) }
      if let rule = policyRule(policy, depth: depth + 1), let name {
        policies.append(PolicySpecification(name: name, rule: rule))
      }
    }
    let names = Array(places.keys)
    let order = section["policy_order"].map { policyOrder($0, names) } ?? []
    let allocations = section["rate_allocation"].map { rateAllocations($0, names) } ?? [:]
    let fallsThrough = truth("fall_through", of: section, default: false)
    let capsTotal = truth("cap_total", of: section, default: false)
    guard let max, !policies.isEmpty else { return nil }
    let ranks = Dictionary(uniqueKeysWithValues: order.enumerated().map { ($0.element, $0.offset) })
    let sorted = policies.enumerated().sorted {
      (ranks[$0.element.name] ?? .max, $0.offset) < (ranks[$1.element.name] ?? .max, $1.offset)
    }
    return .composite(
      CompositePolicy(
        spansPerSecondMax: max, policies: sorted.map(\.element), allocations: allocations,
        fallsThrough: fallsThrough, capsTotal: capsTotal))
  }

  private mutating func policyOrder(_ field: TopologyField, _ names: [String]) -> [String] {
    var order: [String] = []
    guard !field.isEmptyList else { return [] }
    for item in list(field, of: "policy names") ?? [] {
      guard let name = subPolicyName(item, names) else { continue }
      if order.contains(name) {
        report("\(item.path) repeats a policy", at: item.valuePlace, path: item.path)
      } else {
        order.append(name)
      }
    }
    return order
  }

  private mutating func rateAllocations(_ field: TopologyField, _ names: [String]) -> [String: Int] {
    var percents: [String: Int] = [:]
    guard !field.isEmptyList else { return [:] }
    for item in list(field, of: "allocations") ?? [] {
      guard let section = section(item) else { continue }
      checkKeys(of: section, ["policy", "percent"])
      let percent = integer("percent", of: section, in: 0...100, default: 0)
      guard let policy = required("policy", of: section), let name = subPolicyName(policy, names) else {
        continue
      }
      if percents.updateValue(percent, forKey: name) != nil {
        report("\(policy.path) repeats a policy", at: policy.valuePlace, path: policy.path)
      }
    }
    return percents
  }

  /// The name of one of the policies in `composite_sub_policy`.
  private mutating func subPolicyName(_ field: TopologyField, _ names: [String]) -> String? {
    guard let text = scalar(field, "the name of a policy in composite_sub_policy") else { return nil }
    if names.contains(text.value) { return text.value }
    let hint =
      Suggestion.nearest(to: text.value, among: names.sorted()).map { "; did you mean '\($0)'?" } ?? ""
    let found = MessageText.quoted(text.raw)
    let message = "\(field.path) must be the name of a policy in composite_sub_policy, found \(found)\(hint)"
    report(message, at: text.place, path: field.path)
    return nil
  }
}

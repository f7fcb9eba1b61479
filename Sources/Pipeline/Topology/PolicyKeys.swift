// The `policies` list: names, keys and meaning of the OpenTelemetry Collector's `tail_sampling` policies.

/// The policy types of the Collector's `tail_sampling` processor.
private enum PolicyType: String, CaseIterable {
  case alwaysSample = "always_sample"
  case latency
  case statusCode = "status_code"
  case probabilistic

  /// The Collector's other types, known but not evaluated.
  static let planned = [
    "numeric_attribute", "string_attribute", "boolean_attribute", "rate_limiting", "bytes_limiting",
    "span_count", "trace_state", "trace_flags", "ottl_condition", "and", "not", "drop", "composite",
  ]

  /// Whether the type has a section of settings, under its own name.
  var hasSection: Bool { self != .alwaysSample }
}

/// The core keeps the set of policies that match a trace in one word.
private let policiesMax = 64

extension TopologyReader {
  /// The policies of the list `field`; those with an issue are left out.
  mutating func policies(_ field: TopologyField) -> [PolicySpecification] {
    var places: [String: FilePlace] = [:]
    var policies: [PolicySpecification] = []
    let items = list(field, of: "policies") ?? []
    if items.count > policiesMax {
      let message = "policies has \(items.count) items; at most \(policiesMax) are allowed"
      report(message, at: items[policiesMax].place, path: field.path)
    }
    for item in items.prefix(policiesMax) {
      guard let section = section(item) else { continue }
      let name = required("name", of: section).flatMap { policyName($0, seen: &places) }
      if let rule = policyRule(section), let name {
        policies.append(PolicySpecification(name: name, rule: rule))
      }
    }
    return policies
  }

  private mutating func policyName(_ field: TopologyField, seen places: inout [String: FilePlace]) -> String?
  {
    guard let text = scalar(field, "a name") else { return nil }
    if text.value.isEmpty {
      report("\(field.path) must not be empty", at: text.place, path: field.path)
      return nil
    }
    if let first = places[text.value] {
      let message =
        "\(field.path) \(MessageText.quoted(text.raw)) is the name of the policy in line \(first.line) too"
      report(message, at: text.place, path: field.path)
      return nil
    }
    places[text.value] = text.place
    return text.value
  }

  private mutating func policyRule(_ policy: TopologySection) -> PolicyRule? {
    guard let field = required("type", of: policy), let type = policyType(field) else { return nil }
    let known = ["name", "type"] + (type.hasSection ? [type.rawValue] : [])
    checkKeys(of: policy, known) { key in
      let types = PolicyType.allCases.map(\.rawValue) + PolicyType.planned
      return types.contains(key) ? "the policy's type is \(type.rawValue)" : nil
    }
    guard type.hasSection else { return .alwaysSample }
    guard let settings = required(type.rawValue, of: policy).flatMap({ section($0) }) else { return nil }
    switch type {
    case .alwaysSample: return .alwaysSample
    case .statusCode: return statusCodes(settings)
    case .latency: return latency(settings)
    case .probabilistic: return probabilistic(settings)
    }
  }

  private mutating func policyType(_ field: TopologyField) -> PolicyType? {
    let types = PolicyType.allCases.map(\.rawValue)
    guard let text = scalar(field, "a policy type") else { return nil }
    if let type = PolicyType(rawValue: text.value) { return type }
    let shown = MessageText.quoted(text.raw)
    if PolicyType.planned.contains(text.value) {
      let message = "policy type \(shown) is not supported yet by this version"
      report(message, at: text.place, path: field.path)
    } else {
      let near = Suggestion.nearest(to: text.value, among: types + PolicyType.planned)
      let hint = near.map { "; did you mean '\($0)'?" } ?? "; this version has \(Self.alternatives(types))"
      report("unknown policy type \(shown)\(hint)", at: text.place, path: field.path)
    }
    return nil
  }

  private mutating func statusCodes(_ section: TopologySection) -> PolicyRule? {
    checkKeys(of: section, ["status_codes"])
    guard let field = required("status_codes", of: section), let items = list(field, of: "status codes")
    else { return nil }
    var codes: [PolicyRule.StatusCode] = []
    for item in items {
      guard let code = choice(item, as: PolicyRule.StatusCode.self) else { continue }
      if codes.contains(code) {
        report("\(item.path) repeats a status code", at: item.valuePlace, path: item.path)
      } else {
        codes.append(code)
      }
    }
    return .statusCode(codes: codes)
  }

  private mutating func latency(_ section: TopologySection) -> PolicyRule? {
    checkKeys(of: section, ["threshold_ms", "upper_threshold_ms"])
    guard let field = required("threshold_ms", of: section) else { return nil }
    // 10^12 ms are 31 years: far from the overflow of nanoseconds in 64 bits, at 9.2 × 10^12 ms.
    let range = 0...1_000_000_000_000
    let expected = "a whole number of milliseconds, 0 or more"
    let read: (ScalarText) -> Int? = { text in
      text.isQuoted ? nil : NumberText.parseInteger(text.value).flatMap { range.contains($0) ? $0 : nil }
    }
    let threshold = setting(field, expected, default: 0, read: read)
    let upper = setting("upper_threshold_ms", of: section, expected, default: 0, read: read)
    if let place = upper.place, threshold.isValid, upper.value > 0, upper.value <= threshold.value {
      let path = section.path(of: "upper_threshold_ms")
      report("\(path) must be larger than threshold_ms, or 0 for no upper threshold", at: place, path: path)
    }
    return .latency(
      threshold: .milliseconds(threshold.value),
      upperThreshold: upper.value == 0 ? nil : .milliseconds(upper.value))
  }

  private mutating func probabilistic(_ section: TopologySection) -> PolicyRule? {
    checkKeys(of: section, ["sampling_percentage"], planned: ["hash_salt"])
    guard let field = required("sampling_percentage", of: section) else { return nil }
    let percentage = setting(field, "a number from 0 to 100", default: 0) { text in
      text.isQuoted ? nil : NumberText.parseDecimal(text.value).flatMap { $0 <= 100 ? $0 : nil }
    }
    return .probabilistic(percentage: percentage.value)
  }
}

// Conditions of Refinery's rules, as conditions on spans.

import Expressions

/// A value that a condition compares with.
struct RefineryValue {
  /// As a literal of OTTL.
  let literal: String
  /// As text.
  let text: String
  let isNumber: Bool

  init(_ scalar: ScalarText, _ datatype: String?) {
    text = scalar.value
    let isNumeral =
      NumberText.parseDecimal(scalar.value) != nil || NumberText.parseInteger(scalar.value) != nil
    switch datatype {
    case "int", "float": isNumber = isNumeral
    case "string", "bool": isNumber = false
    default: isNumber = isNumeral && !scalar.isQuoted
    }
    let words = ["true", "yes", "y", "on"], others = ["false", "no", "n", "off"]
    let isTruth = datatype == "bool" || datatype == nil && !scalar.isQuoted
    if isNumber {
      literal = scalar.value
    } else if isTruth, words.contains(scalar.value.lowercased()) {
      literal = "true"
    } else if isTruth, others.contains(scalar.value.lowercased()) {
      literal = "false"
    } else {
      literal = RefineryValue.quoted(scalar.value)
    }
  }

  /// A string of OTTL.
  static func quoted(_ text: String) -> String {
    var quoted = "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": quoted += "\\\""
      case "\\": quoted += "\\\\"
      case "\n": quoted += "\\n"
      case "\r": quoted += "\\r"
      case "\t": quoted += "\\t"
      default: quoted.unicodeScalars.append(scalar)
      }
    }
    return quoted + "\""
  }

  /// A pattern that matches just this text.
  var pattern: String {
    text.unicodeScalars.reduce(into: "") { pattern, scalar in
      if "\\.+*?()|[]{}^$".unicodeScalars.contains(scalar) { pattern += "\\" }
      pattern.unicodeScalars.append(scalar)
    }
  }
}

/// How Refinery names what spans have.
enum RefineryField {
  /// Honeycomb's names of resource attributes that it also writes without dots.
  static func attribute(_ name: String) -> String { name == "service_name" ? "service.name" : name }
}

/// One condition.
struct RefineryCondition {
  /// On a span, in OTTL; nil if it is about the trace.
  private(set) var onSpan: String?
  /// On the trace, or on its root.
  private(set) var policy: PolicySpecification?

  /// Why a condition has no place in a topology.
  struct NoPlace: Error {
    var why: String
  }

  init(fields: [String], operator word: String, values: [RefineryValue]) throws(NoPlace) {
    if fields.count == 1, ["meta.span_count", "?.NUM_DESCENDANTS", "meta.event_count"].contains(fields[0]) {
      policy = try RefineryCondition.spanCount(word, values)
      return
    }
    let isOfRoot = fields.allSatisfy { $0.hasPrefix("root.") }
    var parts: [String] = []
    for field in fields {
      let name = isOfRoot ? String(field.dropFirst("root.".count)) : field
      parts.append(try RefineryCondition.condition(on: name, word, values))
    }
    // What says that something is not there holds if none of them is.
    let joined = parts.joined(separator: word == "not-exists" ? " and " : " or ")
    let condition = parts.count == 1 ? joined : "(\(joined))"
    guard isOfRoot else {
      onSpan = condition
      return
    }
    policy = RefineryConditions.policy("IsRootSpan() and \(condition)")
  }

  private static func spanCount(_ word: String, _ values: [RefineryValue]) throws(NoPlace)
    -> PolicySpecification
  {
    guard let value = values.first, let number = NumberText.parseInteger(value.text),
      (0...1_000_000_000).contains(number)
    else { throw NoPlace(why: "a number of spans is compared with a whole number") }
    let bounds: (Int, Int)?
    switch word {
    case ">": bounds = (number + 1, 0)
    case ">=": bounds = (number, 0)
    case "<" where number > 1: bounds = (0, number - 1)
    case "<=" where number > 0: bounds = (0, number)
    case "=" where number > 0: bounds = (number, number)
    default: bounds = nil
    }
    guard let (least, most) = bounds else {
      throw NoPlace(why: "the operator \(word) has no place for a number of spans")
    }
    return PolicySpecification(name: "", rule: .spanCount(minSpans: least, maxSpans: most))
  }

  private static func condition(
    on field: String, _ word: String, _ values: [RefineryValue]
  ) throws(NoPlace) -> String {
    switch field {
    case "trace.parent_id", "parent_id":
      if word == "exists" { return "not IsRootSpan()" }
      if word == "not-exists" { return "IsRootSpan()" }
    case "duration_ms":
      if comparisons.keys.contains(word), let value = values.first, value.isNumber,
        let milliseconds = NumberText.parseDecimal(value.text)
      {
        let microseconds = Int64(clamping: Int((milliseconds * 1000).rounded().clamped(to: 0...1e15)))
        return "duration \(comparisons[word] ?? "==") Duration(\"\(microseconds)us\")"
      }
    case "error":
      let isTrue = values.first?.literal == "true"
      if word == "exists" || word == "=" && isTrue { return "status.code == STATUS_CODE_ERROR" }
      if word == "not-exists" || word == "!=" && isTrue { return "status.code != STATUS_CODE_ERROR" }
    case "status_code", "status.code":
      if let mapped = comparisons[word], let value = values.first, value.isNumber {
        return "status.code \(mapped) \(value.literal)"
      }
    case "name":
      return try condition(onPath: "name", word, values)
    case "status_message": return try condition(onPath: "status.message", word, values)
    default:
      guard !field.hasPrefix("meta."), !field.hasPrefix("?."), !field.hasPrefix("trace."), !field.isEmpty
      else {
        throw NoPlace(why: "the field \(field) is Refinery's own and has no place in a topology")
      }
      let key = RefineryValue.quoted(RefineryField.attribute(field))
      let own = try condition(onPath: "attributes[\(key)]", word, values)
      // Refinery sees a resource's attributes as the span's.
      let resource = try condition(onPath: "resource.attributes[\(key)]", word, values)
      return word == "not-exists" ? "(\(own) and \(resource))" : "(\(own) or \(resource))"
    }
    throw NoPlace(why: "the operator \(word) with this value has no place for the field \(field)")
  }

  private static let comparisons = ["=": "==", "!=": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">="]

  /// A comparison of a value that must be there, as Refinery has it.
  private static func condition(
    onPath path: String, _ word: String, _ values: [RefineryValue]
  ) throws(NoPlace) -> String {
    switch word {
    case "exists": return "\(path) != nil"
    case "not-exists": return "\(path) == nil"
    default: break
    }
    guard let value = values.first else { throw NoPlace(why: "the operator \(word) needs a Value") }
    switch word {
    case "!=": return "(\(path) != nil and \(path) != \(value.literal))"
    case "starts-with": return "IsMatch(\(path), \(RefineryValue.quoted("^" + value.pattern)))"
    case "contains": return "IsMatch(\(path), \(RefineryValue.quoted(value.pattern)))"
    case "does-not-contain":
      return "(\(path) != nil and not IsMatch(\(path), \(RefineryValue.quoted(value.pattern))))"
    case "matches": return "IsMatch(\(path), \(RefineryValue.quoted(value.text)))"
    case "in": return "(\(values.map { "\(path) == \($0.literal)" }.joined(separator: " or ")))"
    case "not-in":
      let all = values.map { "\(path) != \($0.literal)" }.joined(separator: " and ")
      return "(\(path) != nil and \(all))"
    default:
      guard let mapped = comparisons[word] else {
        throw NoPlace(why: "the operator \(word) is not known")
      }
      return "\(path) \(mapped) \(value.literal)"
    }
  }
}

/// The conditions of a rule.
struct RefineryConditions {
  private var onSpans: [String] = []
  private var others: [PolicySpecification] = []

  mutating func add(_ condition: RefineryCondition) {
    if let text = condition.onSpan { onSpans.append(text) }
    if let policy = condition.policy { others.append(policy) }
  }

  /// - Parameter areOfOneSpan: whether all conditions must hold for the same span.
  func policies(areOfOneSpan: Bool) -> [PolicySpecification] {
    let texts = areOfOneSpan && !onSpans.isEmpty ? [onSpans.joined(separator: " and ")] : onSpans
    return others + texts.compactMap { RefineryConditions.policy($0) }
  }

  /// Nil if it is not a condition, as with a pattern that is not a regular expression.
  static func policy(_ text: String) -> PolicySpecification? {
    guard let condition = try? OTTLCondition(text, context: .span) else { return nil }
    return PolicySpecification(
      name: "", rule: .ottlCondition(spans: [condition], events: [], errorMode: .ignore))
  }
}

extension Double {
  fileprivate func clamped(to range: ClosedRange<Double>) -> Double {
    min(max(self, range.lowerBound), range.upperBound)
  }
}

// The settings of each policy type.

import Expressions
import Files
internal import Sampling
import Yams

extension TopologyReader {
  mutating func statusCodes(_ section: TopologySection) -> PolicyRule? {
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

  mutating func latency(_ section: TopologySection) -> PolicyRule? {
    checkKeys(of: section, ["threshold_ms", "upper_threshold_ms", "measure"])
    let measure = choice("measure", of: section, default: PolicyRule.LatencyMeasure.root)
    guard let field = required("threshold_ms", of: section) else { return nil }
    // 10^12 ms are 31 years: far from the overflow of nanoseconds in 64 bits, at 9.2 × 10^12 ms.
    let range = 0...1_000_000_000_000
    let expected = "a whole number of milliseconds from 0 to \(range.upperBound)"
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
      upperThreshold: upper.value == 0 ? nil : .milliseconds(upper.value), measure: measure)
  }

  mutating func probabilistic(_ section: TopologySection) -> PolicyRule? {
    checkKeys(of: section, ["sampling_percentage", "hash_salt"])
    let salt = section["hash_salt"].flatMap { scalar($0, "a string")?.value }
    guard let field = required("sampling_percentage", of: section) else { return nil }
    let isCollectors = collectorVariables != nil
    let percentage = setting(field, "a number from 0 to 100", default: 0) { text in
      guard !text.isQuoted, let percentage = NumberText.parseDecimal(text.value) else { return nil }
      // A Collector takes anything above 100 as 100.
      return percentage <= 100 ? percentage : isCollectors ? 100 : nil
    }
    return .probabilistic(percentage: percentage.value, hashSalt: salt.flatMap { $0.isEmpty ? nil : $0 })
  }

  // MARK: Attributes and tracestate

  mutating func numericAttribute(_ section: TopologySection) -> PolicyRule? {
    checkKeys(of: section, ["key", "min_value", "max_value", "invert_match"])
    let key = attributeKey(section)
    let least = bound("min_value", of: section)
    let most = bound("max_value", of: section)
    let isInverted = truth("invert_match", of: section, default: false)
    if least.value == nil, most.value == nil, least.isValid, most.isValid, let place = section.place {
      report("\(section.path) needs min_value, max_value or both", at: place, path: section.path)
    }
    if let low = least.value, let high = most.value, low > high, let place = most.place {
      let path = section.path(of: "max_value")
      report("\(path) must not be smaller than min_value", at: place, path: path)
    }
    return key.map {
      .numericAttribute(key: $0, minValue: least.value, maxValue: most.value, invertMatch: isInverted)
    }
  }

  private mutating func bound(_ key: String, of section: TopologySection) -> TopologySetting<Int64?> {
    setting(key, of: section, "a whole number from -2^63 to 2^63 - 1", default: nil) { text in
      text.isQuoted ? nil : NumberText.parseInteger(text.value).map { .some(Int64($0)) }
    }
  }

  mutating func stringAttribute(_ section: TopologySection) -> PolicyRule? {
    checkKeys(of: section, ["key", "values", "enabled_regex_matching", "cache_max_size", "invert_match"])
    let key = attributeKey(section)
    let areRegularExpressions = truth("enabled_regex_matching", of: section, default: false)
    let isInverted = truth("invert_match", of: section, default: false)
    // Accepted for Collector compatibility, but unused: matching costs no more than a cache look-up.
    _ = integer("cache_max_size", of: section, in: 0...Int.max, default: 0)
    let values = texts("values", of: section, areRegularExpressions: areRegularExpressions)
    guard let key, let values else { return nil }
    return .stringAttribute(
      key: key, values: values, areRegularExpressions: areRegularExpressions, invertMatch: isInverted)
  }

  mutating func booleanAttribute(_ section: TopologySection) -> PolicyRule? {
    checkKeys(of: section, ["key", "value", "invert_match"])
    let value = truth("value", of: section, default: false)
    let isInverted = truth("invert_match", of: section, default: false)
    return attributeKey(section).map { .booleanAttribute(key: $0, value: value, invertMatch: isInverted) }
  }

  mutating func traceState(_ section: TopologySection) -> PolicyRule? {
    checkKeys(of: section, ["key", "values"])
    let key = attributeKey(section)
    let values = texts("values", of: section)
    guard let key, let values else { return nil }
    return .traceState(key: key, values: values)
  }

  private mutating func attributeKey(_ section: TopologySection) -> String? {
    guard let field = required("key", of: section) else { return nil }
    let key = setting(field, "a non-empty key", default: "") { $0.value.isEmpty ? nil : $0.value }
    return key.isValid ? key.value : nil
  }

  /// The texts of a list; YAML may take them for numbers and the like. A regular expression may contain a
  /// lone dollar, as in a Collector's file.
  private mutating func texts(
    _ key: String, of section: TopologySection, areRegularExpressions: Bool = false
  ) -> [String]? {
    guard let items = required(key, of: section).flatMap({ list($0, of: "strings") }) else { return nil }
    var texts: [String] = []
    for item in items {
      guard let text = scalar(item, "a string", allowsLoneDollars: areRegularExpressions) else { continue }
      texts.append(text.value)
      guard areRegularExpressions else { continue }
      do { _ = try RegularExpression(text.value) } catch {
        let problem = MessageText.oneLine("\(error)")
        let shown = MessageText.quoted(text.raw)
        let message = "\(item.path): \(shown) is not a valid regular expression: \(problem)"
        report(message, at: text.place, path: item.path)
      }
    }
    return texts.count == items.count ? texts : nil
  }

  // MARK: Conditions

  mutating func ottlCondition(_ section: TopologySection) -> PolicyRule? {
    checkKeys(of: section, ["error_mode", "span", "spanevent"])
    let errorMode = choice("error_mode", of: section, default: ConditionErrorMode.propagate)
    if section["error_mode"] == nil {
      remark(
        section,
        "error_mode is not set and defaults to propagate, as in a Collector: where a condition can't be "
          + "evaluated, the policy does not sample the trace")
    }
    let spans = conditions("span", of: section, .span)
    let events = conditions("spanevent", of: section, .spanEvent)
    guard let spans, let events else { return nil }
    if spans.isEmpty, events.isEmpty, let place = section.place {
      report("\(section.path) needs a condition in span or spanevent", at: place, path: section.path)
    }
    return .ottlCondition(spans: spans, events: events, errorMode: errorMode)
  }

  /// The conditions of a list, which may be empty or left out; nil if one of them has an issue. A lone dollar
  /// is allowed: conditions contain regular expressions.
  private mutating func conditions(
    _ key: String, of section: TopologySection, _ context: OTTLContext
  ) -> [OTTLCondition]? {
    guard let field = section[key] else { return [] }
    if field.isEmptyList { return [] }
    guard let items = list(field, of: "conditions") else { return nil }
    var conditions: [OTTLCondition] = []
    for item in items {
      guard let text = scalar(item, "a condition", allowsLoneDollars: true) else { continue }
      do {
        conditions.append(try OTTLCondition(text.value, context: context))
      } catch {
        let problem = MessageText.oneLine("\(error)")
        let message = "\(item.path): \(MessageText.quoted(text.raw)) is not a valid condition: \(problem)"
        report(message, at: text.place, path: item.path)
      }
    }
    return conditions.count == items.count ? conditions : nil
  }

  // MARK: Counts and rates

  mutating func spanCount(_ section: TopologySection) -> PolicyRule? {
    checkKeys(of: section, ["min_spans", "max_spans"])
    let range = 0...Int(Int32.max)
    let least = integer("min_spans", of: section, in: range, default: 0)
    let most = integer("max_spans", of: section, in: range, default: 0)
    if let field = section["max_spans"], most > 0, most < least {
      let message = "\(field.path) must be at least min_spans, or 0 for no upper bound"
      report(message, at: field.valuePlace, path: field.path)
    }
    return .spanCount(minSpans: least, maxSpans: most)
  }

  mutating func rateLimiting(_ section: TopologySection) -> PolicyRule? {
    limit(section, "spans").map {
      .rateLimiting(spansPerSecond: $0.rate, burstCapacity: $0.burst, scope: $0.scope)
    }
  }

  mutating func bytesLimiting(_ section: TopologySection) -> PolicyRule? {
    limit(section, "bytes").map {
      .bytesLimiting(bytesPerSecond: $0.rate, burstCapacity: $0.burst, scope: $0.scope)
    }
  }

  /// A rate of spans or bytes, how much may pass at once, and what shares it.
  mutating func limit(
    _ section: TopologySection, _ unit: String
  ) -> (rate: Int, burst: Int?, scope: RateLimit.Scope)? {
    checkKeys(of: section, ["\(unit)_per_second", "burst_capacity", "scope"])
    let scope = choice("scope", of: section, default: RateLimit.Scope.partition)
    let perSecond = required("\(unit)_per_second", of: section).flatMap { rate($0, of: unit) }
    // As in the Collector, 0 means the default.
    let burst = section["burst_capacity"].flatMap { rate($0, of: unit, least: 0) }
    return perSecond.map { ($0, burst == 0 ? nil : burst, scope) }
  }

  /// A number of spans or bytes. Bytes may have a unit, such as `1MiB`.
  mutating func rate(_ field: TopologyField, of unit: String, least: Int = 1) -> Int? {
    let most = 1_000_000_000_000
    let expected = "a whole number of \(unit) from \(least) to \(most)"
    let rate = setting(field, expected, default: 0) { text in
      let number =
        unit == "bytes"
        ? NumberText.parseInteger(text.value) ?? ByteSizeText.parse(text.value)
        : NumberText.parseInteger(text.value)
      return text.isQuoted ? nil : number.flatMap { $0 >= least && $0 <= most ? $0 : nil }
    }
    return rate.isValid ? rate.value : nil
  }
}

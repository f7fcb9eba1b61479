// The section `kafka` of a topology file: librdkafka properties, checked against its own table.

import Files
import Foundation
internal import Kafka
import Yams

extension TopologyReader {
  mutating func kafka(_ section: TopologySection) -> KafkaProperties {
    var values: [String: String] = [:]
    for field in section.fields {
      switch field.key {
      case "group.id":
        report("kafka.group.id can't be set; use the key 'group'", at: field.place, path: field.path)
      case "enable.auto.commit", "enable.auto.offset.store":
        let message = "\(field.path) can't be set; Tailrace commits offsets itself"
        report(message, at: field.place, path: field.path)
      case "partition.assignment.strategy":
        let text = scalar(field, "an assignment strategy")?.value ?? "cooperative-sticky"
        values[field.key] = text
        guard text != "cooperative-sticky" else { break }
        let message =
          "\(field.path) must be cooperative-sticky: others revoke all partitions at every rebalance"
        report(message, at: field.place, path: field.path)
      case "bootstrap.servers", "metadata.broker.list": values[field.key] = brokers(field)
      default: values[field.key] = property(field)
      }
    }
    return KafkaProperties(values)
  }

  // MARK: Brokers

  /// Brokers separated by commas, or as a YAML list.
  private mutating func brokers(_ field: TopologyField) -> String? {
    let items = field.isList ? list(field, of: "brokers") ?? [] : [field]
    let brokers = items.compactMap { brokerList($0) }
    return brokers.count == items.count ? brokers.joined(separator: ",") : nil
  }

  private mutating func brokerList(_ field: TopologyField) -> String? {
    let expected = "a list of brokers such as host1:9092,host2:9092"
    guard let text = scalar(field, expected) else { return nil }
    guard !text.isUnread else { return text.value }
    // An imported topology is read with stand-ins for its variables.
    let parts = CollectorVariables.sample(of: text.value).split(separator: ",").map {
      $0.trimmingCharacters(in: .whitespaces)
    }
    let brokers = parts.filter { !$0.isEmpty }
    if !brokers.isEmpty, brokers.allSatisfy({ Self.isBroker($0) }) { return text.value }
    let hint = text.value.contains("://") ? "; a broker is host:port, without a scheme such as http://" : ""
    let found = MessageText.quoted(KafkaProperty(field.key, text.raw).shownValue)
    let message = "\(Self.shown(field.path)) must be \(expected), found \(found)\(hint)"
    report(message, at: text.place, path: field.path)
    return nil
  }

  /// Whether `text` is `host`, `host:port` or `[IPv6]:port`, with or without librdkafka's own prefix, such as
  /// `SSL://`.
  static func isBroker(_ text: String) -> Bool {
    var rest = text[...]
    if let scheme = rest.firstRange(of: "://") {
      let known = KafkaPropertyDescription.all["security.protocol"]?.words ?? []
      guard known.contains(rest[..<scheme.lowerBound].lowercased()) else { return false }
      rest = rest[scheme.upperBound...]
    }
    if rest.first == "[" {
      guard let end = rest.firstIndex(of: "]"), isAddress(String(rest[..<end].dropFirst())) else {
        return false
      }
      rest = rest[end...].dropFirst()
      return rest.isEmpty || rest.first == ":" && isPort(rest.dropFirst())
    }
    if isAddress(String(rest)) { return true }
    let parts = rest.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
    guard let host = parts.first, !host.isEmpty, host.utf8.allSatisfy({ isHostCharacter($0) }) else {
      return false
    }
    return parts.count == 1 || isPort(parts[1])
  }

  private static func isPort(_ text: Substring) -> Bool {
    text.utf8.allSatisfy { (0x30...0x39).contains($0) } && (1...65_535).contains(Int(text) ?? 0)
  }

  private static func isHostCharacter(_ byte: UInt8) -> Bool {
    switch Unicode.Scalar(byte) {
    case "a"..."z", "A"..."Z", "0"..."9", ".", "_", "-": true
    // A name in another script is left to the resolver.
    default: byte >= 0x80
    }
  }

  // MARK: Other properties

  /// A property that librdkafka knows, with a value that it accepts.
  private mutating func property(_ field: TopologyField) -> String? {
    let known = KafkaPropertyDescription.all
    guard let description = known[field.key] else {
      let hint =
        Self.dottedName(field).map { "; write '\($0)'" }
        ?? Suggestion.nearest(to: field.key, among: known.keys.sorted()).map { "; did you mean '\($0)'?" }
        ?? ""
      let message = "unknown property \(MessageText.quoted(field.key)) in kafka\(hint)"
      report(message, at: field.place, path: field.path)
      return nil
    }
    guard let text = scalar(field, Self.expectation(of: description)) else { return nil }
    let property = KafkaProperty(field.key, text.value)
    guard !text.isUnread, let problem = property.problem else { return text.value }
    report(words(for: problem, property, description, text), at: text.place, path: field.path)
    return nil
  }

  /// The property meant if its name is split at a dot: `bootstrap: {servers: x}`.
  private static func dottedName(_ field: TopologyField) -> String? {
    guard case .mapping(let section) = field.node, case .scalar(let key) = section.first?.key else {
      return nil
    }
    let name = "\(field.key).\(key.string)"
    return KafkaPropertyDescription.all[name] == nil ? nil : name
  }

  private func words(
    for problem: String, _ property: KafkaProperty, _ description: KafkaPropertyDescription,
    _ text: ScalarText
  ) -> String {
    let path = Self.shown("kafka.\(property.name)")
    guard !property.isSecret else { return "\(path): librdkafka does not accept the value" }
    let found = MessageText.quoted(KafkaProperty(property.name, text.raw).shownValue)
    if description.range == nil, description.words.isEmpty {
      // librdkafka's message repeats the value, which may come from a variable.
      let reason = property.value.isEmpty ? problem : problem.replacing(property.value, with: text.raw)
      return "\(path): \(MessageText.oneLine(reason)), found \(found)"
    }
    let hint =
      Suggestion.nearest(to: text.value, among: description.words).map { "; did you mean '\($0)'?" } ?? ""
    return "\(path) must be \(Self.expectation(of: description)), found \(found)\(hint)"
  }

  private static func expectation(of description: KafkaPropertyDescription) -> String {
    if let range = description.range { return "a number from \(range.replacing(" .. ", with: " to "))" }
    if description.words.isEmpty { return "a single value" }
    return alternatives(description.words)
  }
}

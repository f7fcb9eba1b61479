// The Kafka side of a Collector's configuration: the components around a tail-sampling processor, their
// topics, and how they reach the brokers.

import Files
internal import Kafka
internal import Yams

/// The parts of a Collector's configuration that define where spans come from and go to.
struct CollectorComponents {
  fileprivate var receivers: TopologySection
  fileprivate var exporters: TopologySection
  fileprivate var pipelines: [Pipeline] = []

  fileprivate struct Pipeline {
    /// The names under `receivers`, `processors` and `exporters`, with their places.
    var lists: [String: [(name: String, field: TopologyField)]] = [:]

    func names(_ list: String) -> [String] { lists[list, default: []].map(\.name) }
  }

  init(_ file: TopologySection, _ importer: inout CollectorImporter) {
    receivers = importer.section(file["receivers"])
    exporters = importer.section(file["exporters"])
    let service = importer.section(file["service"])
    for field in importer.section(service["pipelines"]).fields
    where CollectorImporter.isKind("traces", field.key) {
      let section = importer.section(field)
      var pipeline = Pipeline()
      for key in ["receivers", "processors", "exporters"] {
        guard let list = section[key], case .sequence(let items) = list.node, !items.isEmpty else { continue }
        pipeline.lists[key] = (importer.reader.list(list, of: "names") ?? []).compactMap { item in
          importer.reader.scalar(item, "a name").map { ($0.value, item) }
        }
      }
      pipelines.append(pipeline)
    }
  }

  /// The Kafka receiver, or exporter, that the pipelines name.
  fileprivate func kafka(
    _ list: String, of pipelines: [Pipeline], in section: TopologySection
  ) -> TopologyField? {
    let names = pipelines.flatMap { $0.names(list) }
    return section.fields.first { CollectorImporter.isKind("kafka", $0.key) && names.contains($0.key) }
  }
}

extension CollectorImporter {
  /// Topics and connection from the Kafka components around the processor `name`.
  mutating func carryKafka(
    of name: String, _ components: CollectorComponents, into topology: inout TailSamplingTopology
  ) {
    let own = components.pipelines.filter { $0.names("processors").contains(name) }
    let others = components.pipelines.filter { !$0.names("processors").contains(name) }
    let receiver = components.kafka("receivers", of: own, in: components.receivers)
    // The exporter of a Collector that publishes the spans this one would sample.
    let publisher =
      receiver == nil ? components.kafka("exporters", of: others, in: components.exporters) : nil
    let exporter = components.kafka("exporters", of: own, in: components.exporters)
    if let input = receiver ?? publisher {
      let section = section(input)
      let source = source(section)
      topology.topics.spans.encoding = source.encoding
      if isFree(source.name, in: topology.topics, input) { topology.topics.spans.name = source.name }
      if publisher != nil, !reader.truth("partition_traces_by_id", of: section, default: false) {
        note(input, "set partition_traces_by_id: spans must be keyed by trace id")
      }
    }
    if let exporter {
      let output = source(section(exporter))
      if output.name == topology.topics.spans.name {
        note(exporter, "spans are read from its topic; kept spans go to '\(topology.topics.sampled)'")
      } else if isFree(output.name, in: topology.topics, exporter) {
        topology.topics.sampled = output.name
      }
      if output.encoding != .otlpProto { note(exporter, "kept spans are always written as otlp_proto") }
    }
    noteNeighbours(of: own, besides: name)
    guard let connection = receiver ?? publisher ?? exporter else { return }
    topology.worker.kafka = KafkaProperties(properties(of: connection))
    for other in [receiver, publisher, exporter].compactMap(\.self) where other.path != connection.path {
      note(other, "it uses the connection of \(connection.path): a worker has only one")
    }
  }

  /// Whether none of Tailrace's other topics has this name; adds a note if one does.
  private mutating func isFree(
    _ name: String, in topics: TailSamplingTopology.Topics, _ component: TopologyField
  ) -> Bool {
    let taken = [
      topics.decisions.name, topics.verdicts, topics.sampled, topics.deadLetters, topics.stats,
    ].contains(name)
    if taken {
      note(component, "its topic is not carried over: \(MessageText.quoted(name)) is an output topic")
    }
    return !taken
  }

  /// Notes what stays in a Collector: everything in the processor's pipelines except the processor and Kafka.
  private mutating func noteNeighbours(of pipelines: [CollectorComponents.Pipeline], besides name: String) {
    let reasons = [
      ("receivers", "stays in a Collector that publishes to the topic of spans, keyed by trace id"),
      ("processors", "stays in a Collector before the topic of spans or after that of kept spans"),
      ("exporters", "stays in a Collector that reads the topic of kept spans"),
    ]
    for pipeline in pipelines {
      for (list, reason) in reasons {
        for item in pipeline.lists[list, default: []]
        where item.name != name && !(list != "processors" && Self.isKind("kafka", item.name)) {
          note(item.field, "\(MessageText.quoted(item.name)) \(reason)")
        }
      }
    }
  }

  // MARK: Topics

  /// The topic of spans that a Kafka component reads or writes.
  private mutating func source(_ component: TopologySection) -> SpanSource {
    let traces = section(component["traces"])
    // A Collector's own default.
    var source = SpanSource(name: "otlp_spans")
    if let field = traces["topics"], let items = reader.list(field, of: "topics") {
      if let first = items.first { source.name = topic(first) ?? source.name }
      for item in items.dropFirst() { note(item, "not carried over: a worker reads one topic") }
    } else if let field = traces["topic"] ?? component["topic"] {
      source.name = topic(field) ?? source.name
    }
    if let field = traces["encoding"] ?? component["encoding"],
      let text = reader.scalar(field, "an encoding")
    {
      if let encoding = SpanEncoding(rawValue: text.value) {
        source.encoding = encoding
      } else {
        note(field, "not carried over: this version can't read \(MessageText.quoted(text.raw))")
      }
    }
    return source
  }

  private mutating func topic(_ field: TopologyField) -> String? {
    guard let text = reader.scalar(field, "a topic") else { return nil }
    if TopologyReader.isTopicName(text.value) { return text.value }
    note(field, "not carried over: \(MessageText.quoted(text.raw)) is not the name of a single topic")
    return nil
  }

  // MARK: Connection

  /// The librdkafka properties for a component's connection settings.
  private mutating func properties(of component: TopologyField) -> [String: String] {
    var properties: [String: String] = [:]
    let section = section(component)
    for field in section.fields {
      switch field.key {
      case "traces", "topic", "encoding", "partition_traces_by_id", "logs", "metrics", "profiles": break
      case "brokers":
        let brokers = texts(field)
        let isUsable = brokers.allSatisfy { list in
          list.split(whereSeparator: { ", ".contains($0) }).allSatisfy {
            TopologyReader.isBroker(CollectorVariables.sample(of: String($0)))
          }
        }
        if !isUsable { note(field, "not carried over: a broker must be host:port") }
        if isUsable, !brokers.joined().isEmpty {
          properties["bootstrap.servers"] = brokers.joined(separator: ",")
        }
      case "client_id": properties["client.id"] = text(field)
      case "rack_id": properties["client.rack"] = text(field)
      case "initial_offset": properties["auto.offset.reset"] = value(field, for: "auto.offset.reset")
      case "auth": authenticate(self.section(field), &properties)
      case "tls": secure(field, &properties)
      case "group_id":
        note(field, "not carried over: Tailrace has its own group, with its own commit points")
      default:
        note(field, "not carried over: if you need it, set librdkafka's property under kafka")
      }
    }
    return properties
  }

  /// The value of `field`, if librdkafka accepts it for the property `name`.
  private mutating func value(_ field: TopologyField, for name: String) -> String? {
    guard let value = text(field) else { return nil }
    guard KafkaProperty(name, value).problem == nil else {
      note(field, "not carried over: librdkafka does not accept \(MessageText.quoted(value)) for \(name)")
      return nil
    }
    return value
  }

  private mutating func text(_ field: TopologyField) -> String? {
    reader.scalar(field, "a string")?.value
  }

  /// The items of a list, or the single value given instead.
  private mutating func texts(_ field: TopologyField) -> [String] {
    guard case .sequence = field.node else { return text(field).map { [$0] } ?? [] }
    return (reader.list(field, of: "strings") ?? []).compactMap { text($0) }
  }

  private mutating func authenticate(_ auth: TopologySection, _ properties: inout [String: String]) {
    for field in auth.fields {
      switch field.key {
      case "sasl", "plain_text":
        let section = section(field)
        let isSecure = properties["security.protocol"] == "ssl"
        properties["security.protocol"] = isSecure ? "sasl_ssl" : "sasl_plaintext"
        properties["sasl.mechanism"] =
          section["mechanism"].flatMap { value($0, for: "sasl.mechanism") } ?? "PLAIN"
        properties["sasl.username"] = section["username"].flatMap { text($0) }
        if let password = section["password"] { properties["sasl.password"] = secret(password) }
        for other in section.fields where !["mechanism", "username", "password"].contains(other.key) {
          note(other, "not carried over: if you need it, set librdkafka's property under kafka")
        }
      case "tls": secure(field, &properties)
      default: note(field, "not carried over: see librdkafka's 'sasl.*' properties")
      }
    }
  }

  /// A secret is never copied: unless it is a variable already, one replaces it.
  private mutating func secret(_ field: TopologyField) -> String? {
    guard let text = reader.scalar(field, "a string", allowsLoneDollars: true) else { return nil }
    if reader.isStandIn(text.value) { return text.value }
    note(field, "secrets are not copied: set the environment variable KAFKA_PASSWORD")
    return reader.standIn(for: "KAFKA_PASSWORD")
  }

  private mutating func secure(_ tls: TopologyField, _ properties: inout [String: String]) {
    let section = section(tls)
    if reader.truth("insecure", of: section, default: false) { return }
    let isAuthenticated = properties["security.protocol"]?.hasPrefix("sasl") == true
    properties["security.protocol"] = isAuthenticated ? "sasl_ssl" : "ssl"
    let files = ["ca_file": "ssl.ca", "cert_file": "ssl.certificate", "key_file": "ssl.key"]
    for field in section.fields {
      if let property = files[field.key] {
        properties["\(property).location"] = text(field)
      } else if field.key == "insecure_skip_verify" {
        let skips = reader.truth(field.key, of: section, default: false)
        if skips { properties["enable.ssl.certificate.verification"] = "false" }
      } else if field.key != "insecure" {
        note(field, "not carried over: see librdkafka's 'ssl.*' properties")
      }
    }
  }
}

extension TopologyReader {
  /// Whether `text` is exactly the stand-in for a variable of the Collector's configuration.
  func isStandIn(_ text: String) -> Bool {
    collectorVariables?.standIns.contains { $0.stand == text } ?? false
  }

  /// A stand-in for the variable `name`, which the Collector's configuration does not have.
  mutating func standIn(for name: String) -> String? {
    collectorVariables?.standIn(for: name, expression: "${\(name)}")
  }
}

// The keys of an export topology: `otlp_http` or `otlp_grpc`, named as in the Collector's exporters of those
// protocols.

import Files
import Foundation

extension TopologyReader {
  private static let storeKeys = [
    "endpoint", "headers", "compression", "timeout", "connections", "batch_bytes", "batch_wait",
    "retry_on_failure", "tls",
  ]

  mutating func exportTopics(_ section: TopologySection) -> ExportTopology.Topics {
    checkKeys(of: section, Keys.creation + ["sampled", "dead_letters"]) { key in
      ["decisions", "verdicts", "spans", "stats", "logs", "sampled_logs"].contains(key)
        ? "it is only valid with 'kind: tail-sampling'" : nil
    }
    let defaults = ExportTopology.Topics()
    let sampled = self.section("sampled", of: section)
    checkKeys(of: sampled, ["name"]) { key in
      key == "encoding" ? "kept spans are always otlp_proto" : nil
    }
    let deadLetters = self.section("dead_letters", of: section)
    checkKeys(of: deadLetters, ["name"])
    let names = topicNames([(sampled, defaults.sampled), (deadLetters, defaults.deadLetters)])
    return ExportTopology.Topics(creation: creation(section), sampled: names[0], deadLetters: names[1])
  }

  /// The section `otlp_http` or `otlp_grpc`; nil, and noted, if it names no store.
  mutating func store(of file: TopologySection) -> StoreSettings? {
    let transport: StoreSettings.Transport = file["otlp_grpc"] == nil ? .http : .grpc
    if transport == .grpc, let other = file["otlp_http"] {
      report("\(other.path) has no effect beside otlp_grpc", at: other.place, path: other.path)
    }
    guard let field = file[transport.rawValue] else {
      let start = FilePlace(line: 1, column: 1)
      report("the file needs the key 'otlp_http' or 'otlp_grpc'", at: start, path: transport.rawValue)
      return nil
    }
    guard let section = section(field) else { return nil }
    checkKeys(of: section, transport == .http ? Self.storeKeys + ["traces_endpoint"] : Self.storeKeys)
    let tlsSection = self.section("tls", of: section)
    guard let url = transport == .http ? storeURL(section) : grpcURL(section, tlsSection) else { return nil }
    let defaults = StoreSettings(url: url)
    let retry = self.section("retry_on_failure", of: section)
    checkKeys(of: retry, ["initial_interval", "max_interval"]) { key in
      ["enabled", "max_elapsed_time"].contains(key) ? "a request is sent until it is answered" : nil
    }
    let hour = Duration.seconds(3600)
    let least = Duration.milliseconds(10)
    let first = duration(
      "initial_interval", of: retry, in: least...(.seconds(600)), default: defaults.retryInitial)
    let most = duration(
      "max_interval", of: retry, in: least...hour, default: max(defaults.retryMax, first.value))
    if let place = most.place, most.isValid, first.isValid, most.value < first.value {
      let path = retry.path(of: "max_interval")
      report("\(path) must not be shorter than initial_interval", at: place, path: path)
    }
    return StoreSettings(
      transport: transport, url: url, headers: headers(self.section("headers", of: section), transport),
      compression: choice("compression", of: section, default: defaults.compression),
      timeout: duration(
        "timeout", of: section, in: .milliseconds(100)...(.seconds(600)), default: defaults.timeout
      ).value,
      connections: integer("connections", of: section, in: 1...64, default: defaults.connections),
      batchBytes: byteSize(
        "batch_bytes", of: section, in: 1024...(64 << 20), default: defaults.batchBytes
      ).value,
      batchWait: duration(
        "batch_wait", of: section, in: .zero...(.seconds(10)), default: defaults.batchWait
      ).value,
      retryInitial: first.value, retryMax: most.value,
      tls: tls(tlsSection, transport, isUsed: url.isSecure))
  }

  /// `endpoint` is the base, to which the signal's path is added; `traces_endpoint` is the whole URL.
  private mutating func storeURL(_ section: TopologySection) -> StoreURL? {
    let key = section["traces_endpoint"] == nil ? "endpoint" : "traces_endpoint"
    guard let field = required(key, of: section) else { return nil }
    if key == "traces_endpoint", let other = section["endpoint"] {
      report("\(other.path) has no effect beside traces_endpoint", at: other.place, path: other.path)
    }
    let expected = "a URL such as https://tempo.example:4318, without credentials, query or fragment"
    let given = setting(field, expected, default: nil as StoreURL?) { text in StoreURL(text.value) }
    guard let url = given.value, key == "endpoint" else { return given.value }
    let base = url.path.hasSuffix("/") ? String(url.path.dropLast()) : url.path
    return StoreURL("\(url.base)\(base)/v1/traces")
  }

  /// `endpoint` is `host:port`, with TLS unless `tls.insecure`; or a URL, whose scheme says it.
  private mutating func grpcURL(_ section: TopologySection, _ tls: TopologySection) -> StoreURL? {
    guard let field = required("endpoint", of: section) else { return nil }
    let isInsecure = tls["insecure"].map { _ in truth("insecure", of: tls, default: false) }
    let expected = "host:port such as tempo.example:4317, or a URL of them without a path"
    let given = setting(field, expected, default: nil as StoreURL?) { text in
      let hasScheme = text.value.contains("://")
      let url = StoreURL(hasScheme ? text.value : "\(isInsecure == true ? "http" : "https")://\(text.value)")
      guard let url, url.path == "/", hasScheme || text.value.hasSuffix(":\(url.port)") else { return nil }
      return .some(url)
    }
    guard let url = given.value else { return nil }
    if let isInsecure, isInsecure == url.isSecure, let place = tls["insecure"]?.place {
      let path = tls.path(of: "insecure")
      let scheme = url.isSecure ? "https" : "http"
      report("\(path) contradicts the endpoint's scheme, \(scheme)", at: place, path: path)
    }
    return StoreURL(url.base + "/opentelemetry.proto.collector.trace.v1.TraceService/Export")
  }

  /// Names and values as HTTP allows them (RFC 9110, 5.5 and 5.6.2). No message shows a value.
  private mutating func headers(
    _ section: TopologySection, _ transport: StoreSettings.Transport
  ) -> [StoreSettings.Header] {
    let isGRPC = transport == .grpc
    var own = [
      "content-type", "content-encoding", "content-length", "transfer-encoding", "host", "connection",
    ]
    // HTTP/2 has none of those that concern a connection (RFC 9113, 8.2.2).
    if isGRPC { own += ["te", "keep-alive", "proxy-connection", "upgrade"] }
    var headers: [StoreSettings.Header] = []
    for field in section.fields {
      let isToken = !field.key.isEmpty && field.key.utf8.allSatisfy(Self.isTokenCharacter)
      let name = field.key.lowercased()
      guard isToken, !own.contains(name), !(isGRPC && name.hasPrefix("grpc-")) else {
        let why = isToken ? "is set by Tailrace" : "is not a valid name of a header"
        report("\(Self.shown(field.path)) \(why)", at: field.place, path: field.path)
        continue
      }
      guard let text = scalar(field, "a header's value") else { continue }
      guard text.value.utf8.allSatisfy({ $0 == 0x09 || (0x20...0x7e).contains($0) || $0 >= 0x80 }) else {
        let message = "\(Self.shown(field.path)) contains a control character, such as a line's end"
        report(message, at: text.place, path: field.path)
        continue
      }
      // gRPC allows less (its PROTOCOL-HTTP2, "Custom-Metadata").
      guard !isGRPC || text.value.utf8.allSatisfy({ (0x20...0x7e).contains($0) }) else {
        let message = "\(Self.shown(field.path)) contains a character that is not printable ASCII"
        report(message, at: text.place, path: field.path)
        continue
      }
      // Spaces around a value are not part of it (RFC 9110, 5.5), and HTTP/2 refuses them.
      headers.append(StoreSettings.Header(field.key, text.value.trimmingCharacters(in: .whitespaces)))
    }
    return headers
  }

  private static func isTokenCharacter(_ byte: UInt8) -> Bool {
    switch Unicode.Scalar(byte) {
    case "a"..."z", "A"..."Z", "0"..."9": true
    default: "!#$%&'*+-.^_`|~".utf8.contains(byte)
    }
  }

  private mutating func tls(
    _ section: TopologySection, _ transport: StoreSettings.Transport, isUsed: Bool
  ) -> StoreSettings.TLS {
    let keys = ["ca_file", "cert_file", "key_file", "server_name_override", "insecure_skip_verify"]
    switch transport {
    case .http:
      checkKeys(of: section, keys) { $0 == "insecure" ? "the URL's scheme says it" : nil }
      if let place = section.place, !isUsed {
        report("\(section.path) has no effect: the URL's scheme is http", at: place, path: section.path)
      }
    case .grpc:
      checkKeys(of: section, keys + ["insecure"])
      if !isUsed, let field = section.fields.first(where: { keys.contains($0.key) }) {
        report("\(field.path) has no effect without TLS", at: field.place, path: field.path)
      }
    }
    func text(_ key: String, _ expected: String) -> String? {
      setting(key, of: section, expected, default: nil as String?) { text in
        text.value.isEmpty ? nil : .some(text.value)
      }.value
    }
    let settings = StoreSettings.TLS(
      authoritiesFile: text("ca_file", "a PEM file"), certificateFile: text("cert_file", "a PEM file"),
      keyFile: text("key_file", "a PEM file"), serverName: text("server_name_override", "a host's name"),
      skipsVerification: truth("insecure_skip_verify", of: section, default: false))
    if let place = section.place, (settings.certificateFile == nil) != (settings.keyFile == nil) {
      report("\(section.path) needs cert_file and key_file together", at: place, path: section.path)
    }
    return settings
  }
}

// The keys of an export topology: URLs, headers, TLS, and what is refused.

import Testing

@testable import Topology

@Suite struct ExportKeysTests {
  private func parse(
    _ store: String, in section: String = "otlp_http", files: FileReferences = .read
  ) throws -> ExportTopology {
    let yaml = "kind: export\n\(section): \(store)"
    let topology = try Topology.parse(
      yaml, fileName: "x.yaml", environment: ["TOKEN": "abcd-efgh"], files: files)
    guard case .export(let export) = topology else {
      throw TopologyError(file: "x", wholeFile: "another kind")
    }
    return export
  }

  private func problems(_ store: String, in section: String = "otlp_http") -> [String] {
    do {
      _ = try parse(store, in: section)
      return []
    } catch let error as TopologyError {
      return error.issues.map(\.message)
    } catch { return ["\(error)"] }
  }

  @Test func anEndpointIsEnough() throws {
    let topology = try parse("{endpoint: \"http://tempo:4318\"}")
    #expect(topology.store.url.description == "http://tempo:4318/v1/traces")
    #expect(topology.topics.sampled == "sampled" && topology.worker.group == "tailrace-export")
    #expect(topology.store.compression == .gzip)
  }

  @Test(arguments: [
    ("endpoint: http://a", "http://a/v1/traces"), ("endpoint: http://a/", "http://a/v1/traces"),
    ("endpoint: https://a/otlp/", "https://a/otlp/v1/traces"),
    ("traces_endpoint: http://a:1/x", "http://a:1/x"),
    ("endpoint: \"HTTPS://[::1]:55\"", "https://[::1]:55/v1/traces"),
    ("endpoint: \"http://[fe80::1]\"", "http://[fe80::1]/v1/traces"),
    ("endpoint: https://a:443", "https://a/v1/traces"),
  ])
  func addresses(text: String, url: String) throws {
    #expect(try parse("{\(text)}").store.url.description == url)
  }

  @Test(arguments: [
    "a:4318", "ftp://a", "http://", "http://u:p@a", "http://a?x=1", "http://a#f", "http://a:0",
    "http://a:99999",
    "http://::1", "http://a b", "http://[::1", "http://a:1:2", "http://é",
  ])
  func otherAddressesAreRefused(text: String) {
    #expect(problems("{endpoint: \"\(text)\"}").count == 1)
  }

  @Test func headersAreSecrets() throws {
    let topology = try parse(
      "{endpoint: http://a, headers: {authorization: \"Bearer ${TOKEN}\", x-scope: 'a b'}}")
    #expect(topology.store.headers.map(\.value) == ["Bearer abcd-efgh", "a b"])
    let shown = Topology.export(topology).redactedDescription
    #expect(shown.contains("authorization: \"***\"") && !shown.contains("abcd") && !shown.contains("a b"))
    #expect(!"\(topology)".contains("abcd-efgh"))
    var dumped = ""
    dump(topology, to: &dumped)
    #expect(!dumped.contains("abcd-efgh"))
  }

  /// A store may repeat what it has decoded.
  @Test func whatABasicHeaderEncodesIsSecret() throws {
    let topology = try parse("{endpoint: http://a, headers: {authorization: 'Basic YWRtaW46aHVudGVyMg=='}}")
    #expect(
      topology.store.secretValues == [
        "Basic YWRtaW46aHVudGVyMg==", "YWRtaW46aHVudGVyMg==", "admin:hunter2", "hunter2",
      ])
  }

  @Test(arguments: [
    "{host: a}", "{content-length: 1}", "{'a b': c}", "{'': c}", "{x: \"a\\r\\nb: c\"}", "{Content-Type: a}",
  ])
  func headersThatWouldBreakRequestsAreRefused(headers: String) {
    #expect(problems("{endpoint: http://a, headers: \(headers)}").count == 1)
  }

  @Test(arguments: [
    ("{}", "otlp_http needs the key 'endpoint'"),
    ("{endpoint: http://a, tls: {ca_file: /x}}", "has no effect"),
    ("{endpoint: https://a, tls: {insecure: true}}", "the URL's scheme says it"),
    ("{endpoint: https://a, tls: {cert_file: /x}}", "cert_file and key_file together"),
    ("{endpoint: http://a, traces_endpoint: http://b/x}", "has no effect beside traces_endpoint"),
    (
      "{endpoint: http://a, retry_on_failure: {initial_interval: 2m, max_interval: 1m}}",
      "must not be shorter"
    ),
    ("{endpoint: http://a, retry_on_failure: {enabled: false}}", "a request is sent until it is answered"),
    ("{endpoint: http://a, compression: snappy}", "must be gzip, zstd or none"),
    ("{endpoint: http://a, connections: 0}", "from 1 to 64"),
  ])
  func mistakesAreTold(store: String, message: String) {
    let found = problems(store)
    #expect(found.count == 1 && found[0].contains(message), "\(found)")
  }

  @Test(arguments: [
    ("{endpoint: \"a:4317\"}", "https://a:4317"), ("{endpoint: \"[::1]:4317\"}", "https://[::1]:4317"),
    ("{endpoint: \"a:4317\", tls: {insecure: true}}", "http://a:4317"),
    ("{endpoint: \"a:4317\", tls: {insecure: false, ca_file: /x}}", "https://a:4317"),
    ("{endpoint: http://a:4317}", "http://a:4317"), ("{endpoint: https://a}", "https://a"),
    ("{endpoint: http://a:4317/, tls: {insecure: true}}", "http://a:4317"),
  ])
  func addressesOfGRPC(store: String, base: String) throws {
    let settings = try parse(store, in: "otlp_grpc").store
    #expect(settings.transport == .grpc && settings.url.base == base)
    #expect(settings.url.path == "/opentelemetry.proto.collector.trace.v1.TraceService/Export")
  }

  @Test(arguments: [
    ("{}", "otlp_grpc needs the key 'endpoint'"), ("{endpoint: a}", "must be host:port"),
    ("{endpoint: https://a/v1/traces}", "must be host:port"),
    ("{endpoint: \"a:4317/x\"}", "must be host:port"), ("{endpoint: \"a:0\"}", "must be host:port"),
    ("{endpoint: \"::1:4317\"}", "must be host:port"),
    ("{endpoint: https://a, tls: {insecure: true}}", "contradicts the endpoint's scheme, https"),
    ("{endpoint: http://a, tls: {insecure: false}}", "contradicts the endpoint's scheme, http"),
    ("{endpoint: \"a:1\", tls: {insecure: true, ca_file: /x}}", "ca_file has no effect without TLS"),
    ("{endpoint: \"a:1\", traces_endpoint: http://b}", "traces_endpoint"),
    ("{endpoint: \"a:1\", headers: {grpc-timeout: 1S}}", "is set by Tailrace"),
    ("{endpoint: \"a:1\", headers: {TE: x}}", "is set by Tailrace"),
    ("{endpoint: \"a:1\", headers: {x: é}}", "not printable ASCII"),
    ("{endpoint: \"a:1\"}\notlp_http: {endpoint: http://a}", "otlp_http has no effect beside otlp_grpc"),
  ])
  func mistakesOfGRPCAreTold(store: String, message: String) {
    let found = problems(store, in: "otlp_grpc")
    #expect(found.count == 1 && found[0].contains(message), "\(found)")
  }

  @Test func theStoreIsRequiredAndBelongsToThisKind() {
    #expect(throws: TopologyError.self) {
      try Topology.parse("kind: export", fileName: "x", environment: [:])
    }
    for kind in ["repartition", "tail-sampling"] {
      for section in ["otlp_http", "otlp_grpc"] {
        #expect(throws: TopologyError.self) {
          try Topology.parse(
            "kind: \(kind)\n\(section): {endpoint: http://a}", fileName: "x", environment: [:])
        }
      }
    }
  }

  @Test func theEffectiveConfigurationReadsBack() throws {
    let topology = try parse(
      """
      {endpoint: "https://a:1", compression: zstd, timeout: 3s, connections: 2, batch_bytes: 64KiB,
       batch_wait: 1s, retry_on_failure: {initial_interval: 10ms, max_interval: 1m},
       tls: {ca_file: /ca, cert_file: /c, key_file: /k, server_name_override: b, insecure_skip_verify: true}}
      """)
    let text = Topology.export(topology).redactedDescription
    let again = try Topology.parse(text, fileName: "x", environment: [:])
    #expect(again == .export(topology))
    for store in ["{endpoint: \"a:80\", tls: {insecure: true}}", "{endpoint: \"a:443\", tls: {ca_file: /x}}"]
    {
      let topology = try parse(store, in: "otlp_grpc")
      let text = Topology.export(topology).redactedDescription
      #expect(try Topology.parse(text, fileName: "x", environment: [:]) == .export(topology))
    }
  }
}

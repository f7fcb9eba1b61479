// The console of a fleet: its kept traces, searched and shown, from its topics alone.

internal import CConsolePages
internal import Exploration
internal import Foundation
internal import Kafka
internal import OTLP
internal import Pipeline
public import Sampling
internal import Synchronization
public import Topology

/// How an explorer is run.
public struct ExplorerSettings: Sendable {
  /// Where it listens; port 0 for any free one.
  public var address = "127.0.0.1"
  /// The port; 0 for any free one.
  public var port = 8090
  /// The limit on the index's memory, in bytes.
  public var memoryBytes = 256 << 20
  /// The log time to begin at; nil for the beginning of the log.
  public var start: Instant?
  /// Passwords by name; nil if none is asked for.
  public var passwords: [String: String]?
  /// The certificate to answer with; nil for plain HTTP.
  public var tls: ConsoleTLS?
  /// Whether anybody who reaches the address may read: something in front of it decides who does.
  public var isOpen = false

  /// The defaults.
  public init() {}

  /// Whether only this host reaches the address.
  public var isLocal: Bool { address == "::1" || address == "localhost" || isLoopbackAddress }

  private var isLoopbackAddress: Bool {
    let parts = address.split(separator: ".", omittingEmptySubsequences: false)
    return parts.count == 4 && parts.allSatisfy { UInt8($0) != nil } && parts[0] == "127"
  }

  /// Reads lines of `name:password`. Empty lines and those that begin with `#` are skipped.
  ///
  /// - Throws: `ConsoleFailure` that names the line.
  public static func passwords(inFile text: String) throws(ConsoleFailure) -> [String: String] {
    var passwords: [String: String] = [:]
    // With its line feed a carriage return is one character.
    let lines = text.split(omittingEmptySubsequences: false) { $0 == "\n" || $0 == "\r\n" }
    for (number, line) in lines.enumerated() {
      guard !line.isEmpty, !line.hasPrefix("#") else { continue }
      let parts = line.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
      guard parts.count == 2, !parts[0].isEmpty, !parts[1].isEmpty else {
        throw ConsoleFailure(description: "line \(number + 1) is not of the form name:password")
      }
      guard passwords.updateValue(String(parts[1]), forKey: String(parts[0])) == nil else {
        throw ConsoleFailure(description: "line \(number + 1): '\(parts[0])' is there twice")
      }
    }
    guard !passwords.isEmpty else { throw ConsoleFailure(description: "it names nobody") }
    return passwords
  }
}

/// Reads a fleet's topics and serves what it finds, until it is stopped.
public final class Explorer: Sendable {
  let topology: TailSamplingTopology
  let version: String
  let following: TopicFollowing
  let reading: Mutex<RecordReading>
  /// Where the next event of the stream begins.
  private let seen = Mutex(0)
  /// When events were last told.
  private let toldAt = Mutex<ContinuousClock.Instant?>(nil)
  private let ticks = Mutex(0)
  private let scheme: String
  let counters: ConsoleCounters
  /// Answers by status.
  let requests = Mutex<[Int: UInt64]>([:])
  private let console: Mutex<Console?>

  /// Begins to read and to serve.
  ///
  /// - Parameter version: the program's.
  /// - Throws: `ConsoleFailure` if it can't listen on the address.
  public init(
    _ topology: TailSamplingTopology, _ settings: ExplorerSettings, version: String
  ) throws(ConsoleFailure) {
    self.topology = topology
    self.version = version
    scheme = settings.tls == nil ? "http" : "https"
    counters = ConsoleCounters(hasTLS: settings.tls != nil)
    following = TopicFollowing(
      topology, from: settings.start, KeptTraces(topology, bytesMax: settings.memoryBytes))
    reading = Mutex(RecordReading(topology))
    console = Mutex(nil)
    var service = ConsoleService(respond: { [weak self] in self?.countedAnswer($0) })
    service.queues = Explorer.queues
    service.queue = Explorer.queue
    service.access = ConsoleAccess(
      passwords: settings.passwords,
      refusesForeignHosts: settings.isLocal && settings.passwords == nil && !settings.isOpen)
    service.tls = settings.tls
    service.stream = ConsoleStream(path: "/v1/live") { [weak self] in self?.events() ?? [] }
    let made = try Console(
      ConsoleSettings(address: settings.address, port: settings.port), counters: counters, service: service)
    console.withLock { $0 = made }
    following.begin()
  }

  /// Where it listens, such as `http://127.0.0.1:8090/`.
  public var address: String { "\(scheme)://\(console.withLock { $0?.place ?? "" })/" }

  /// Stops listening and reading.
  public func stop() {
    following.stop()
    console.withLock { $0 }?.stop()
    reading.withLock { $0.abandon() }
  }

  // MARK: Pages

  /// Searches of the index; reading of spans; stories of traces; static files: none waits for another's.
  private static let queues = 4

  private static func queue(_ path: String) -> Int {
    if path == "/" || path.hasPrefix("/ui/") { return 3 }
    if path.hasPrefix("/v1/explain/") { return 2 }
    return path.hasPrefix("/v1/traces") || path.hasPrefix("/api/traces") ? 1 : 0
  }

  private func countedAnswer(_ request: ConsoleRequest) -> ConsoleResponse? {
    let answer = answer(request)
    requests.withLock { $0[(answer?.status ?? .notFound).rawValue, default: 0] += 1 }
    return answer
  }

  func answer(_ request: ConsoleRequest) -> ConsoleResponse? {
    switch request.path {
    case "/metrics": return metrics()
    case "/metrics/service-graph": return serviceGraph()
    case "/livez": return ConsoleResponse(body: "ok\n")
    case "/readyz": return readiness
    case "/v1/status": return ConsoleResponse(json: status())
    case "/v1/services": return ConsoleResponse(json: services())
    case "/v1/overview": return overview(request)
    case "/v1/traces": return traces(request)
    case "/v1/map": return map(request)
    case "/v1/latency": return latency(request)
    default: break
    }
    if let id = request.path.dropped(prefix: "/v1/traces/") { return trace(id) }
    if let id = request.path.dropped(prefix: "/v1/explain/") { return explain(id) }
    if let path = request.path.dropped(prefix: "/api/") { return jaeger(path, request) }
    if request.path == "/" { return StaticPages.page("index.html") }
    return request.path.dropped(prefix: "/ui/").flatMap { StaticPages.page($0) }
  }

  private var readiness: ConsoleResponse {
    let share = following.share
    guard share < 1 else { return ConsoleResponse(body: "ok\n") }
    return ConsoleResponse(
      status: .serviceUnavailable, body: "the topics are being read: \(Int(share * 100)) %\n")
  }

  // MARK: Events

  private static let statusTicks = 5

  /// What happened since the last call, as server-sent events.
  ///
  /// Source: HTML Living Standard, 9.2, "Server-sent events".
  private func events() -> [UInt8] {
    // Nobody listened for a while: what came meanwhile did not come just now.
    let now = ContinuousClock.now
    let isFirst = toldAt.withLock { last in
      defer { last = now }
      return last.map { now - $0 > .seconds(5) } ?? true
    }
    let from = isFirst ? .max : seen.withLock { $0 }
    let news = following.index.withLock { $0.traces.news(since: from) }
    seen.withLock { $0 = news.end }
    var json = JSONText()
    json.object { json in
      json.set("at_ns", String(Moment.now.wall.nanoseconds))
      json.set("kept", news.kept)
      json.set("errors", news.errors)
      json.set("slow", news.slow)
      json.key("traces")
      json.array { json in for trace in news.traces { trace.append(to: &json) } }
    }
    var bytes = Array("event: tick\ndata: ".utf8) + json.bytes + Array("\n\n".utf8)
    let tick = ticks.withLock { ticks in
      ticks += 1
      return ticks
    }
    if tick % Explorer.statusTicks == 1 {
      bytes += Array("event: status\ndata: ".utf8) + status().bytes + Array("\n\n".utf8)
    }
    return bytes
  }
}

extension String {
  /// What follows a prefix; nil if it does not begin with it, or ends there.
  fileprivate func dropped(prefix: String) -> String? {
    hasPrefix(prefix) && utf8.count > prefix.utf8.count ? String(dropFirst(prefix.count)) : nil
  }
}

extension ConsoleResponse {
  init(json: JSONText, status: ConsoleStatus = .ok) {
    self.init(status: status, contentType: "application/json", body: "")
    bytes = json.bytes
  }

  /// `{"error": text}`.
  init(_ status: ConsoleStatus, error text: String) {
    var json = JSONText()
    json.object { $0.set("error", text) }
    self.init(json: json, status: status)
  }
}

/// The static files in the program.
enum StaticPages {
  /// All of them by name.
  static let files: [String: [UInt8]] = {
    var files: [String: [UInt8]] = [:]
    // Sound: the table is constant data of the program; each entry has a name that ends with a zero, and as
    // many bytes as it says.
    for number in 0..<tailrace_pages_count {
      let page = unsafe tailrace_page_at(number).pointee
      let bytes = unsafe UnsafeBufferPointer(start: page.bytes, count: page.length)
      files[unsafe String(cString: page.name)] = unsafe Array(bytes)
    }
    return files
  }()

  private static let types = [
    "html": "text/html; charset=utf-8", "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml", "png": "image/png",
    "json": "application/json",
  ]

  static func page(_ name: String) -> ConsoleResponse? {
    guard let bytes = files[name] else { return nil }
    let type = name.split(separator: ".").last.flatMap { types[String($0)] }
    var response = ConsoleResponse(contentType: type ?? "application/octet-stream", body: "")
    response.bytes = bytes
    // FNV-1a: it tells versions of a file apart, and protects from nobody.
    let hash = bytes.reduce(0xcbf2_9ce4_8422_2325 as UInt64) { ($0 ^ UInt64($1)) &* 0x0000_0100_0000_01b3 }
    response.etag = "\"\(String(hash, radix: 16))\""
    return response
  }
}

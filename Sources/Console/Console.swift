// What a worker serves over HTTP: health, metrics and its configuration.

internal import Foundation
internal import Kafka
internal import NIOCore
public import Pipeline
public import Topology

/// Why the console can't start.
public struct ConsoleFailure: Error, Sendable, CustomStringConvertible {
  /// The error and its remedy.
  public let description: String
}

/// A worker's pages: `/livez`, `/readyz`, `/startupz`, `/metrics`, `/metrics/traffic`, `/configz`.
public final class Console: Sendable {
  private let server: ConsoleServer
  private let address: String

  /// Serves the pages of `worker` until `stop`.
  ///
  /// - Parameter version: the program's.
  /// - Throws: `ConsoleFailure` if it can't listen on the address.
  public convenience init(_ worker: Worker, _ topology: Topology, version: String) throws(ConsoleFailure) {
    let metrics = WorkerMetrics(topology, version: version, clientVersion: librdkafkaVersion)
    let counters = ConsoleCounters()
    try self.init(topology.worker.console, counters: counters) { path in
      let health = Health(status: worker.status)
      switch path {
      case "/": return ConsoleResponse(body: Console.index)
      case "/livez": return Console.answer(health.deathReasons)
      case "/startupz": return Console.answer(health.startReasons)
      case "/readyz": return Console.answer(health.unreadyReasons)
      case "/metrics":
        let text = metrics.text(
          health.status, worker.topology, at: Moment.now.wall, process: .now, console: counters.byReason)
        return ConsoleResponse(contentType: MetricsText.contentType, body: text)
      case "/metrics/traffic":
        guard let traffic = worker.traffic else { return nil }
        return ConsoleResponse(contentType: MetricsText.contentType, body: MetricsText(of: traffic).text)
      case "/configz": return ConsoleResponse(contentType: "application/yaml", body: worker.configurationPage)
      default: return nil
      }
    }
  }

  convenience init(
    _ settings: ConsoleSettings, limits: ConsoleLimits = ConsoleLimits(),
    counters: ConsoleCounters = ConsoleCounters(),
    respond: @escaping @Sendable (String) -> ConsoleResponse?
  ) throws(ConsoleFailure) {
    try self.init(
      settings, limits: limits, counters: counters, service: ConsoleService(respond: { respond($0.path) }))
  }

  init(
    _ settings: ConsoleSettings, limits: ConsoleLimits = ConsoleLimits(),
    counters: ConsoleCounters = ConsoleCounters(), service: ConsoleService
  ) throws(ConsoleFailure) {
    address = settings.address
    do {
      server = try ConsoleServer(
        address: settings.address, port: settings.port, limits: limits, counters: counters, service: service)
    } catch {
      throw ConsoleFailure(description: Console.words(for: error, settings))
    }
  }

  /// Where it listens, such as `127.0.0.1:8080`.
  public var place: String { Console.place(address, server.port) }

  /// Stops listening.
  public func stop() {
    server.stop()
  }

  /// `ok`, or 503 with one reason per line.
  private static func answer(_ reasons: [String]) -> ConsoleResponse {
    guard !reasons.isEmpty else { return ConsoleResponse(body: "ok\n") }
    return ConsoleResponse(
      status: .serviceUnavailable, body: reasons.map { $0 + "\n" }.joined())
  }

  private static let index = """
    /metrics          what the worker does, for Prometheus
    /metrics/traffic  what it has counted of all traffic, with metrics.serve
    /livez            whether it makes progress
    /readyz           whether it has recovered its partitions
    /startupz         whether it has started
    /configz          its configuration

    """

  private static func words(for error: any Error, _ settings: ConsoleSettings) -> String {
    let place = place(settings.address, settings.port)
    guard let error = error as? IOError else { return "console: can't listen on \(place): \(error)" }
    switch error.errnoCode {
    case EADDRINUSE:
      return "console: \(place) is in use: choose another console.port, or 0 for any free port"
    case EADDRNOTAVAIL: return "console: \(settings.address) is not an address of this host"
    case EACCES: return "console: this user may not listen on port \(settings.port)"
    default: return "console: can't listen on \(place): \(error)"
    }
  }

  private static func place(_ address: String, _ port: Int) -> String {
    address.contains(":") ? "[\(address)]:\(port)" : "\(address):\(port)"
  }
}

extension Worker {
  /// The configuration in effect, headed by what differs in the file.
  fileprivate var configurationPage: String {
    let status = status.configuration
    var page = ""
    if !status.version.isEmpty { page += "# version \(status.version)\n" }
    if status.isRefused { page += "# the changed file was refused: see the log\n" }
    if !status.waiting.isEmpty {
      page += "# changed in the file, waiting for a restart: \(status.waiting.joined(separator: ", "))\n"
    }
    return page + topology.redactedDescription
  }
}

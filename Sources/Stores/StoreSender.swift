// The part of a store's client that lives on an event loop: a queue of requests and a few connections.

internal import NIOCore
internal import NIOPosix
internal import NIOSSL
import Pipeline
internal import Sampling
import Topology

/// Hands queued requests to connections, and sends each again until it has a final answer.
///
/// Not thread-safe: everything happens on one event loop.
final class StoreSender {
  let settings: StoreSettings
  let context: NIOSSLContext?
  let agent: String
  let loop: any EventLoop
  private let results: StoreResults
  /// Requests that no connection has taken yet; the caller bounds them.
  private var waiting: [StoreRequest] = []
  private var connections: [StoreConnection] = []
  private var isClosed = false
  /// Requests that the store has taken.
  private(set) var taken: UInt64 = 0

  init(
    _ settings: StoreSettings, _ context: NIOSSLContext?, agent: String, on loop: any EventLoop,
    results: StoreResults
  ) {
    self.settings = settings
    self.context = context
    self.agent = agent
    self.loop = loop
    self.results = results
    connections = (0..<settings.connections).map { _ in StoreConnection(self) }
  }

  func send(_ request: StoreRequest) {
    guard !isClosed else { return }
    waiting.append(request)
    pump()
  }

  func forget(_ number: UInt64) {
    waiting.removeAll { $0.number == number }
    for connection in connections { connection.forget(number) }
    pump()
  }

  func close() {
    isClosed = true
    waiting = []
    for connection in connections { connection.close() }
    // They refer to this object, and it to them.
    connections = []
  }

  private func pump() {
    for connection in connections where connection.isFree {
      guard !waiting.isEmpty else { return }
      connection.begin(waiting.removeFirst())
    }
  }

  // MARK: What connections tell

  func noteSent(_ bytes: Int) {
    results.note { $0.bytesSent += UInt64(bytes) }
  }

  /// An attempt was answered, and took this long.
  func noteAnswer(after duration: TimeAmount) {
    results.note { $0.durations.observe(.milliseconds(duration.nanoseconds / 1_000_000)) }
  }

  /// An attempt at a request has failed and is repeated.
  func noteRetry(_ number: UInt64, _ reason: String, _ trouble: String) {
    results.note { figures in
      figures.retries[reason, default: 0] += 1
      figures.troubles[number] = "\(settings.url): \(trouble)"
    }
  }

  /// A request has its final answer; the connection is free.
  func finish(_ request: StoreRequest, _ outcome: StoreAnswer.Outcome) {
    if case .taken = outcome { taken += 1 }
    results.note { $0.troubles[request.number] = nil }
    results.add(StoreAnswer(number: request.number, outcome: outcome))
    pump()
  }

  /// The connection is free again, without an answer that anybody waits for.
  func noteFree(_ number: UInt64) {
    results.note { $0.troubles[number] = nil }
    pump()
  }
}

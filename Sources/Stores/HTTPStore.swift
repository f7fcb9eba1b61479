// Sends requests to a store by OTLP/HTTP or OTLP/gRPC.

internal import NIOCore
internal import NIOPosix
internal import NIOSSL
public import Pipeline
internal import Synchronization
public import Topology

/// Why a store can't be reached with the given settings.
public struct StoreFailure: Error, Sendable, CustomStringConvertible {
  /// What is wrong, on one line.
  public let description: String
}

/// A store that is reached by HTTP/1.1 or by gRPC over HTTP/2, over TLS or not: binary protobuf, one
/// request at a time on each of a few connections that stay open.
///
/// Protocols: <https://opentelemetry.io/docs/specs/otlp/>.
public final class HTTPStore: SpanStore {
  private let loop: any EventLoop
  private let sender: NIOLoopBound<StoreSender>
  private let results: StoreResults

  /// Prepares a client. Nothing is connected yet.
  ///
  /// - Throws: if a file of `settings.tls` can't be used.
  public init(_ settings: StoreSettings, agent: String) throws(StoreFailure) {
    let context = settings.url.isSecure ? try HTTPStore.context(settings) : nil
    let loop = MultiThreadedEventLoopGroup.singleton.next()
    let results = StoreResults()
    self.loop = loop
    self.results = results
    do {
      sender = try loop.submit {
        NIOLoopBound(
          StoreSender(settings, context, agent: agent, on: loop, results: results), eventLoop: loop)
      }.wait()
    } catch { throw StoreFailure(description: "\(error)") }
  }

  /// Queues a request.
  public func send(_ request: StoreRequest) {
    loop.execute { [sender] in sender.value.send(request) }
  }

  /// Forgets a request.
  public func forget(_ number: UInt64) {
    loop.execute { [sender] in sender.value.forget(number) }
  }

  /// The answers since the last call.
  public func takeAnswers() -> [StoreAnswer] { results.takeAnswers() }

  /// What was counted so far.
  public var figures: StoreFigures { results.figures }

  /// Closes all connections.
  public func close() {
    loop.execute { [sender] in sender.value.close() }
  }

  private static func context(_ settings: StoreSettings) throws(StoreFailure) -> NIOSSLContext {
    let tls = settings.tls
    var configuration = TLSConfiguration.makeClientConfiguration()
    configuration.applicationProtocols = [settings.transport == .grpc ? "h2" : "http/1.1"]
    configuration.minimumTLSVersion = .tlsv12
    if tls.skipsVerification { configuration.certificateVerification = .none }
    var file = ""
    do {
      if let path = tls.authoritiesFile {
        file = path
        configuration.trustRoots = .certificates(try NIOSSLCertificate.fromPEMFile(path))
      }
      if let path = tls.certificateFile, let key = tls.keyFile {
        file = path
        configuration.certificateChain = try NIOSSLCertificate.fromPEMFile(path).map { .certificate($0) }
        file = key
        configuration.privateKey = .privateKey(try NIOSSLPrivateKey(file: key, format: .pem))
      }
      return try NIOSSLContext(configuration: configuration)
    } catch {
      throw StoreFailure(
        description: "\(settings.transport.rawValue).tls: "
          + "\(file.isEmpty ? "" : "the file '\(file)' can't be used: ")\(error)")
    }
  }
}

/// What the sender's event loop leaves for the lane's thread.
final class StoreResults: Sendable {
  private let state = Mutex((answers: [StoreAnswer](), figures: StoreFigures()))

  func add(_ answer: StoreAnswer) {
    state.withLock { $0.answers.append(answer) }
  }

  func takeAnswers() -> [StoreAnswer] {
    state.withLock { state in
      defer { state.answers.removeAll(keepingCapacity: true) }
      return state.answers
    }
  }

  var figures: StoreFigures { state.withLock(\.figures) }

  func note(_ change: (inout StoreFigures) -> Void) {
    state.withLock { change(&$0.figures) }
  }
}

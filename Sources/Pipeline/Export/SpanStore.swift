// The seam between an exporting lane and the store that it sends spans to.

public import Topology

/// A request to a store: an `ExportTraceServiceRequest`, compressed or not.
public struct StoreRequest: Sendable {
  /// Names it in its answer; never used again.
  public let number: UInt64
  /// The body, as it is sent.
  public let body: [UInt8]
  /// How the body is compressed.
  public let compression: StoreSettings.Compression

  /// Makes a request.
  public init(number: UInt64, body: [UInt8], compression: StoreSettings.Compression) {
    self.number = number
    self.body = body
    self.compression = compression
  }
}

/// A store's final answer to a request.
public struct StoreAnswer: Sendable {
  /// The request's number.
  public let number: UInt64
  /// What became of it.
  public let outcome: Outcome

  /// Makes an answer.
  public init(number: UInt64, outcome: Outcome) {
    self.number = number
    self.outcome = outcome
  }

  /// What became of a request.
  public enum Outcome: Equatable, Sendable {
    /// The store has it. It may have rejected some spans for good, and says why.
    case taken(rejectedSpans: UInt64, message: String)
    /// The store refuses it, and would refuse it again: its status, a number of HTTP or a name of gRPC, and
    /// what it says.
    case refused(status: String, message: String)
  }
}

/// What a store's sender has counted, and how it fares.
public struct StoreFigures: Equatable, Sendable {
  /// Attempts that failed and were or will be repeated, by reason: a status, `timeout` or `connection`.
  public var retries: [String: UInt64] = [:]
  /// Bytes of bodies sent, those of failed attempts included.
  public var bytesSent: UInt64 = 0
  /// How long attempts took that a store answered.
  public var durations = Histogram()
  /// Why the last attempt failed, of each request that is still to be repeated, by its number.
  public var troubles: [UInt64: String] = [:]
  /// That of the oldest.
  public var trouble: String? { troubles.min { $0.key < $1.key }?.value }

  /// Nothing yet.
  public init() {}
}

/// Sends requests to a store, each until it has a final answer. Calls come from one lane's thread, and none
/// waits.
///
/// What a status means is in the specification of OTLP, "Failures":
/// <https://opentelemetry.io/docs/specs/otlp/#failures> and
/// <https://opentelemetry.io/docs/specs/otlp/#failures-1>.
public protocol SpanStore: AnyObject, Sendable {
  /// Queues a request. The caller bounds how many there are.
  func send(_ request: StoreRequest)

  /// Forgets a request: nobody waits for its answer any more. It may still arrive at the store.
  func forget(_ number: UInt64)

  /// The answers since the last call.
  func takeAnswers() -> [StoreAnswer]

  /// What was counted so far.
  var figures: StoreFigures { get }

  /// Closes all connections. No other call follows.
  func close()
}

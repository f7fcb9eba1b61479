// The store's client against a server in this process that answers as it is told.

import Foundation
import NIOCore
import NIOHTTP1
import NIOPosix
import Pipeline
import Synchronization
import Testing
import Topology

@testable import Stores

/// An HTTP server that keeps requests, and answers each with the next of its answers; the last one repeats.
private final class TestReceiver: Sendable {
  enum Answer: Sendable {
    case status(Int, headers: [(String, String)] = [])
    /// The connection closes.
    case close
    /// Nothing, ever.
    case silence
  }

  struct Seen: Sendable {
    var head: HTTPRequestHead
    var body: [UInt8]
  }

  private struct State {
    var seen: [Seen] = []
    var answers: [Answer]
    var connections = 0
    var answer: @Sendable (Seen) -> Answer? = { _ in nil }
  }

  private let state: Mutex<State>
  private let channel: Mutex<(any Channel)?> = Mutex(nil)

  init(_ answers: [Answer]) throws {
    state = Mutex(State(answers: answers))
    let bootstrap = ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
      .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
      .childChannelInitializer { [self] channel in
        channel.eventLoop.makeCompletedFuture {
          state.withLock { $0.connections += 1 }
          try channel.pipeline.syncOperations.configureHTTPServerPipeline()
          try channel.pipeline.syncOperations.addHandler(ReceiverHandler(self))
        }
      }
    let bound = try bootstrap.bind(host: "127.0.0.1", port: 0).wait()
    channel.withLock { $0 = bound }
  }

  func close() throws { try channel.withLock { $0 }?.close().wait() }

  var port: Int { channel.withLock { $0?.localAddress?.port ?? 0 } }
  var seen: [Seen] { state.withLock(\.seen) }
  var connections: Int { state.withLock(\.connections) }

  /// The answer to a request, if it depends on that.
  var answer: @Sendable (Seen) -> Answer? {
    get { state.withLock(\.answer) }
    set { state.withLock { $0.answer = newValue } }
  }

  func take(_ seen: Seen) -> Answer {
    state.withLock { state in
      state.seen.append(seen)
      if let answer = state.answer(seen) { return answer }
      return state.answers.count > 1 ? state.answers.removeFirst() : state.answers[0]
    }
  }
}

private final class ReceiverHandler: ChannelInboundHandler {
  typealias InboundIn = HTTPServerRequestPart
  typealias OutboundOut = HTTPServerResponsePart

  private let receiver: TestReceiver
  private var head: HTTPRequestHead?
  private var body: [UInt8] = []

  init(_ receiver: TestReceiver) {
    self.receiver = receiver
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    switch unwrapInboundIn(data) {
    case .head(let head):
      self.head = head
      body = []
    case .body(let part): body += part.readableBytesView
    case .end:
      guard let head else { return }
      switch receiver.take(TestReceiver.Seen(head: head, body: body)) {
      case .close: context.close(promise: nil)
      case .silence: break
      case .status(let status, let headers):
        var fields = HTTPHeaders(headers)
        fields.add(name: "content-length", value: "0")
        let response = HTTPResponseHead(
          version: .http1_1, status: HTTPResponseStatus(statusCode: status), headers: fields)
        context.write(wrapOutboundOut(.head(response)), promise: nil)
        context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
      }
    }
  }
}

@Suite(.serialized, .timeLimit(.minutes(2))) struct HTTPStoreTests {
  private func store(
    _ port: Int, _ change: (inout StoreSettings) -> Void = { _ in }
  ) throws -> HTTPStore {
    let url = try #require(StoreURL("http://127.0.0.1:\(port)/v1/traces"))
    var settings = StoreSettings(url: url)
    settings.retryInitial = .milliseconds(10)
    settings.retryMax = .milliseconds(40)
    change(&settings)
    return try HTTPStore(settings, agent: "tailrace/test")
  }

  private func request(_ number: UInt64, _ body: [UInt8] = [1, 2, 3]) -> StoreRequest {
    StoreRequest(number: number, body: body, compression: .gzip)
  }

  /// Waits until `count` answers have come.
  private func answers(_ store: HTTPStore, _ count: Int) async throws -> [StoreAnswer] {
    var answers: [StoreAnswer] = []
    while answers.count < count {
      answers += store.takeAnswers()
      try await Task.sleep(for: .milliseconds(5))
    }
    return answers
  }

  private let taken = StoreAnswer.Outcome.taken(rejectedSpans: 0, message: "")

  @Test func aRequestIsAsTheProtocolWantsIt() async throws {
    let receiver = try TestReceiver([.status(200)])
    let store = try store(receiver.port) { $0.headers = [StoreSettings.Header("x-scope", "a b")] }
    store.send(request(7))
    let answers = try await answers(store, 1)
    #expect(answers.map(\.number) == [7] && answers.map(\.outcome) == [taken])
    let seen = try #require(receiver.seen.first)
    #expect(seen.head.method == .POST && seen.head.uri == "/v1/traces" && seen.body == [1, 2, 3])
    #expect(seen.head.headers["content-type"] == ["application/x-protobuf"])
    #expect(seen.head.headers["content-encoding"] == ["gzip"])
    #expect(seen.head.headers["x-scope"] == ["a b"])
    #expect(seen.head.headers["host"] == ["127.0.0.1:\(receiver.port)"])
    store.close()
  }

  @Test func connectionsAreKeptAndFew() async throws {
    let receiver = try TestReceiver([.status(200)])
    let store = try store(receiver.port) { $0.connections = 2 }
    for number in 1...50 { store.send(request(UInt64(number))) }
    let answers = try await answers(store, 50)
    #expect(Set(answers.map(\.number)).count == 50)
    #expect(receiver.connections <= 2)
    store.close()
  }

  @Test func passingFaultsAreRepeatedUntilTheStoreTakesIt() async throws {
    let receiver = try TestReceiver([.status(503), .close, .status(429), .status(401), .status(200)])
    let store = try store(receiver.port) { $0.connections = 1 }
    store.send(request(1))
    #expect(try await answers(store, 1).map(\.outcome) == [taken])
    #expect(receiver.seen.count == 5)
    #expect(store.figures.retries == ["503": 1, "connection": 1, "429": 1, "401": 1])
    #expect(store.figures.trouble == nil)
    store.close()
  }

  @Test func silenceIsATimeout() async throws {
    let receiver = try TestReceiver([.silence, .status(200)])
    let store = try store(receiver.port) { $0.timeout = .milliseconds(100) }
    store.send(request(1))
    #expect(try await answers(store, 1).map(\.outcome) == [taken])
    #expect(store.figures.retries == ["timeout": 1])
    store.close()
  }

  @Test func anAddressWithoutAServerIsTold() async throws {
    let receiver = try TestReceiver([.status(200)])
    let port = receiver.port
    try receiver.close()
    let store = try store(port)
    store.send(request(1))
    while store.figures.trouble == nil { try await Task.sleep(for: .milliseconds(5)) }
    #expect(store.figures.trouble?.contains("can't connect") == true)
    #expect(store.takeAnswers().isEmpty)
    store.close()
  }

  @Test func refusalsAreFinal() async throws {
    let receiver = try TestReceiver([.status(400), .status(413), .status(200)])
    let store = try store(receiver.port) { $0.connections = 1 }
    for number in 1...3 { store.send(request(UInt64(number))) }
    let answers = try await answers(store, 3)
    #expect(
      answers.map(\.outcome) == [
        .refused(status: "400", message: ""), .refused(status: "413", message: ""), taken,
      ])
    store.close()
  }

  /// The specification rules out retries for it, but stores answer so while they are restarted: a request is
  /// given up soon only if the store takes others.
  @Test func internalErrorsArePatientWhileNothingElseIsTaken() async throws {
    let receiver = try TestReceiver(
      [TestReceiver.Answer](repeating: .status(500), count: 10) + [.status(200)])
    let store = try store(receiver.port) { $0.connections = 1 }
    store.send(request(1))
    #expect(try await answers(store, 1).map(\.outcome) == [taken])
    store.close()
    let broken = try TestReceiver([.status(500)])
    let other = try self.store(broken.port)
    other.send(request(1))
    #expect(try await answers(other, 1).map(\.outcome) == [.refused(status: "500", message: "")])
    #expect(broken.seen.count == 24)
    other.close()
  }

  @Test func internalErrorsOfOneRequestAreGivenUpSoon() async throws {
    let receiver = try TestReceiver([.status(200)])
    receiver.answer = { $0.body == [5] ? .status(500) : nil }
    let store = try store(receiver.port) { $0.connections = 2 }
    store.send(request(1, [5]))
    for number in 2...40 {
      store.send(request(UInt64(number)))
      try await Task.sleep(for: .milliseconds(5))
    }
    let answers = try await answers(store, 40)
    #expect(answers.first { $0.number == 1 }?.outcome == .refused(status: "500", message: ""))
    #expect(receiver.seen.count { $0.body == [5] } < 24)
    store.close()
  }

  @Test func theStoresPauseIsKept() async throws {
    let receiver = try TestReceiver([.status(429, headers: [("retry-after", "1")]), .status(200)])
    let store = try store(receiver.port) { $0.connections = 1 }
    let begin = ContinuousClock.now
    store.send(request(1))
    #expect(try await answers(store, 1).map(\.outcome) == [taken])
    #expect(ContinuousClock.now - begin >= .seconds(1))
    store.close()
  }

  @Test func forgottenRequestsFreeTheirConnection() async throws {
    let receiver = try TestReceiver([.status(503), .status(200)])
    let store = try store(receiver.port) { settings in
      settings.connections = 1
      settings.retryInitial = .seconds(600)
      settings.retryMax = .seconds(600)
    }
    store.send(request(1))
    while store.figures.trouble == nil { try await Task.sleep(for: .milliseconds(5)) }
    store.send(request(2))
    store.forget(1)
    #expect(try await answers(store, 1).map(\.number) == [2])
    #expect(store.figures.trouble == nil)
    store.close()
  }

  /// Nobody is warned of a request that nobody waits for.
  @Test func forgottenRequestsAreNoTrouble() async throws {
    let receiver = try TestReceiver([.status(503)])
    let store = try store(receiver.port) {
      $0.retryInitial = .seconds(600); $0.retryMax = .seconds(600)
    }
    store.send(request(1))
    while store.figures.trouble == nil { try await Task.sleep(for: .milliseconds(5)) }
    store.forget(1)
    while store.figures.trouble != nil { try await Task.sleep(for: .milliseconds(5)) }
    store.close()
  }

  @Test func filesOfTLSAreCheckedAtStart() throws {
    let url = try #require(StoreURL("https://localhost:1/v1/traces"))
    var settings = StoreSettings(url: url)
    settings.tls.authoritiesFile = "/no/such/file.pem"
    #expect(throws: StoreFailure.self) { try HTTPStore(settings, agent: "test") }
  }
}

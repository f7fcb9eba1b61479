// The store's client by gRPC against a server in this process that answers as it is told.

import NIOCore
import NIOHPACK
import NIOHTTP2
import NIOPosix
import Pipeline
import Synchronization
import Testing
import Topology

@testable import Stores

/// A server of HTTP/2 that keeps calls, and answers each with the next of its answers; the last one repeats.
private final class TestReceiver: Sendable {
  enum Answer: Sendable {
    /// Headers, a message and trailers.
    case trailers(HPACKHeaders, message: [UInt8] = [0, 0, 0, 0, 0])
    /// Headers and nothing else.
    case only(HPACKHeaders)
    case reset(HTTP2ErrorCode)
    /// The call is not taken, and neither is another on this connection.
    case goAway
    /// The call is answered, and no other is taken.
    case last
    /// The connection closes.
    case close
    /// Nothing, ever.
    case silence
  }

  struct Seen: Sendable {
    var head: HPACKHeaders
    var body: [UInt8]
  }

  private let state: Mutex<(seen: [Seen], answers: [Answer], connections: Int)>
  private let channel: Mutex<(any Channel)?> = Mutex(nil)

  init(_ answers: [Answer]) throws {
    state = Mutex((seen: [], answers: answers, connections: 0))
    let bootstrap = ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
      .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
      .childChannelInitializer { [self] channel in
        channel.eventLoop.makeCompletedFuture {
          state.withLock { $0.connections += 1 }
          _ = try channel.pipeline.syncOperations.configureHTTP2Pipeline(
            mode: .server, connectionConfiguration: .init(), streamConfiguration: .init()
          ) { stream in
            stream.eventLoop.makeCompletedFuture {
              try stream.pipeline.syncOperations.addHandler(ReceiverHandler(self, channel))
            }
          }
        }
      }
    let bound = try bootstrap.bind(host: "127.0.0.1", port: 0).wait()
    channel.withLock { $0 = bound }
  }

  var port: Int { channel.withLock { $0?.localAddress?.port ?? 0 } }
  var seen: [Seen] { state.withLock(\.seen) }
  var connections: Int { state.withLock(\.connections) }

  func take(_ seen: Seen) -> Answer {
    state.withLock { state in
      state.seen.append(seen)
      return state.answers.count > 1 ? state.answers.removeFirst() : state.answers[0]
    }
  }
}

private final class ReceiverHandler: ChannelInboundHandler {
  typealias InboundIn = HTTP2Frame.FramePayload
  typealias OutboundOut = HTTP2Frame.FramePayload

  private let receiver: TestReceiver
  private let connection: any Channel
  private var seen = TestReceiver.Seen(head: [:], body: [])

  init(_ receiver: TestReceiver, _ connection: any Channel) {
    self.receiver = receiver
    self.connection = connection
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    switch unwrapInboundIn(data) {
    case .headers(let part): seen.head = part.headers
    case .data(let part):
      if case .byteBuffer(let bytes) = part.data { seen.body += bytes.readableBytesView }
      if part.endStream { answer(receiver.take(seen), context) }
    default: break
    }
  }

  private func answer(_ answer: TestReceiver.Answer, _ context: ChannelHandlerContext) {
    let head: HPACKHeaders = [":status": "200", "content-type": "application/grpc"]
    switch answer {
    case .trailers(let trailers, let message):
      context.write(wrapOutboundOut(.headers(.init(headers: head))), promise: nil)
      let body = IOData.byteBuffer(ByteBuffer(bytes: message))
      context.write(wrapOutboundOut(.data(.init(data: body))), promise: nil)
      context.writeAndFlush(
        wrapOutboundOut(.headers(.init(headers: trailers, endStream: true))), promise: nil)
    case .only(let headers):
      context.writeAndFlush(wrapOutboundOut(.headers(.init(headers: headers, endStream: true))), promise: nil)
    case .reset(let code): context.writeAndFlush(wrapOutboundOut(.rstStream(code)), promise: nil)
    case .goAway: leave(after: 0)
    case .last:
      leave(after: 1)
      self.answer(.trailers(["grpc-status": "0"]), context)
    case .close: connection.close(promise: nil)
    case .silence: break
    }
  }

  private func leave(after stream: HTTP2StreamID) {
    let frame = HTTP2Frame(
      streamID: .rootStream, payload: .goAway(lastStreamID: stream, errorCode: .noError, opaqueData: nil))
    connection.writeAndFlush(frame, promise: nil)
  }
}

/// Answers as a server of HTTP/1.1 that does not understand.
private final class OtherProtocol: ChannelInboundHandler {
  typealias InboundIn = ByteBuffer

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    let answer = ByteBuffer(string: "HTTP/1.1 400 Bad Request\r\n\r\n")
    context.channel.writeAndFlush(answer, promise: nil)
  }
}

@Suite(.serialized, .timeLimit(.minutes(2))) struct GRPCStoreTests {
  private let ok = TestReceiver.Answer.trailers(["grpc-status": "0"])
  private let taken = StoreAnswer.Outcome.taken(rejectedSpans: 0, message: "")
  private static let path = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"

  private func store(
    _ receiver: TestReceiver, _ change: (inout StoreSettings) -> Void = { _ in }
  ) throws -> HTTPStore {
    let url = try #require(StoreURL("http://127.0.0.1:\(receiver.port)\(GRPCStoreTests.path)"))
    var settings = StoreSettings(transport: .grpc, url: url)
    settings.connections = 1
    settings.retryInitial = .milliseconds(10)
    settings.retryMax = .milliseconds(40)
    change(&settings)
    return try HTTPStore(settings, agent: "tailrace/test")
  }

  private func send(_ store: HTTPStore, _ number: UInt64, _ body: [UInt8] = [1, 2, 3]) {
    store.send(StoreRequest(number: number, body: body, compression: .gzip))
  }

  /// Waits until `count` answers have come.
  private func answers(_ store: HTTPStore, _ count: Int) async throws -> [StoreAnswer.Outcome] {
    var answers: [StoreAnswer] = []
    while answers.count < count {
      answers += store.takeAnswers()
      try await Task.sleep(for: .milliseconds(5))
    }
    return answers.map(\.outcome)
  }

  @Test func aCallIsAsTheProtocolWantsIt() async throws {
    let receiver = try TestReceiver([ok])
    let store = try store(receiver) { $0.headers = [StoreSettings.Header("X-Scope", "a b")] }
    send(store, 7)
    #expect(try await answers(store, 1) == [taken])
    let seen = try #require(receiver.seen.first)
    #expect(seen.body == [1, 0, 0, 0, 3, 1, 2, 3])
    let expected = [
      ":method": "POST", ":scheme": "http", ":path": GRPCStoreTests.path, "te": "trailers",
      ":authority": "127.0.0.1:\(receiver.port)", "content-type": "application/grpc", "x-scope": "a b",
      "grpc-encoding": "gzip", "grpc-timeout": "10000m", "user-agent": "tailrace/test",
    ]
    for (name, value) in expected { #expect(seen.head[name] == [value]) }
    store.close()
  }

  /// Larger than the windows of flow control.
  @Test func largeRequestsArriveWhole() async throws {
    let receiver = try TestReceiver([ok])
    let store = try store(receiver)
    let body = (0..<1_000_000).map { UInt8(truncatingIfNeeded: $0) }
    send(store, 1, body)
    #expect(try await answers(store, 1) == [taken])
    #expect(receiver.seen.first?.body.dropFirst(5).elementsEqual(body) == true)
    store.close()
  }

  @Test func aConnectionIsKept() async throws {
    let receiver = try TestReceiver([ok])
    let store = try store(receiver) { $0.connections = 2 }
    for number in 1...50 { send(store, UInt64(number)) }
    #expect(try await answers(store, 50) == Array(repeating: taken, count: 50))
    #expect(receiver.connections <= 2)
    store.close()
  }

  /// Whatever is sent on a stream that is over counts as a reset: receivers end a connection with hundreds.
  @Test func hundredsOfCallsUseOneConnection() async throws {
    let receiver = try TestReceiver([ok])
    let store = try store(receiver) { $0.connections = 1 }
    for number in 1...400 {
      send(store, UInt64(number))
      #expect(try await answers(store, 1) == [taken])
    }
    #expect(receiver.connections == 1 && store.figures.retries.isEmpty)
    store.close()
  }

  @Test func passingFaultsAreRepeatedUntilTheStoreTakesIt() async throws {
    let head: HPACKHeaders = [":status": "200", "content-type": "application/grpc"]
    let receiver = try TestReceiver([
      .trailers(["grpc-status": "14", "grpc-message": "busy"]), .only(head + ["grpc-status": "16"]),
      .only([":status": "503"]), .only([":status": "200", "content-type": "text/html"]), ok,
    ])
    let store = try store(receiver)
    send(store, 1)
    #expect(try await answers(store, 1) == [taken])
    #expect(store.figures.retries == ["UNAVAILABLE": 1, "UNAUTHENTICATED": 1, "503": 1, "200": 1])
    #expect(store.figures.trouble == nil)
    store.close()
  }

  /// Whatever ends a call or its connection without an answer.
  @Test func brokenCallsAreRepeated() async throws {
    let receiver = try TestReceiver([
      .reset(.refusedStream), .goAway, .close, .reset(.internalError), .trailers(["x": "no status"]), ok,
    ])
    let store = try store(receiver)
    send(store, 1)
    #expect(try await answers(store, 1) == [taken])
    #expect(receiver.seen.count == 6)
    #expect(store.figures.retries == ["UNAVAILABLE": 1, "connection": 3, "INTERNAL": 1])
    store.close()
  }

  /// As older servers answer one that is too large for them.
  @Test func oneThatIsResetAlwaysIsGivenUp() async throws {
    let answers: [TestReceiver.Answer] = Array(repeating: .reset(.cancel), count: 24)
    let receiver = try TestReceiver(answers + [ok])
    let store = try store(receiver) { ($0.retryInitial, $0.retryMax) = (.milliseconds(1), .milliseconds(2)) }
    send(store, 1)
    send(store, 2)
    let outcomes = try await self.answers(store, 2)
    guard case .refused("CANCELLED", let message)? = outcomes.first else {
      Issue.record("\(outcomes)")
      return
    }
    #expect(message.contains("it closed the stream") && outcomes.last == taken)
    store.close()
  }

  @Test func whatAStoreRepeatsOfItsHeadersIsMasked() async throws {
    let secret = "s3cr3t-token-of-some-length"
    let filling = String(repeating: "x", count: 112)
    let told = "not you with Bearer%20\(secret)%20 or \(secret), \(filling)\(secret)"
    let receiver = try TestReceiver([
      .trailers(["grpc-status": "16", "grpc-message": told]),
      .trailers(["grpc-status": "3", "grpc-message": told]),
    ])
    let store = try store(receiver) {
      $0.headers = [.init("authorization", "Bearer \(secret)")]
      ($0.retryInitial, $0.retryMax) = (.milliseconds(100), .milliseconds(100))
    }
    send(store, 1)
    while store.figures.trouble == nil { try await Task.sleep(for: .milliseconds(5)) }
    let trouble = store.figures.trouble ?? ""
    #expect(trouble.contains("not you with ***") && !trouble.contains("s3cr"), "\(trouble)")
    let outcome = try await answers(store, 1).first
    guard case .refused("INVALID_ARGUMENT", let message)? = outcome else {
      Issue.record("\(String(describing: outcome))")
      return
    }
    #expect(message.contains("***") && message.hasSuffix("***…") && !message.contains("s3cr"), "\(message)")
    store.close()
  }

  @Test func theCauseIsTold() async throws {
    for (answer, cause) in [
      (TestReceiver.Answer.reset(.refusedStream), "it closed the stream: "),
      (.trailers(["x": "y"]), "its answer has no grpc-status"),
      (.trailers(["grpc-status": "14", "grpc-message": "a%20b"]), "it answers UNAVAILABLE: a b"),
      (.trailers(["grpc-status": "7"]), "PERMISSION_DENIED; check otlp_grpc's address and headers"),
    ] {
      let receiver = try TestReceiver([answer])
      let store = try store(receiver)
      send(store, 1)
      while store.figures.trouble == nil { try await Task.sleep(for: .milliseconds(5)) }
      #expect(store.figures.trouble?.contains(cause) == true, "\(store.figures.trouble ?? "")")
      store.close()
    }
  }

  @Test func aConnectionThatIsLeftAnswersFirst() async throws {
    let receiver = try TestReceiver([.last, ok])
    let store = try store(receiver)
    send(store, 1)
    #expect(try await answers(store, 1) == [taken])
    send(store, 2)
    #expect(try await answers(store, 1) == [taken])
    #expect(receiver.connections == 2 && receiver.seen.count == 2 && store.figures.retries.isEmpty)
    store.close()
  }

  @Test func silenceIsATimeout() async throws {
    let receiver = try TestReceiver([.silence, ok])
    let store = try store(receiver) { $0.timeout = .milliseconds(100) }
    send(store, 1)
    #expect(try await answers(store, 1) == [taken])
    #expect(store.figures.retries == ["timeout": 1])
    store.close()
  }

  /// A message beyond what is kept of it.
  @Test func oversizedAnswersAreBounded() async throws {
    let receiver = try TestReceiver([
      .trailers(["grpc-status": "0"], message: [UInt8](repeating: 0xff, count: 300_000))
    ])
    let store = try store(receiver)
    send(store, 1)
    #expect(try await answers(store, 1) == [taken])
    #expect(store.figures.retries.isEmpty)
    store.close()
  }

  /// Headers beyond what is read: the answer is a broken one.
  @Test func oversizedHeadersAreBounded() async throws {
    let filling = String(repeating: "x", count: 20_000)
    let receiver = try TestReceiver([
      .trailers(["grpc-status": "0", "x-filling": filling]),
      .only(["grpc-status": "0", "x-filling": filling]), ok,
    ])
    let store = try store(receiver)
    send(store, 1)
    #expect(try await answers(store, 1) == [taken])
    #expect(receiver.seen.count == 3)
    store.close()
  }

  /// A call asks for the name that the certificate is for, if that is not the address's.
  @Test func theAuthorityIsTheCertificatesName() throws {
    var secure = StoreSettings(transport: .grpc, url: try #require(StoreURL("https://127.0.0.1:4317/x")))
    #expect(secure.authority == "127.0.0.1:4317")
    secure.tls.serverName = "store.example"
    #expect(secure.authority == "store.example")
    var plain = StoreSettings(transport: .grpc, url: try #require(StoreURL("http://127.0.0.1:4317/x")))
    plain.tls.serverName = "store.example"
    #expect(plain.authority == "127.0.0.1:4317")
  }

  @Test func refusalsAreFinal() async throws {
    let receiver = try TestReceiver([.trailers(["grpc-status": "3", "grpc-message": "bad"])])
    let store = try store(receiver)
    send(store, 1)
    #expect(try await answers(store, 1) == [.refused(status: "INVALID_ARGUMENT", message: "bad")])
    store.close()
  }

  /// Somebody else's port.
  @Test func aServerOfAnotherProtocolIsTold() async throws {
    let other = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
      .childChannelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          try channel.pipeline.syncOperations.addHandler(OtherProtocol())
        }
      }
      .bind(host: "127.0.0.1", port: 0).get()
    let url = try #require(StoreURL("http://127.0.0.1:\(other.localAddress?.port ?? 0)/x"))
    let store = try HTTPStore(StoreSettings(transport: .grpc, url: url), agent: "test")
    send(store, 1)
    while store.figures.trouble == nil { try await Task.sleep(for: .milliseconds(5)) }
    #expect(store.figures.retries == ["connection": 1])
    store.close()
    try await other.close()
  }
}

extension HPACKHeaders {
  fileprivate static func + (left: HPACKHeaders, right: HPACKHeaders) -> HPACKHeaders {
    var sum = left
    sum.add(contentsOf: right)
    return sum
  }
}

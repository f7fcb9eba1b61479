// One connection to a store, and the request that it is busy with.

internal import Files
internal import Foundation
internal import NIOCore
internal import NIOHTTP1
internal import NIOHTTP2
internal import NIOPosix
internal import NIOSSL
import Pipeline
import Topology

/// Sends one request at a time, each again until it has a final answer. The connection stays open in between.
///
/// It lives on the sender's event loop.
final class StoreConnection {
  /// It refers to this connection until it is closed.
  let sender: StoreSender
  /// Nil while there is none.
  private var channel: (any Channel)?
  /// What it is busy with.
  private var request: StoreRequest?
  /// Nobody waits for the request's answer any more.
  private var isForgotten = false
  /// Attempts at the request that have failed,
  private var failures = 0
  /// and those of them that were answered with a status that promises nothing.
  private var doubtful = 0
  /// Distinguishes an attempt from earlier ones, whose events may still come.
  private var attempt: UInt64 = 0
  private var isAttempting = false
  /// The store has said that it takes nothing more on the connection.
  private var isLeaving = false
  private var begunAt = NIODeadline.uptimeNanoseconds(0)
  private var deadline: Scheduled<Void>?
  private var pause: Scheduled<Void>?

  /// What the store had taken when the first of them came.
  private var takenBefore: UInt64 = 0

  /// How often a request is sent that is answered with a status that promises nothing,
  private static let doubtfulMax = 5
  /// and how often while the store takes nothing else either: then the fault is hardly the request's.
  private static let doubtfulMaxAlone = 24

  init(_ sender: StoreSender) {
    self.sender = sender
  }

  var isFree: Bool { request == nil }

  func begin(_ request: StoreRequest) {
    self.request = request
    isForgotten = false
    failures = 0
    doubtful = 0
    tryNow()
  }

  func forget(_ number: UInt64) {
    guard request?.number == number else { return }
    isForgotten = true
    // An attempt under way is left to its end.
    if pause != nil { release() }
  }

  func close() {
    endAttempt()
    pause?.cancel()
    pause = nil
    request = nil
    drop()
  }

  private func drop() {
    let closed = channel
    // Its end may be told at once, and is then no news.
    channel = nil
    closed?.close(promise: nil)
  }

  // MARK: Attempts

  private func tryNow() {
    pause = nil
    attempt += 1
    isAttempting = true
    begunAt = .now()
    let (number, loop) = (attempt, sender.loop)
    let bound = NIOLoopBound(self, eventLoop: loop)
    let timeout = TimeAmount(sender.settings.timeout)
    deadline = loop.scheduleTask(in: timeout) {
      bound.value.fail(number, "timeout", "no answer within \(bound.value.sender.settings.timeoutText)")
    }
    if let channel, channel.isActive { return write(to: channel) }
    connect(timeout).whenComplete { result in
      let connection = bound.value
      switch result {
      case .success(let channel):
        // The attempt may have timed out meanwhile.
        guard connection.isAttempting, connection.attempt == number else {
          return channel.close(promise: nil)
        }
        connection.channel = channel
        connection.isLeaving = false
        connection.write(to: channel)
      case .failure(let error):
        connection.fail(number, "connection", "can't connect: \(StoreConnection.words(error))")
      }
    }
  }

  private func connect(_ timeout: TimeAmount) -> EventLoopFuture<any Channel> {
    let (settings, context) = (sender.settings, sender.context)
    let bound = NIOLoopBound(self, eventLoop: sender.loop)
    return ClientBootstrap(group: sender.loop).connectTimeout(timeout)
      .channelOption(.socketOption(.so_keepalive), value: 1)
      .channelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          let pipeline = channel.pipeline.syncOperations
          if let context {
            let name = settings.tls.serverName ?? settings.url.host
            // An address is checked against the certificate's addresses.
            let host = StoreConnection.isAddress(name) ? nil : name
            try pipeline.addHandler(NIOSSLClientHandler(context: context, serverHostname: host))
          }
          switch settings.transport {
          case .http:
            try pipeline.addHTTPClientHandlers()
            try pipeline.addHandler(ReplyReader(bound.value))
          case .grpc: try bound.value.addGRPCHandlers(to: channel)
          }
        }
      }
      .connect(host: settings.url.host, port: settings.url.port)
  }

  private static func isAddress(_ host: String) -> Bool {
    (try? SocketAddress(ipAddress: host, port: 0)) != nil
  }

  private func write(to channel: any Channel) {
    guard let request else { return }
    sender.noteSent(request.body.count)
    switch sender.settings.transport {
    case .http: writeHTTP(request, to: channel)
    case .grpc: writeGRPC(request, to: channel)
    }
  }

  private func writeHTTP(_ request: StoreRequest, to channel: any Channel) {
    var head = HTTPRequestHead(version: .http1_1, method: .POST, uri: sender.settings.url.path)
    head.headers.add(name: "host", value: sender.settings.url.authority)
    head.headers.add(name: "user-agent", value: sender.agent)
    head.headers.add(name: "content-type", value: "application/x-protobuf")
    head.headers.add(name: "content-length", value: String(request.body.count))
    if request.compression != .none {
      head.headers.add(name: "content-encoding", value: request.compression.rawValue)
    }
    for header in sender.settings.headers {
      head.headers.replaceOrAdd(name: header.name, value: header.value)
    }
    channel.write(HTTPClientRequestPart.head(head), promise: nil)
    channel.write(HTTPClientRequestPart.body(.byteBuffer(ByteBuffer(bytes: request.body))), promise: nil)
    channel.writeAndFlush(HTTPClientRequestPart.end(nil), promise: nil)
  }

  private func endAttempt() {
    isAttempting = false
    deadline?.cancel()
    deadline = nil
  }

  // MARK: Outcomes

  /// The store has answered on `channel`.
  func take(_ reply: StoreReading, on channel: any Channel, keepsAlive: Bool) {
    guard self.channel === channel else { return }
    guard isAttempting, let request else { return drop() }
    let reply = reply.masking(sender.settings.secretValues)
    sender.noteAnswer(after: .now() - begunAt)
    endAttempt()
    if !keepsAlive || isLeaving { drop() }
    let said = "it answers \(reply.status)\(reply.message.isEmpty ? "" : ": \(reply.message)")"
    switch reply.verdict {
    case .final(let outcome): finish(request, outcome)
    case .retry: retry(reply.status, said, after: reply.retryAfter)
    case .misconfigured:
      let hint =
        reply.status.hasPrefix("3")
        ? "redirections are not followed"
        : "check \(sender.settings.transport.rawValue)'s address and headers"
      retry(reply.status, "\(said); \(hint)", after: reply.retryAfter)
    case .doubtful(let outcome):
      if doubtful == 0 { takenBefore = sender.taken }
      doubtful += 1
      let most =
        sender.taken > takenBefore ? StoreConnection.doubtfulMax : StoreConnection.doubtfulMaxAlone
      guard doubtful < most else { return finish(request, outcome) }
      retry(reply.status, said, after: reply.retryAfter)
    }
  }

  /// The store takes no more requests on `channel`; what is under way, it may still answer.
  func leave(_ channel: any Channel) {
    guard self.channel === channel else { return }
    isLeaving = true
    if !isAttempting { drop() }
  }

  /// `channel` has ended, after an error or not, or is of no more use.
  func lose(_ channel: any Channel, _ cause: String?) {
    guard self.channel === channel else { return }
    drop()
    fail(attempt, "connection", cause ?? "it closed the connection without an answer")
  }

  /// An attempt has failed without an answer.
  private func fail(_ number: UInt64, _ reason: String, _ cause: String) {
    guard isAttempting, attempt == number else { return }
    endAttempt()
    drop()
    retry(reason, cause, after: nil)
  }

  private func finish(_ request: StoreRequest, _ outcome: StoreAnswer.Outcome) {
    let wasForgotten = isForgotten
    self.request = nil
    if wasForgotten { sender.noteFree(request.number) } else { sender.finish(request, outcome) }
  }

  private func release() {
    guard let number = request?.number else { return }
    pause?.cancel()
    pause = nil
    request = nil
    sender.noteFree(number)
  }

  /// Tries again after a pause that doubles each time; half of it is random, so that many workers do not
  /// return at once.
  private func retry(_ reason: String, _ trouble: String, after pause: Duration?) {
    // What a client's error says may repeat what the store has sent.
    let shown = MessageText.masked(trouble, sender.settings.secretValues)
    if let request { sender.noteRetry(request.number, reason, shown) }
    if isForgotten { return release() }
    let settings = sender.settings
    let doubling = Double(1 << min(failures, 30))
    failures += 1
    let most = min(settings.retryInitial * doubling, settings.retryMax)
    var delay = TimeAmount(most * Double.random(in: 0.5...1))
    if let pause { delay = max(delay, TimeAmount(pause)) }
    let bound = NIOLoopBound(self, eventLoop: sender.loop)
    self.pause = sender.loop.scheduleTask(in: delay) { bound.value.tryNow() }
  }

  /// A client's errors in a few words.
  static func words(_ error: any Error) -> String {
    switch error {
    case let error as NIOHTTP2Errors.StreamClosed: "it closed the stream: \(error.errorCode)"
    case let error as NIOConnectionError:
      error.connectionErrors.first.map { words($0.error) } ?? error.dnsAError.map { words($0) }
        ?? "no address"
    default: StoreReply.shortened(Array("\(error)".utf8))
    }
  }
}

extension StoreSettings {
  fileprivate var timeoutText: String { "\(timeout / .seconds(1)) s" }
}

extension TimeAmount {
  fileprivate init(_ duration: Duration) {
    self = .nanoseconds(Int64(duration / .nanoseconds(1)))
  }
}

/// Collects a response, and hands it to the connection.
private final class ReplyReader: ChannelInboundHandler {
  typealias InboundIn = HTTPClientResponsePart

  private let connection: StoreConnection
  private var reply: StoreReply?
  private var keepsAlive = false
  private var cause: String?

  init(_ connection: StoreConnection) {
    self.connection = connection
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    switch unwrapInboundIn(data) {
    case .head(let head):
      var reply = StoreReply(status: Int(head.status.code))
      keepsAlive = head.isKeepAlive
      let type = head.headers.first(name: "content-type") ?? ""
      reply.isPage = type.lowercased().hasPrefix("text/html")
      reply.isProtobuf = type.lowercased().hasPrefix("application/x-protobuf")
      reply.retryAfter = head.headers.first(name: "retry-after").flatMap {
        StoreReply.retryAfter($0, now: Date())
      }
      self.reply = reply
    case .body(let part):
      let room = StoreReply.bodyBytesMax - (reply?.body.count ?? 0)
      reply?.body += part.readableBytesView.prefix(max(0, room))
    case .end:
      guard let reply else { return }
      self.reply = nil
      connection.take(reply.reading, on: context.channel, keepsAlive: keepsAlive)
    }
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    cause = StoreConnection.words(error)
    context.close(promise: nil)
  }

  func channelInactive(context: ChannelHandlerContext) {
    connection.lose(context.channel, cause)
  }
}

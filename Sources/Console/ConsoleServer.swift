// A small HTTP/1.1 server on one thread: GET and HEAD, no bodies, every answer made at once.

internal import Foundation
internal import NIOConcurrencyHelpers
internal import NIOCore
internal import NIOHTTP1
internal import NIOPosix

/// An answer.
struct ConsoleResponse: Sendable {
  var status = HTTPResponseStatus.ok
  var contentType = "text/plain; charset=utf-8"
  var body: String
}

/// Listens until it is stopped.
final class ConsoleServer: Sendable {
  private let group: MultiThreadedEventLoopGroup
  private let channel: any Channel
  /// The port that it listens on.
  let port: Int

  /// Connections beyond these are closed at once: probes, scrapers and people need a few.
  private static let connectionsMax = 64
  /// A connection on which nothing is asked for so long is closed.
  private static let patience = TimeAmount.seconds(60)

  /// - Parameter respond: answers a path, on the server's thread; nil where there is nothing.
  /// - Throws: `IOError` if the address can't be had.
  init(address: String, port: Int, respond: @escaping @Sendable (String) -> ConsoleResponse?) throws {
    group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    let open = NIOLockedValueBox(0)
    do {
      let bootstrap = ServerBootstrap(group: group)
        .serverChannelOption(.backlog, value: 64)
        .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
        .childChannelInitializer { channel in
          let count = open.withLockedValue { count in
            count += 1
            return count
          }
          channel.closeFuture.whenComplete { _ in open.withLockedValue { $0 -= 1 } }
          guard count <= ConsoleServer.connectionsMax else { return channel.close() }
          return channel.eventLoop.makeCompletedFuture {
            let pipeline = channel.pipeline.syncOperations
            try pipeline.addHandler(IdleStateHandler(allTimeout: ConsoleServer.patience))
            try pipeline.configureHTTPServerPipeline(withErrorHandling: true)
            try pipeline.addHandler(ConsoleHandler(respond))
          }
        }
      channel = try ConsoleServer.bind(bootstrap, address, port)
      self.port = channel.localAddress?.port ?? port
    } catch {
      try? group.syncShutdownGracefully()
      throw error
    }
  }

  /// `::` is every address of the host, of both families, whatever `net.ipv6.bindv6only` says; where the
  /// kernel has no IPv6, every address there is.
  private static func bind(_ bootstrap: ServerBootstrap, _ address: String, _ port: Int) throws -> any Channel
  {
    guard address == anyAddress else { return try bootstrap.bind(host: address, port: port).wait() }
    do {
      let bothFamilies = ChannelOptions.Types.SocketOption(level: .ipv6, name: .ipv6_v6only)
      return try bootstrap.serverChannelOption(bothFamilies, value: 0)
        .bind(host: address, port: port).wait()
    } catch let error as IOError where error.errnoCode == EAFNOSUPPORT {
      return try bootstrap.bind(host: anyIPv4Address, port: port).wait()
    }
  }

  private static let anyAddress = "::"
  private static let anyIPv4Address = "0.0.0.0"

  /// Closes everything. Blocks until it is done.
  func stop() {
    try? channel.close().wait()
    try? group.syncShutdownGracefully()
  }
}

/// One connection.
private final class ConsoleHandler: ChannelInboundHandler {
  typealias InboundIn = HTTPServerRequestPart
  typealias OutboundOut = HTTPServerResponsePart

  private let respond: (String) -> ConsoleResponse?
  private var head: HTTPRequestHead?

  init(_ respond: @escaping (String) -> ConsoleResponse?) {
    self.respond = respond
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    switch unwrapInboundIn(data) {
    case .head(let head): self.head = head
    // Nothing that is asked here has a body; what comes is read and forgotten.
    case .body: break
    case .end:
      guard let head = head.take() else { return }
      answer(head, context)
    }
  }

  func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
    if event is IdleStateHandler.IdleStateEvent {
      context.close(promise: nil)
    } else {
      context.fireUserInboundEventTriggered(event)
    }
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    context.close(promise: nil)
  }

  private func answer(_ request: HTTPRequestHead, _ context: ChannelHandlerContext) {
    let path = request.uri.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false).first ?? ""
    var response: ConsoleResponse
    switch request.method {
    case .GET, .HEAD:
      response = respond(String(path)) ?? ConsoleResponse(status: .notFound, body: "there is no such page\n")
    default: response = ConsoleResponse(status: .methodNotAllowed, body: "only GET and HEAD\n")
    }
    let body = ByteBuffer(string: response.body)
    var headers = HTTPHeaders([
      ("Content-Type", response.contentType), ("Content-Length", "\(body.readableBytes)"),
      ("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff"),
    ])
    if response.status == .methodNotAllowed { headers.add(name: "Allow", value: "GET, HEAD") }
    if !request.isKeepAlive { headers.add(name: "Connection", value: "close") }
    let head = HTTPResponseHead(version: request.version, status: response.status, headers: headers)
    context.write(wrapOutboundOut(.head(head)), promise: nil)
    if request.method != .HEAD { context.write(wrapOutboundOut(.body(.byteBuffer(body))), promise: nil) }
    let sent = context.writeAndFlush(wrapOutboundOut(.end(nil)))
    // Sound: the future completes on this handler's own event loop.
    if !request.isKeepAlive { sent.assumeIsolated().whenComplete { _ in context.close(promise: nil) } }
  }
}

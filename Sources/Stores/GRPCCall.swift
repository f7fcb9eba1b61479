// A store's connection when it speaks gRPC: one stream of HTTP/2 at a time, one unary call each.

internal import NIOCore
internal import NIOHPACK
internal import NIOHTTP2
internal import NIOTLS
import Pipeline
import Topology

extension StoreConnection {
  /// Headers of an answer, and of what follows it, may have this many bytes.
  private static let headerBytesMax = 16 << 10

  /// Adds what HTTP/2 needs to a new connection, behind TLS if there is any.
  func addGRPCHandlers(to channel: any Channel) throws {
    let pipeline = channel.pipeline.syncOperations
    var configuration = NIOHTTP2Handler.ConnectionConfiguration()
    configuration.initialSettings = [
      HTTP2Setting(parameter: .enablePush, value: 0),
      HTTP2Setting(parameter: .maxHeaderListSize, value: StoreConnection.headerBytesMax),
    ]
    _ = try pipeline.configureHTTP2Pipeline(
      mode: .client, connectionConfiguration: configuration, streamConfiguration: .init(),
      // Servers may not open streams: pushes are disabled.
      inboundStreamInitializer: { $0.close() })
    try pipeline.addHandler(GRPCConnectionReader(self))
  }

  /// Opens a stream, and sends the request on it.
  func writeGRPC(_ request: StoreRequest, to channel: any Channel) {
    let bound = NIOLoopBound(self, eventLoop: sender.loop)
    do {
      let http2 = try channel.pipeline.syncOperations.handler(type: NIOHTTP2Handler.self)
      let head = HTTP2Frame.FramePayload.Headers(headers: headers(request))
      try http2.syncMultiplexer().createStreamChannel { stream in
        stream.eventLoop.makeCompletedFuture {
          try stream.pipeline.syncOperations.addHandler(GRPCReplyReader(bound.value, on: channel))
        }
      }.whenComplete { result in
        switch result {
        case .success(let stream):
          stream.write(HTTP2Frame.FramePayload.headers(head), promise: nil)
          let body = IOData.byteBuffer(StoreConnection.message(request))
          stream.writeAndFlush(
            HTTP2Frame.FramePayload.data(.init(data: body, endStream: true)), promise: nil)
        case .failure(let error): bound.value.lose(channel, StoreConnection.words(error))
        }
      }
    } catch { lose(channel, StoreConnection.words(error)) }
  }

  private func headers(_ request: StoreRequest) -> HPACKHeaders {
    let settings = sender.settings
    var headers: HPACKHeaders = [
      ":method": "POST", ":scheme": settings.url.isSecure ? "https" : "http", ":path": settings.url.path,
      ":authority": settings.authority, "te": "trailers", "content-type": "application/grpc",
      "grpc-accept-encoding": "identity", "user-agent": sender.agent,
      // At most 600,000 milliseconds: eight digits are allowed.
      "grpc-timeout": "\(Int64(settings.timeout / .milliseconds(1)))m",
    ]
    if request.compression != .none {
      headers.add(name: "grpc-encoding", value: request.compression.rawValue)
    }
    for header in settings.headers {
      headers.replaceOrAdd(name: header.name.lowercased(), value: header.value, indexing: .neverIndexed)
    }
    return headers
  }

  /// The request behind its prefix: whether it is compressed, and its length, big-endian.
  private static func message(_ request: StoreRequest) -> ByteBuffer {
    var buffer = ByteBuffer()
    buffer.reserveCapacity(GRPCReply.prefixBytes + request.body.count)
    buffer.writeInteger(UInt8(request.compression == .none ? 0 : 1))
    // The caller's limits are far below 4 GiB.
    buffer.writeInteger(UInt32(clamping: request.body.count))
    buffer.writeBytes(request.body)
    return buffer
  }
}

extension StoreSettings {
  /// The name that a call asks for: as in gRPC's libraries, the one that the certificate is for.
  var authority: String {
    guard url.isSecure, let name = tls.serverName else { return url.authority }
    return name
  }
}

/// Tells what becomes of the connection as a whole.
private final class GRPCConnectionReader: ChannelInboundHandler {
  typealias InboundIn = HTTP2Frame

  private let connection: StoreConnection
  private var cause: String?

  init(_ connection: StoreConnection) {
    self.connection = connection
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    if case .goAway = unwrapInboundIn(data).payload { connection.leave(context.channel) }
  }

  func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
    if case .handshakeCompleted(let agreed)? = event as? TLSUserEvent, agreed != "h2" {
      cause = "it does not agree to HTTP/2 over TLS (ALPN)"
      context.close(promise: nil)
    }
    context.fireUserInboundEventTriggered(event)
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    // A stream's own reader tells of it better.
    if !(error is NIOHTTP2Errors.StreamError) { cause = cause ?? StoreConnection.words(error) }
    context.close(promise: nil)
  }

  func channelInactive(context: ChannelHandlerContext) {
    connection.lose(context.channel, cause)
  }
}

/// Collects a call's answer, and hands it to the connection.
private final class GRPCReplyReader: ChannelInboundHandler {
  typealias InboundIn = HTTP2Frame.FramePayload

  private let connection: StoreConnection
  /// The whole connection's.
  private let channel: any Channel
  private var reply: GRPCReply?
  private var isDone = false

  init(_ connection: StoreConnection, on channel: any Channel) {
    self.connection = connection
    self.channel = channel
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    guard !isDone else { return }
    switch unwrapInboundIn(data) {
    case .headers(let part):
      if reply == nil { reply = GRPCReply(head: part.headers) } else { reply?.end(with: part.headers) }
      if part.endStream { finish(context) }
    case .data(let part):
      if case .byteBuffer(let bytes) = part.data {
        // What comes beyond the limit is read, until it is time for another attempt, but not kept.
        let room = StoreReply.bodyBytesMax + GRPCReply.prefixBytes - (reply?.body.count ?? 0)
        reply?.body += bytes.readableBytesView.prefix(max(0, room))
      }
      if part.endStream { finish(context) }
    case .rstStream(let code): reset(code)
    default: break
    }
  }

  private func finish(_ context: ChannelHandlerContext) {
    guard let reading = reply?.reading else { return fail("its answer has no grpc-status") }
    isDone = true
    connection.take(reading, on: channel, keepsAlive: true)
    // The store need not have read the whole request. Not at once: a stream that both sides have ended is not
    // closed yet, and would be reset. Servers that count resets end a connection with many.
    let stream = context.channel
    context.eventLoop.execute { stream.close(promise: nil) }
  }

  private func reset(_ code: HTTP2ErrorCode) {
    guard !isDone else { return }
    isDone = true
    // A proxy may have given its status already.
    let proxys = reply?.http.status == 200 ? nil : reply?.reading
    connection.take(proxys ?? GRPCReply.reading(ofReset: code), on: channel, keepsAlive: false)
  }

  private func fail(_ cause: String) {
    guard !isDone else { return }
    isDone = true
    connection.lose(channel, cause)
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    fail(StoreConnection.words(error))
  }

  func channelInactive(context: ChannelHandlerContext) {
    // Its cause may come with the connection's own end.
    guard channel.isActive else { return }
    fail("it closed the stream without an answer")
  }
}

// A small HTTP/1.1 server on one thread: GET and HEAD, no bodies. Other clients must not keep a probe from
// its answer: see ConsoleConnections.

internal import Foundation
internal import NIOCore
internal import NIOPosix

/// Listens until stopped.
final class ConsoleServer: Sendable {
  private let group: MultiThreadedEventLoopGroup
  private let channel: any Channel
  private let pageQueues: [DispatchQueue]
  /// The port that it listens on.
  let port: Int

  /// Connections waiting to be accepted: a burst must not keep a probe out.
  private static let backlog: Int32 = 4096
  /// The kernel reserves twice as much for each connection: requests are small, answers go out piece by
  /// piece.
  private static let receiveBufferBytes = 16 << 10
  private static let sendBufferBytes = 128 << 10
  private static let readBytes = 4 << 10

  /// - Parameters:
  ///   - limits: limits on connections.
  ///   - counters: counts closed connections.
  ///   - service: makes the pages. Probes are answered on the server's thread, other pages on threads that
  ///     make one at a time.
  /// - Throws: `IOError` if it can't listen on the address.
  init(
    address: String, port: Int, limits: ConsoleLimits, counters: ConsoleCounters,
    service: ConsoleService
  ) throws {
    group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    let queues = (0..<max(1, service.queues)).map { DispatchQueue(label: "tailrace.console.\($0)") }
    pageQueues = queues
    let loop = group.next()
    do {
      let (connections, handshakes) = try loop.submit {
        let pages = queues.map { ConsolePages(on: loop, queue: $0, respond: service.respond) }
        let streams = ConsoleStreams(on: loop, queues[0], service.stream)
        return (
          NIOLoopBound(
            ConsoleConnections(on: loop, limits, counters, pages, service, streams), eventLoop: loop),
          NIOLoopBound(ConsoleHandshakes(on: loop), eventLoop: loop)
        )
      }.wait()
      let bootstrap = ServerBootstrap(group: group)
        .serverChannelOption(.backlog, value: ConsoleServer.backlog)
        .serverChannelOption(.maxMessagesPerRead, value: 64)
        .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
        // Connections inherit them.
        .serverChannelOption(.socketOption(.so_rcvbuf), value: ConsoleServer.receiveBufferBytes)
        .serverChannelOption(.socketOption(.so_sndbuf), value: ConsoleServer.sendBufferBytes)
        .serverChannelInitializer { channel in
          // Out of file descriptors, it tries again a second later.
          channel.eventLoop.makeCompletedFuture {
            try channel.pipeline.syncOperations.addHandler(AcceptBackoffHandler())
          }
        }
        .childChannelOption(.autoRead, value: false)
        .childChannelOption(.allowRemoteHalfClosure, value: true)
        .childChannelOption(.maxMessagesPerRead, value: 1)
        .childChannelOption(
          .recvAllocator, value: FixedSizeRecvByteBufferAllocator(capacity: ConsoleServer.readBytes)
        )
        .childChannelInitializer { channel in
          channel.eventLoop.makeCompletedFuture {
            if let tls = service.tls {
              try channel.pipeline.syncOperations.addHandler(HandshakeGate(handshakes.value))
              try channel.pipeline.syncOperations.addHandler(tls.makeHandler())
            }
            try channel.pipeline.syncOperations.addHandler(ConsoleConnection(connections.value))
          }
        }
      channel = try ConsoleServer.bind(bootstrap, address, port)
      self.port = channel.localAddress?.port ?? port
    } catch {
      try? group.syncShutdownGracefully()
      throw error
    }
  }

  /// `::` is every address of the host, of both families, whatever `net.ipv6.bindv6only` is; without IPv6 in
  /// the kernel, every IPv4 address.
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
    // The page being made needs a running loop to be delivered to.
    for queue in pageQueues { queue.sync {} }
    try? group.syncShutdownGracefully()
  }
}

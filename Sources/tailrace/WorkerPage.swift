// Reads a page of a worker's console, for commands that take its address instead of a file.

import NIOCore
import NIOPosix
import Topology

/// A page of a worker, by its URL: plain HTTP, as consoles speak it.
struct WorkerPage {
  let host: String
  let port: Int
  let path: String

  /// A configuration has 256 KiB at most, and its head.
  private static let bytesMax = 1 << 20
  private static let timeoutSeconds: Int64 = 15

  /// Whether a text is a URL, if not always one that can be read.
  static func isURL(_ text: String) -> Bool { text.hasPrefix("http://") || text.hasPrefix("https://") }

  /// Reads `http://HOST:PORT` or `http://HOST:PORT/PATH`; without a path it is the configuration.
  init(_ text: String) throws(CommandFailure) {
    let wanted = "a worker is named as http://HOST:PORT or http://HOST:PORT/configz"
    let isPlain = text.utf8.allSatisfy { (0x21...0x7e).contains($0) }
    guard text.hasPrefix("http://"), isPlain else { throw .misconfigured("\(text): \(wanted)") }
    let rest = text.dropFirst("http://".count)
    let authority = rest.prefix { !"/?#".contains($0) }
    let target = rest.dropFirst(authority.count).prefix { $0 != "#" }
    var name = authority
    var number: Substring?
    if let colon = authority.lastIndex(of: ":"), !authority[colon...].contains("]") {
      name = authority[..<colon]
      number = authority[colon...].dropFirst()
    }
    if name.hasPrefix("["), name.hasSuffix("]") { name = name.dropFirst().dropLast() }
    guard !name.isEmpty, !name.contains(where: { "@[]".contains($0) }),
      let port = number.map({ UInt16($0) }) ?? 80, port > 0, number?.first != "+"
    else { throw .misconfigured("\(text): \(wanted)") }
    host = String(name)
    self.port = Int(port)
    path = target.isEmpty || target == "/" ? "/configz" : (target.first == "/" ? "" : "/") + String(target)
  }

  /// The page's text.
  func read() throws(CommandFailure) -> String {
    let answer: ByteBuffer
    do {
      answer = try request()
    } catch {
      throw .failed("\(self): \(WorkerPage.words(error))")
    }
    do throws(PageFailure) {
      return try WorkerPage.body(of: answer)
    } catch {
      throw .failed("\(self): \(error.reason)")
    }
  }

  private func request() throws -> ByteBuffer {
    let loop = MultiThreadedEventLoopGroup.singleton.next()
    let answer = loop.makePromise(of: ByteBuffer.self)
    // The connection closes after the answer: HTTP/1.0 has nothing else.
    let host = self.host.contains(":") ? "[\(self.host)]" : self.host
    let head = "GET \(path) HTTP/1.0\r\nHost: \(host):\(port)\r\nConnection: close\r\n\r\n"
    let deadline = loop.scheduleTask(in: .seconds(WorkerPage.timeoutSeconds)) {
      answer.fail(PageFailure(reason: "no whole answer within \(WorkerPage.timeoutSeconds) s"))
    }
    defer { deadline.cancel() }
    ClientBootstrap(group: loop)
      .channelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          try channel.pipeline.syncOperations.addHandler(
            PageConnection(head, bytesMax: WorkerPage.bytesMax, answer))
        }
      }
      .connect(host: self.host, port: port).whenFailure { answer.fail($0) }
    return try answer.futureResult.wait()
  }

  private static func words(_ error: any Error) -> String {
    switch error {
    case let failure as PageFailure: failure.reason
    case is NIOConnectionError: "no connection: is a worker there?"
    default: describe(error)
    }
  }

  /// The body of an answer, all of it.
  private static func body(of answer: ByteBuffer) throws(PageFailure) -> String {
    let bytes = Array(answer.readableBytesView)
    let end = Array("\r\n\r\n".utf8)
    let head = bytes.indices.first { bytes[$0...].starts(with: end) } ?? bytes.count
    let lines = String(decoding: bytes[..<head], as: UTF8.self).split(separator: "\r\n")
    let words = (lines.first ?? "").split(separator: " ", maxSplits: 2)
    guard head < bytes.count, words.count >= 2, words[0].hasPrefix("HTTP/1.") else {
      throw PageFailure(reason: "the answer is not HTTP")
    }
    guard words[1] == "200" else {
      throw PageFailure(reason: "the answer is \(printable(words.dropFirst().joined(separator: " ")))")
    }
    let body = bytes[head...].dropFirst(end.count)
    for line in lines.dropFirst() {
      let field = line.split(separator: ":", maxSplits: 1)
      guard field.count == 2 else { continue }
      let value = field[1].filter { $0 != " " && $0 != "\t" }
      switch field[0].lowercased() {
      case "content-length":
        guard value == String(body.count) else { throw PageFailure(reason: "the answer is cut off") }
      case "transfer-encoding":
        throw PageFailure(reason: "the answer is in pieces, which HTTP/1.0 does not have")
      default: break
      }
    }
    return String(decoding: body, as: UTF8.self)
  }
}

extension WorkerPage: CustomStringConvertible {
  var description: String { "http://\(host.contains(":") ? "[\(host)]" : host):\(port)\(path)" }
}

/// Why a page could not be read.
private struct PageFailure: Error {
  var reason: String
}

/// Sends a request and gathers what comes until the peer closes.
private final class PageConnection: ChannelInboundHandler {
  typealias InboundIn = ByteBuffer
  typealias OutboundOut = ByteBuffer

  private let head: String
  private let bytesMax: Int
  private let answer: EventLoopPromise<ByteBuffer>
  private var received = ByteBuffer()

  init(_ head: String, bytesMax: Int, _ answer: EventLoopPromise<ByteBuffer>) {
    self.head = head
    self.bytesMax = bytesMax
    self.answer = answer
  }

  func channelActive(context: ChannelHandlerContext) {
    context.writeAndFlush(wrapOutboundOut(ByteBuffer(string: head)), promise: nil)
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    var bytes = unwrapInboundIn(data)
    guard received.readableBytes + bytes.readableBytes <= bytesMax else {
      answer.fail(PageFailure(reason: "the answer has more than \(bytesMax >> 20) MiB"))
      return context.close(promise: nil)
    }
    received.writeBuffer(&bytes)
  }

  func channelInactive(context: ChannelHandlerContext) {
    answer.succeed(received)
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    answer.fail(error)
    context.close(promise: nil)
  }
}

extension TailSamplingTopology {
  /// The configuration that a worker shows. It is another host's text: no file is opened for it.
  static func loaded(from page: WorkerPage) throws -> TailSamplingTopology {
    let text = try page.read()
    let topology: Topology
    do {
      topology = try Topology.parse(text, fileName: "\(page)", environment: [:], files: .leave)
    } catch {
      throw CommandFailure.misconfigured(error.description)
    }
    guard case .tailSampling(let sampling) = topology else {
      throw CommandFailure.misconfigured("\(page): this command needs a topology of kind tail-sampling")
    }
    return sampling
  }
}

// One connection of the console: a request, its answer, then the next request.

internal import NIOCore

/// Reads a request, answers it, and reads on once the answer is sent. So a connection holds at most one
/// answer and the start of its next requests (`RequestReader`).
///
/// Used on one event loop, in a channel without automatic reads that allows half-closure.
final class ConsoleConnection: ChannelInboundHandler {
  typealias InboundIn = ByteBuffer
  typealias OutboundOut = ByteBuffer

  enum Phase {
    /// Waiting for a request; the first one's time begins before the handshake of TLS.
    case reading
    /// The request's page is being made.
    case waiting
    /// The answer is being sent.
    case answering
    /// Events are sent as they happen. Input is discarded.
    case streaming
    /// The last answer is sent. Input is discarded until the peer has read it: closing at once could reset
    /// the connection before that.
    case lingering
  }

  private(set) var phase = Phase.reading
  /// When the phase began; while no byte of a request has arrived, when the wait for it began.
  private(set) var since = NIODeadline.now()
  private(set) var source = PeerSource(nil)
  /// Bytes of its answer not known to be sent.
  private(set) var unsentBytes = 0 {
    didSet { connections.noteUnsent(unsentBytes - oldValue) }
  }

  private let connections: ConsoleConnections
  private var context: ChannelHandlerContext?
  private var reader = RequestReader()
  /// Whether it has had an answer.
  private(set) var hasAnswered = false
  /// Whether part of the next request has arrived.
  private var hasBegun = false
  /// Whether the peer has finished sending.
  private var hasInputEnded = false
  private var discarded = 0
  private var isClosed = false

  /// Limit on input after the last answer.
  private static let discardedMax = 1 << 20

  init(_ connections: ConsoleConnections) {
    self.connections = connections
  }

  // MARK: Events of the channel

  func channelActive(context: ChannelHandlerContext) {
    self.context = context
    source = PeerSource(context.remoteAddress)
    connections.add(self)
    context.read()
  }

  func channelInactive(context: ChannelHandlerContext) {
    self.context = nil
    unsentBytes = 0
    connections.remove(self)
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    let bytes = unwrapInboundIn(data)
    guard phase != .lingering, phase != .streaming else {
      discarded += bytes.readableBytes
      if discarded > ConsoleConnection.discardedMax { close() } else { context.read() }
      return
    }
    if phase == .reading, !hasBegun {
      hasBegun = true
      if !hasAnswered { context.openHandshakeGate() }
      // The first request's time began with the connection.
      if hasAnswered { since = .now() }
    }
    reader.append(bytes)
    if phase == .reading { proceed() }
  }

  func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
    guard case .some(.inputClosed) = event as? ChannelEvent else {
      return context.fireUserInboundEventTriggered(event)
    }
    hasInputEnded = true
    switch phase {
    case .lingering, .streaming: close()
    case .reading: proceed()
    case .waiting, .answering: break
    }
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    // Closing it in the middle of its handshake is an error of the handshake, too.
    if !isClosed, error.isFailedHandshake, context.hasHandshakeBegun { connections.count(.handshake) }
    close()
  }

  // MARK: Requests and answers

  /// Takes the next request if it has arrived.
  func proceed() {
    guard phase == .reading else { return }
    switch reader.next() {
    case .incomplete:
      guard !hasInputEnded, !reader.hasOverflowed else { return close() }
      context?.read()
    case .refused(let status):
      connections.count(.refused)
      answer(.refusal(status), keepsAlive: false, withBody: true)
    case .head(let head): take(head)
    }
  }

  private func take(_ head: RequestHead) {
    enter(.waiting)
    guard head.method == "GET" || head.method == "HEAD" else {
      return answer(.refusal(.methodNotAllowed), keepsAlive: head.keepsAlive && !head.hasBody, withBody: true)
    }
    // No request here needs a body.
    guard !head.hasBody else { return answer(.refusal(.contentTooLarge), keepsAlive: false, withBody: true) }
    guard !connections.isStream(head) else { return beginStream() }
    connections.page(for: head) { [weak self] page in
      self?.answer(page, keepsAlive: head.keepsAlive, withBody: head.method == "GET")
    }
  }

  private func answer(_ page: ConsolePage, keepsAlive: Bool, withBody: Bool) {
    guard let context else { return }
    enter(.answering)
    let head = page.head(keepsAlive: keepsAlive)
    unsentBytes = head.readableBytes + (withBody ? page.body.readableBytes : 0)
    connections.makeRoom(for: self)
    if withBody { context.write(wrapOutboundOut(head), promise: nil) }
    send(withBody ? page.body : head, keepsAlive: keepsAlive)
  }

  /// TLS keeps room for the longest write until the connection ends.
  private static let pieceBytes = 64 << 10

  /// Sends the rest of an answer, piece by piece.
  private func send(_ bytes: ByteBuffer, keepsAlive: Bool) {
    guard phase == .answering, let context else { return }
    var left = bytes
    let piece = left.readSlice(length: min(left.readableBytes, ConsoleConnection.pieceBytes)) ?? ByteBuffer()
    let rest = left
    let loop = context.eventLoop.assumeIsolated()
    // Sound: the future completes on this handler's own event loop.
    context.writeAndFlush(wrapOutboundOut(piece)).assumeIsolated().whenSuccess { [weak self] in
      guard let self else { return }
      guard rest.readableBytes > 0 else { return noteSent(keepsAlive: keepsAlive) }
      unsentBytes = rest.readableBytes
      // Not at once: a fast reader must not make this recurse.
      loop.execute { [weak self] in self?.send(rest, keepsAlive: keepsAlive) }
    }
  }

  private func beginStream() {
    guard connections.addStream(self) else {
      return answer(.refusal(.serviceUnavailable), keepsAlive: false, withBody: true)
    }
    enter(.streaming)
    push(ConsolePage.streamHead)
    // To learn that the peer is gone.
    context?.read()
  }

  /// Sends events, unless the peer has not read those before: it misses these then.
  func push(_ events: ByteBuffer) {
    guard phase == .streaming, unsentBytes == 0, let context else { return }
    unsentBytes = events.readableBytes
    since = .now()
    connections.makeRoom(for: self)
    // Sound: as in `answer`.
    context.writeAndFlush(wrapOutboundOut(events)).assumeIsolated().whenSuccess { [weak self] in
      self?.unsentBytes = 0
    }
  }

  private func noteSent(keepsAlive: Bool) {
    unsentBytes = 0
    hasAnswered = true
    guard keepsAlive else { return end() }
    hasBegun = !reader.isEmpty
    enter(.reading)
    // Others get their turn before requests that arrived meanwhile.
    if reader.isEmpty { proceed() } else { connections.queue(self) }
  }

  /// Closes the connection without losing the last answer.
  private func end() {
    guard !hasInputEnded, let context else { return close() }
    enter(.lingering)
    context.close(mode: .output, promise: nil)
    context.read()
  }

  func close() {
    isClosed = true
    unsentBytes = 0
    context?.closeAtOnce()
  }

  private func enter(_ phase: Phase) {
    self.phase = phase
    since = .now()
  }

  // MARK: Deadlines

  /// Why the connection is overdue; nil if it isn't.
  func overdue(at now: NIODeadline, _ limits: ConsoleLimits) -> ConsoleClosing? {
    let age = now - since
    switch phase {
    case .reading where hasAnswered && !hasBegun: return age > limits.idleTime ? .idle : nil
    case .reading: return age > limits.headTime ? .slowRequest : nil
    case .answering: return age > limits.answerTime ? .slowReader : nil
    case .streaming: return unsentBytes > 0 && age > limits.answerTime ? .slowReader : nil
    case .lingering: return age > limits.lingerTime ? .lingered : nil
    case .waiting: return nil
    }
  }
}

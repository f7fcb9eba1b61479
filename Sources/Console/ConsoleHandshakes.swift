// Handshakes of TLS, by turns. Each costs a signature, a thousand times what a request costs: a flood of them
// must not hold up those who are connected, nor keep others from their own handshake.

internal import NIOCore

/// Whose turn it is. Entries are few: at most one for each open connection.
struct HandshakeQueue<ID: Equatable, Source: Hashable> {
  private struct Entry {
    var id: ID
    var source: Source
    var isSecond: Bool
    /// The turn at which it came.
    var added: UInt64
  }

  private var waiting: [Entry] = []
  /// When each source had its last turn.
  private(set) var turns: [Source: UInt64] = [:]
  private var turn: UInt64 = 0

  /// Sources beyond these are forgotten, and are as new ones then.
  private static var sourcesMax: Int { 4096 }

  var isEmpty: Bool { waiting.isEmpty }

  /// - Parameter steps: how many turns its handshake has had.
  mutating func add(_ id: ID, from source: Source, steps: Int) {
    waiting.append(Entry(id: id, source: source, isSecond: steps == 1, added: turn))
  }

  mutating func remove(_ id: ID) { waiting.removeAll { $0.id == id } }

  /// The next one. First come the second parts of handshakes: the costly part is behind most of them. Further
  /// parts have no privilege: those who send byte by byte would always be first. Then the source whose last
  /// turn is longest ago, whatever others send; and of its connections the newest, since the older ones of a
  /// flood have to give way to it soon. An unknown source counts as one that had its turn when it came: a
  /// flood from ever new ones must not be before those who came earlier.
  mutating func next() -> ID? {
    guard !waiting.isEmpty else { return nil }
    let place =
      waiting.firstIndex(where: \.isSecond)
      ?? waiting.indices.reversed().min { rank(of: waiting[$0]) < rank(of: waiting[$1]) }
    guard let place else { return nil }
    let entry = waiting.remove(at: place)
    turn += 1
    if turns.count >= Self.sourcesMax { turns.removeAll() }
    turns[entry.source] = turn
    return entry.id
  }

  private func rank(of entry: Entry) -> UInt64 { turns[entry.source] ?? entry.added }
}

/// The handshakes of all connections. Used on one event loop.
final class ConsoleHandshakes {
  private let loop: any EventLoop
  private var queue = HandshakeQueue<ObjectIdentifier, PeerSource>()
  private var gates: [ObjectIdentifier: HandshakeGate] = [:]
  private var isTurning = false

  /// At 2 ms for a signature by RSA with 4,096 bits, two leave the others a fifth of the loop's time, and
  /// nobody waits for longer than 5 ms.
  private static let turnsAtOnce = 2
  private static let pause = TimeAmount.milliseconds(1)

  init(on loop: any EventLoop) {
    self.loop = loop
  }

  fileprivate func add(_ gate: HandshakeGate, from source: PeerSource, steps: Int) {
    gates[ObjectIdentifier(gate)] = gate
    queue.add(ObjectIdentifier(gate), from: source, steps: steps)
    guard !isTurning else { return }
    isTurning = true
    turnLater()
  }

  fileprivate func remove(_ gate: HandshakeGate) {
    guard gates.removeValue(forKey: ObjectIdentifier(gate)) != nil else { return }
    queue.remove(ObjectIdentifier(gate))
  }

  private func turnLater() {
    let turn = NIOLoopBound({ [weak self] in self?.takeTurns() }, eventLoop: loop)
    loop.scheduleTask(in: ConsoleHandshakes.pause) { turn.value() }
  }

  private func takeTurns() {
    for _ in 0..<ConsoleHandshakes.turnsAtOnce {
      guard let next = queue.next() else { break }
      gates.removeValue(forKey: next)?.proceed()
    }
    isTurning = !queue.isEmpty
    if isTurning { turnLater() }
  }
}

/// In front of TLS: holds what arrives on a connection until it is its turn, as long as the handshake lasts.
final class HandshakeGate: ChannelInboundHandler {
  typealias InboundIn = ByteBuffer
  typealias InboundOut = ByteBuffer

  private let handshakes: ConsoleHandshakes
  private var context: ChannelHandlerContext?
  private var source = PeerSource(nil)
  /// One read's bytes: nobody reads on before they are passed on.
  private var held: ByteBuffer?
  /// The turns that it had, up to two.
  private var steps = 0
  private var hasInputEnded = false
  private var isOpen = false
  /// Whether anything has arrived.
  private(set) var hasReceived = false

  init(_ handshakes: ConsoleHandshakes) {
    self.handshakes = handshakes
  }

  func handlerAdded(context: ChannelHandlerContext) {
    self.context = context
    source = PeerSource(context.remoteAddress)
  }

  func handlerRemoved(context: ChannelHandlerContext) { leave() }

  func channelInactive(context: ChannelHandlerContext) {
    leave()
    context.fireChannelInactive()
  }

  private func leave() {
    context = nil
    held = nil
    handshakes.remove(self)
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    guard !isOpen else { return context.fireChannelRead(data) }
    hasReceived = true
    var bytes = unwrapInboundIn(data)
    guard held == nil else {
      held?.writeBuffer(&bytes)
      return
    }
    held = bytes
    handshakes.add(self, from: source, steps: steps)
  }

  func channelReadComplete(context: ChannelHandlerContext) {
    if held == nil { context.fireChannelReadComplete() }
  }

  /// The end of what arrives must not overtake it. Before the first turn it may: nobody waits for an answer.
  func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
    guard held != nil, steps > 0, case .some(.inputClosed) = event as? ChannelEvent else {
      return context.fireUserInboundEventTriggered(event)
    }
    hasInputEnded = true
  }

  /// Passes on what it holds.
  fileprivate func proceed() {
    guard let context, let bytes = held else { return }
    held = nil
    steps = min(steps + 1, 2)
    context.fireChannelRead(wrapInboundOut(bytes))
    context.fireChannelReadComplete()
    // Unless the connection was closed meanwhile.
    guard hasInputEnded, self.context != nil else { return }
    hasInputEnded = false
    context.fireUserInboundEventTriggered(ChannelEvent.inputClosed)
  }

  /// The handshake is over: bytes pass as they arrive.
  func open() { isOpen = true }
}

extension ChannelHandlerContext {
  /// Whether the other side has sent anything of its handshake: load balancers' checks end without.
  var hasHandshakeBegun: Bool {
    (try? pipeline.syncOperations.handler(type: HandshakeGate.self).hasReceived) ?? false
  }

  /// Tells that bytes came through TLS.
  func openHandshakeGate() {
    try? pipeline.syncOperations.handler(type: HandshakeGate.self).open()
  }
}

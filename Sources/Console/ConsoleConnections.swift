// All connections of the console and their limits: number, time, bytes.

internal import NIOConcurrencyHelpers
internal import NIOCore

/// Limits on connections.
struct ConsoleLimits: Sendable {
  /// How many may be open. One more displaces another, so a client that sends its request at once, as probes
  /// do, always gets in.
  var connections = 256
  /// How many of these places newcomers have, who have not had an answer yet, before they displace each other
  /// and no longer those who wait between two requests.
  var newcomers: Int { max(1, connections / 4) }
  /// Time for a request's head, from its first byte; for the first request, from the connection's start.
  var headTime = TimeAmount.seconds(10)
  /// How long a connection may wait for its next request. Prometheus scrapes every minute.
  var idleTime = TimeAmount.seconds(150)
  /// Time for the peer to read an answer.
  var answerTime = TimeAmount.seconds(30)
  /// Time for the peer to close after the last answer.
  var lingerTime = TimeAmount.seconds(2)
  /// Unsent bytes of all answers together; a single one may be larger.
  var unsentBytes = 32 << 20
}

/// Where a connection comes from, as far as it says who is behind it: an IPv4 address, or the first 64 bits
/// of an IPv6 address, as whoever has one has all the others with these (RFC 6177). Empty if it is not known.
struct PeerSource: Hashable, Sendable {
  private let name: String

  init(_ address: SocketAddress?) {
    let text = address?.ipAddress ?? ""
    guard text.contains(":") else {
      name = text
      return
    }
    // An IPv4 address that came to a socket of IPv6 (RFC 4291, 2.5.5.2).
    if text.hasPrefix("::ffff:"), text.contains(".") {
      name = String(text.dropFirst("::ffff:".count))
      return
    }
    // Two colons stand for as many zeros as are missing of eight groups; a dotted end has two.
    let parts = text.split(separator: "::", omittingEmptySubsequences: false)
    let ends = parts.map { $0.split(separator: ":") }
    let count = ends.joined().count + (text.contains(".") ? 1 : 0)
    let zeros = parts.count > 1 ? max(0, 8 - count) : 0
    let groups = ends[0] + Array(repeating: "0", count: zeros) + (ends.dropFirst().first ?? [])
    name = groups.prefix(4).joined(separator: ":")
  }
}

/// Why a connection was closed, or a request refused.
enum ConsoleClosing: String, Sendable, CaseIterable {
  /// A newer connection took its place.
  case displaced
  /// No complete head arrived in time.
  case slowRequest = "slow_request"
  /// The answer was not read in time, or others needed its room.
  case slowReader = "slow_reader"
  /// The input was not a request, or too large a one.
  case refused
  /// The handshake of TLS failed.
  case handshake
  /// No request for a long time.
  case idle
  /// The peer did not close after the last answer.
  case lingered

  /// Whether it is normal operation.
  var isOrdinary: Bool { self == .idle || self == .lingered }
}

/// Closed connections by reason. Counted by the server, read by any thread.
final class ConsoleCounters: Sendable {
  private let counts = NIOLockedValueBox<[ConsoleClosing: UInt64]>([:])
  /// Whether there are handshakes that can fail.
  private let hasTLS: Bool

  init(hasTLS: Bool = false) {
    self.hasTLS = hasTLS
  }

  func count(_ closing: ConsoleClosing) {
    counts.withLockedValue { $0[closing, default: 0] += 1 }
  }

  /// By reason, without the ordinary ones.
  var byReason: [String: UInt64] {
    let counts = counts.withLockedValue { $0 }
    let reasons = ConsoleClosing.allCases.filter { !$0.isOrdinary && ($0 != .handshake || hasTLS) }
    return Dictionary(uniqueKeysWithValues: reasons.map { ($0.rawValue, counts[$0] ?? 0) })
  }
}

/// Used on one event loop.
final class ConsoleConnections {
  /// Cheap pages: requests for them don't wait for other pages.
  private static let probes: Set = ["/livez", "/startupz"]
  /// How many pipelined requests are taken at a time; in between, other connections are read.
  private static let turnsMax = 32
  private static let turnPause = TimeAmount.milliseconds(1)
  private static let sweepPause = TimeAmount.milliseconds(250)

  private let loop: any EventLoop
  private let limits: ConsoleLimits
  private let counters: ConsoleCounters
  private let pages: [ConsolePages]
  private let service: ConsoleService
  private let streams: ConsoleStreams
  private var open: [ObjectIdentifier: ConsoleConnection] = [:]
  private var turns: [ConsoleConnection] = []
  /// Unsent bytes of answers on all connections.
  private var unsentBytes = 0
  private var isSweeping = false

  init(
    on loop: any EventLoop, _ limits: ConsoleLimits, _ counters: ConsoleCounters, _ pages: [ConsolePages],
    _ service: ConsoleService, _ streams: ConsoleStreams
  ) {
    self.service = service
    self.streams = streams
    self.loop = loop
    self.limits = limits
    self.counters = counters
    self.pages = pages
  }

  func count(_ closing: ConsoleClosing) { counters.count(closing) }

  func add(_ connection: ConsoleConnection) {
    if open.count >= limits.connections { displaceOne() }
    open[ObjectIdentifier(connection)] = connection
    guard !isSweeping else { return }
    isSweeping = true
    sweepLater()
  }

  func remove(_ connection: ConsoleConnection) {
    open[ObjectIdentifier(connection)] = nil
    streams.remove(connection)
  }

  func page(for head: RequestHead, _ taker: @escaping ConsolePages.Taker) {
    let target = ConsolePages.Target(path: head.path, query: head.query)
    let isProbe = ConsoleConnections.probes.contains(head.path)
    if let refusal = service.access.refusal(of: head), !isProbe { return taker(.refusal(refusal)) }
    guard !isProbe else { return taker(pages[0].page(at: target)) }
    pages[service.queue(target.request.path) % pages.count].ask(for: target) { page in
      taker(page.unless(changedFrom: head.ifNoneMatch))
    }
  }

  /// Whether the request is for the stream of events, and may have it.
  func isStream(_ head: RequestHead) -> Bool {
    head.path == service.stream?.path && head.method == "GET" && service.access.refusal(of: head) == nil
  }

  /// Sends events to a connection from now on; false if there are too many already.
  func addStream(_ connection: ConsoleConnection) -> Bool { streams.add(connection) }

  private func close(_ connection: ConsoleConnection, _ reason: ConsoleClosing) {
    counters.count(reason)
    remove(connection)
    connection.close()
  }

  // MARK: Room

  /// Closes the connection that has been silent for longest; one that is owed an answer only if all are. Of
  /// newcomers it is one of the source that has most of them: a flood from there displaces itself.
  private func displaceOne() {
    let idle = open.values.filter { $0.phase == .reading || $0.phase == .lingering }
    let newcomers = idle.filter { !$0.hasAnswered }
    guard newcomers.count >= limits.newcomers else {
      let oldest = (idle.isEmpty ? Array(open.values) : idle).min { $0.since < $1.since }
      if let oldest { close(oldest, .displaced) }
      return
    }
    let crowds = Dictionary(newcomers.map { ($0.source, 1) }, uniquingKeysWith: +)
    let oldest = newcomers.max {
      let (own, other) = (crowds[$0.source] ?? 0, crowds[$1.source] ?? 0)
      return own == other ? $0.since > $1.since : own < other
    }
    if let oldest { close(oldest, .displaced) }
  }

  /// Notes a change in the number of unsent bytes.
  func noteUnsent(_ change: Int) { unsentBytes += change }

  /// Makes room for the answer of `connection` by closing the slowest readers.
  func makeRoom(for connection: ConsoleConnection) {
    guard unsentBytes > limits.unsentBytes else { return }
    let others = open.values.filter { $0.unsentBytes > 0 && $0 !== connection }
    for other in others.sorted(by: { $0.since < $1.since }) where unsentBytes > limits.unsentBytes {
      close(other, .slowReader)
    }
  }

  // MARK: Turns

  /// Lets a connection take its next request, which has already arrived, in its turn.
  func queue(_ connection: ConsoleConnection) {
    turns.append(connection)
    if turns.count == 1 { turnLater() }
  }

  private func turnLater() {
    let turn = NIOLoopBound({ [weak self] in self?.takeTurns() }, eventLoop: loop)
    loop.scheduleTask(in: ConsoleConnections.turnPause) { turn.value() }
  }

  private func takeTurns() {
    let now = turns.prefix(ConsoleConnections.turnsMax)
    // While `turns` is not empty, another turn is scheduled.
    for connection in now { connection.proceed() }
    turns.removeFirst(now.count)
    if !turns.isEmpty { turnLater() }
  }

  // MARK: Deadlines

  private func sweepLater() {
    let sweep = NIOLoopBound({ [weak self] in self?.sweep() }, eventLoop: loop)
    loop.scheduleTask(in: ConsoleConnections.sweepPause) { sweep.value() }
  }

  private func sweep() {
    let now = NIODeadline.now()
    for connection in Array(open.values) {
      if let reason = connection.overdue(at: now, limits) { close(connection, reason) }
    }
    isSweeping = !open.isEmpty
    if isSweeping { sweepLater() }
  }
}

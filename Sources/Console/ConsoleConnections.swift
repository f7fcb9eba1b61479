// All connections of the console, and what they may have: how many, for how long, how much.

internal import NIOConcurrencyHelpers
internal import NIOCore

/// What connections may have.
struct ConsoleLimits: Sendable {
  /// How many there may be. One more takes the place of the one on which nothing has happened for longest, so
  /// whoever asks at once, as probes do, is always let in.
  var connections = 256
  /// How long a request's head may take, from its first byte; for the first one, from the connection's start.
  var headTime = TimeAmount.seconds(10)
  /// How long a connection may wait for its next request. Prometheus asks every minute.
  var idleTime = TimeAmount.seconds(150)
  /// How long an answer may take to be taken.
  var answerTime = TimeAmount.seconds(30)
  /// How long the other side may take to close, after the last answer.
  var lingerTime = TimeAmount.seconds(2)
  /// How many bytes of answers may wait to be taken, all together; one may be larger.
  var unsentBytes = 32 << 20
}

/// Why a connection was closed, or a request refused.
enum ConsoleClosing: String, Sendable, CaseIterable {
  /// Another one took its place.
  case displaced
  /// No head of a request came in time.
  case slowRequest = "slow_request"
  /// The answer was not read in time, or others needed its room.
  case slowReader = "slow_reader"
  /// What came was no request, or one that is too large.
  case refused
  /// Nothing was asked for long.
  case idle
  /// The other side did not close after the last answer.
  case lingered

  /// Whether it is how things should be.
  var isOrdinary: Bool { self == .idle || self == .lingered }
}

/// What has become of connections. Counted by the server, read by any thread.
final class ConsoleCounters: Sendable {
  private let counts = NIOLockedValueBox<[ConsoleClosing: UInt64]>([:])

  func count(_ closing: ConsoleClosing) {
    counts.withLockedValue { $0[closing, default: 0] += 1 }
  }

  /// By reason, those that happen in ordinary life left out.
  var byReason: [String: UInt64] {
    let counts = counts.withLockedValue { $0 }
    let reasons = ConsoleClosing.allCases.filter { !$0.isOrdinary }
    return Dictionary(uniqueKeysWithValues: reasons.map { ($0.rawValue, counts[$0] ?? 0) })
  }
}

/// Used on one event loop.
final class ConsoleConnections {
  /// Pages that cost nothing: nobody who asks for them waits for those who ask for others.
  private static let probes: Set = ["/livez", "/startupz"]
  /// How many requests that came before their turn are taken at a time; in between, what has come on other
  /// connections is read.
  private static let turnsMax = 32
  private static let turnPause = TimeAmount.milliseconds(1)
  private static let sweepPause = TimeAmount.milliseconds(250)

  private let loop: any EventLoop
  private let limits: ConsoleLimits
  private let counters: ConsoleCounters
  private let pages: ConsolePages
  private var open: [ObjectIdentifier: ConsoleConnection] = [:]
  private var turns: [ConsoleConnection] = []
  /// Bytes of answers on all connections that have not been taken.
  private var unsentBytes = 0
  private var isSweeping = false

  init(on loop: any EventLoop, _ limits: ConsoleLimits, _ counters: ConsoleCounters, _ pages: ConsolePages) {
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
  }

  func page(at path: String, _ taker: @escaping ConsolePages.Taker) {
    guard !ConsoleConnections.probes.contains(path) else { return taker(pages.page(at: path)) }
    pages.ask(for: path, taker)
  }

  private func close(_ connection: ConsoleConnection, _ reason: ConsoleClosing) {
    counters.count(reason)
    remove(connection)
    connection.close()
  }

  // MARK: Room

  /// Closes the connection that has done nothing for longest; one that is owed an answer only if all are.
  private func displaceOne() {
    let idle = open.values.filter { $0.phase == .reading || $0.phase == .lingering }
    let oldest = (idle.isEmpty ? Array(open.values) : idle).min { $0.since < $1.since }
    if let oldest { close(oldest, .displaced) }
  }

  /// Notes that so many bytes more, or less, wait to be taken.
  func noteUnsent(_ change: Int) { unsentBytes += change }

  /// Makes room for the answer of `connection`: those who have let theirs lie for longest lose it.
  func makeRoom(for connection: ConsoleConnection) {
    guard unsentBytes > limits.unsentBytes else { return }
    let others = open.values.filter { $0.unsentBytes > 0 && $0 !== connection }
    for other in others.sorted(by: { $0.since < $1.since }) where unsentBytes > limits.unsentBytes {
      close(other, .slowReader)
    }
  }

  // MARK: Turns

  /// Lets a connection take its next request, which has come already, in its turn.
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
    // While it is not empty, another turn is on its way.
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

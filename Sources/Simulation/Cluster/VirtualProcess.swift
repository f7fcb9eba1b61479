// One simulated process: what its clients share, what can go wrong in their calls, and how long they block
// it.

import Kafka
import Sampling

/// What can go wrong in a call, and how often.
struct FaultPlan {
  var random: RandomSource
  var commitFailure = 0.0
  var requestFailure = 0.0
  /// The only code that requests fail with; nil for all usual ones. It may be tried again.
  var requestCode: KafkaErrorCode?
  /// Share of the failures that may be any kind that librdkafka documents, not a usual one.
  var oddCode = 0.0
  var stall = 0.0
  /// Share of the requests without an answer that are executed later.
  var late = 0.0
  /// A separate source: the other faults are the same with and without them.
  var lateRandom = RandomSource(seed: 0x1a7e)
  var crash = 0.0
  var counts = FaultCounts()
  /// Once set, nothing goes wrong any more.
  var isOver = false

  mutating func happens(_ share: Double) -> Bool { !isOver && random.chance(share) }

  /// How long after brokers answer again an abandoned request is executed; nil if it never is.
  mutating func lateness() -> Interval? {
    guard !isOver, late > 0, lateRandom.chance(late) else { return nil }
    counts.lateRequests += 1
    return .milliseconds(Int64(lateRandom.number(in: 1...4000)))
  }
}

/// Faults injected, by kind.
public struct FaultCounts: Equatable, Sendable {
  /// Workers that died in a call.
  public var crashes = 0
  /// Workers that were stopped, and left.
  public var stops = 0
  /// Workers that were frozen past their session.
  public var freezes = 0
  /// Commits that failed before anything was committed.
  public var commitFailures = 0
  /// Commits whose transaction lacked only its end when the worker died.
  public var tornCommits = 0
  /// Commits that succeeded although the worker died, or gave up waiting, before it knew.
  public var unknownCommits = 0
  /// Requests that failed.
  public var requestFailures = 0
  /// Requests that brokers executed after the caller had given up.
  public var lateRequests = 0
  /// Periods in which no broker answered.
  public var outages = 0
  /// Partitions that delivered nothing for a while, although there was data.
  public var stalls = 0
  /// Times that a worker's time of day was set forward or back.
  public var clockJumps = 0
  /// Times that a worker adopted other policies.
  public var reloads = 0
  /// Rebalances.
  public var rebalances = 0

  /// None.
  public init() {}

  /// All of them, except reloads and rebalances.
  public var total: Int {
    crashes + stops + freezes + commitFailures + tornCommits + unknownCommits + requestFailures + clockJumps
      + stalls + outages + lateRequests
  }
}

/// What lanes of one simulated world share.
final class FaultSource {
  var plan: FaultPlan

  init(_ plan: FaultPlan) {
    self.plan = plan
  }
}

/// A process with its clients. Its time is the cluster's; time that it waits passes for the cluster too.
final class VirtualProcess {
  let cluster: SimulatedCluster
  let faults: FaultSource
  /// Its place in the fleet, which is its transactional id too.
  let name: String
  let mutant: Mutant?
  private let startedAt: Instant
  /// Its consumer's member in the group; nil before it has joined.
  var member: Int?
  /// Whether it has died. Its calls then have no effect.
  private(set) var isDead = false
  /// Whether it is told to stop.
  var isStopping = false
  /// Whether it was given an error that ends a process for good reason.
  var isDoomed = false
  /// The epoch of its producers; nil before one has registered.
  var epoch: Int?
  /// When it was last frozen, or brokers were silent: what times out then is not its own fault.
  var excusedAt = Instant.distantPast
  /// How long it has waited since its last sign of life, and since its member last polled.
  private var sinceBeat = Duration.zero
  private var sincePoll = Duration.zero
  private(set) var longestWithoutBeat = Duration.zero
  private(set) var longestWithoutPoll = Duration.zero

  init(_ cluster: SimulatedCluster, _ faults: FaultSource, name: String, mutant: Mutant?) {
    self.cluster = cluster
    self.faults = faults
    self.name = name
    self.mutant = mutant
    startedAt = cluster.now
  }

  /// The message of the error that represents the end of the process.
  static let crash = "the simulated process ends"

  var uptime: Duration { .nanoseconds((cluster.now - startedAt).nanoseconds) }

  // MARK: Time

  func beat() { sinceBeat = .zero }

  func notePoll() { sincePoll = .zero }

  /// Waits, and lets the world continue.
  func wait(_ time: Duration) {
    guard time > .zero else { return }
    let interval = Interval(
      nanoseconds: time.components.seconds * 1_000_000_000 + time.components.attoseconds / 1_000_000_000)
    sinceBeat += time
    sincePoll += time
    longestWithoutBeat = max(longestWithoutBeat, sinceBeat)
    longestWithoutPoll = max(longestWithoutPoll, sincePoll)
    if let member { cluster.group.heartbeat(member, at: cluster.now + interval) }
    cluster.wait(interval, producer: name, member: member)
  }

  /// Waits for brokers to answer again, at most `timeout`. Returns whether they do.
  func awaitBrokers(_ timeout: Duration) -> Bool {
    guard cluster.isSilent else { return true }
    excusedAt = cluster.now
    let left = Duration.nanoseconds((cluster.silentUntil - cluster.now).nanoseconds)
    wait(min(timeout, left))
    excusedAt = cluster.now
    return !cluster.isSilent
  }

  // MARK: Faults

  /// The process may die here. Some of what was in flight may have arrived: `leaving` says what.
  func mayCrash(_ note: (inout FaultCounts) -> Void = { _ in }, leaving: () -> Void = {}) throws(KafkaError) {
    if isDead { throw VirtualProcess.end }
    guard faults.plan.happens(faults.plan.crash) else { return }
    faults.plan.counts.crashes += 1
    note(&faults.plan.counts)
    leaving()
    isDead = true
    throw VirtualProcess.end
  }

  private static let end = KafkaError(.localFatal, VirtualProcess.crash, isFatal: true)

  /// A request to a broker: it may fail in each way that librdkafka documents, and while brokers are silent
  /// it blocks until its timeout. The bug `ignoreDeadlines` waits much longer.
  func request(_ timeout: Duration, _ usual: [KafkaErrorCode]) throws(KafkaError) {
    try mayCrash()
    let patience = mutant == .ignoreDeadlines ? timeout * 12 : timeout
    guard awaitBrokers(patience) else { throw KafkaError(.localTimedOut) }
    guard faults.plan.happens(faults.plan.requestFailure) else { return }
    faults.plan.counts.requestFailures += 1
    let code = faults.plan.requestCode ?? failure(usual)
    if code == .localTimedOut { wait(patience) }
    throw KafkaError(code)
  }

  /// A code to fail with: a usual one, or any.
  func failure(_ usual: [KafkaErrorCode]) -> KafkaErrorCode {
    let odd = faults.plan.happens(faults.plan.oddCode)
    let codes = odd ? KafkaErrorCode.allCases : usual
    if odd { isDoomed = true }
    return codes[faults.plan.random.number(in: 0...codes.count - 1)]
  }
}

/// Makes the clients of a simulated process.
struct VirtualClients: KafkaClients {
  let process: VirtualProcess

  func makeMember(topic: String, properties: [KafkaProperty]) throws(KafkaError) -> VirtualConsumer {
    VirtualConsumer(process, topic: topic, properties: properties)
  }

  func makeReader(topic: String, properties: [KafkaProperty]) throws(KafkaError) -> VirtualConsumer {
    VirtualConsumer(process, topic: topic, properties: properties)
  }

  func makeProducer(properties: [KafkaProperty]) throws(KafkaError) -> VirtualProducer {
    VirtualProducer(process, properties: properties)
  }

  var uptime: Duration { process.uptime }
}

// The options of a simulated run. They are themselves drawn from the seed (swarm testing: each run leaves
// some faults out altogether, so that others get far).

import Pipeline
public import Sampling

/// The options of a simulated run.
public struct SimulationOptions: Equatable, Sendable {
  /// The most workers at a time.
  public var workersMax = 3
  /// How many partitions.
  public var partitions: Int32 = 4
  /// How many traces are published.
  public var traces = 150
  /// Traces started in a second.
  public var tracesPerSecond = 30.0
  /// Share of steps at which a worker is stopped or started.
  public var churn = 0.0
  /// Share of steps at which a worker is frozen for longer than its session.
  public var freezes = 0.0
  /// Share of calls at which a worker dies.
  public var crashes = 0.0
  /// Share of commits that fail.
  public var commitFailures = 0.0
  /// Share of requests that fail.
  public var requestFailures = 0.0
  /// Share of the failures that may be any kind that librdkafka documents.
  public var oddCodes = 0.0
  /// Share of the transactional requests without an answer that brokers execute later.
  public var lateRequests = 0.0
  /// Share of steps at which no broker answers for up to forty seconds.
  public var outages = 0.0
  /// Share of records at which a foreign producer writes to the topic of decisions.
  public var strangers = 0.0
  /// The largest record that topics accept, where it is less than usual.
  public var recordBytesMax: [String: Int] = [:]
  /// Share of reads of a partition after which it delivers nothing for up to ten seconds.
  public var stalls = 0.0
  /// How far records' timestamps may be behind the log, in milliseconds.
  public var disorderMilliseconds = 0
  /// Share of records at which a producer whose clock is ahead sends a few in a row.
  public var wrongStamps = 0.0
  /// Whether records arrive late, after their traces were decided.
  public var hasLateRecords = false
  /// Share of records that are published twice.
  public var redelivered = 0.0
  /// Share of records that are unreadable.
  public var malformed = 0.0
  /// Share of steps at which a worker's time of day is set forward or back, by up to an hour.
  public var clockJumps = 0.0
  /// Share of steps at which a worker adopts other policies.
  public var reloads = 0.0
  /// Whether the baseline's rates follow the traffic of all partitions.
  public var isBaselineAdaptive = false
  /// Whether these rates are per attributes instead of per service.
  public var hasAttributeKeys = false
  /// Whether they are per shape, and the first trace of each is kept.
  public var hasShapes = false
  /// Whether there is a policy with a budget, whose level is committed.
  public var hasRateLimit = false
  /// Whether the fleet shares it, and that of a shadow policy.
  public var hasFleetLimit = false
  /// Whether there are shadow policies, which must change nothing.
  public var hasShadow = false
  /// Whether spans are compressed from the first segment on.
  public var compressesSpans = false
  /// Whether recalls are many and read slowly: then requests outlive commits, kills and rebalances.
  public var recallsSlowly = false
  /// Whether verdicts are forgotten before late spans arrive, and have to be looked up.
  public var forgetsSoon = false
  /// Whether the spans of undecided traces are in the log only.
  public var isLogBacked = false
  /// Whether logs follow.
  public var hasLogs = false
  /// Whether all spans are counted for metrics.
  public var hasMetrics = false
  /// Whether traces link to each other, and verdicts spread along links.
  public var hasLinks = false
  /// What is written about dropped traces. Without it nothing tells whether they are decided once.
  public var dropped = DroppedRecords.ledger
  /// Whether outputs and commits are one transaction; if not, outputs may be duplicated.
  public var isTransactional = true

  /// No faults.
  public init() {}

  /// Whether links reach all that they should. They do not if verdicts are forgotten before that, because
  /// that is soon or because the stream clock was far ahead; nor if verdicts are not in the log with what
  /// their traces link to; nor if a trace may be decided twice.
  var areStoriesWhole: Bool { isTransactional && !forgetsSoon && wrongStamps == 0 && strangers == 0 }

  /// Draws options: each kind of fault occurs in about half of the runs.
  public init(drawnFrom random: inout RandomSource) {
    workersMax = random.number(in: 1...4)
    partitions = Int32(random.number(in: 1...6))
    traces = random.number(in: 60...220)
    tracesPerSecond = random.number(from: 8, to: 60)
    if random.chance(0.6) { churn = random.number(from: 0.001, to: 0.02) }
    if random.chance(0.4) { freezes = random.number(from: 0.001, to: 0.01) }
    if random.chance(0.6) { crashes = random.number(from: 0.0001, to: 0.003) }
    if random.chance(0.5) { commitFailures = random.number(from: 0.01, to: 0.2) }
    if random.chance(0.4) { requestFailures = random.number(from: 0.01, to: 0.3) }
    if random.chance(0.4) { disorderMilliseconds = random.number(in: 10...2000) }
    hasLateRecords = random.chance(0.5)
    if random.chance(0.3) { malformed = 0.02 }
    if random.chance(0.3) { clockJumps = random.number(from: 0.001, to: 0.01) }
    if random.chance(0.4) { stalls = random.number(from: 0.001, to: 0.01) }
    isTransactional = !random.chance(0.15)
    // Without transactions a trace may be decided again, after the rates have changed: its verdicts may
    // differ.
    isBaselineAdaptive = random.chance(0.3) && isTransactional
    // Depends on a number that is already drawn: another draw would change the runs of seeds that once
    // failed.
    hasAttributeKeys = isBaselineAdaptive && traces % 2 == 0
    hasShapes = isBaselineAdaptive && traces % 4 > 1
    hasRateLimit = isTransactional && traces % 3 == 0
    hasFleetLimit = hasRateLimit && traces % 2 == 1
    hasShadow = traces % 12 < 5
    compressesSpans = traces % 5 < 2
    if traces % 11 < 3 { dropped = traces % 2 == 0 ? .compact : .full }
    if isTransactional, traces % 7 < 3 { reloads = 0.01 }
    if random.chance(0.4) { outages = random.number(from: 0.0005, to: 0.004) }
    if random.chance(0.2) { oddCodes = 0.1 }
    if random.chance(0.2) { strangers = 0.05 }
    // Less than a trace's spans take together, more than any single one.
    if random.chance(0.2) { recordBytesMax = ["sampled": 4096, "dead-letters": 8192] }
    recallsSlowly = traces % 9 < 5
    isLogBacked = traces % 13 < 5
    if disorderMilliseconds > 0, traces % 4 != 1 { wrongStamps = 0.04 }
    hasLogs = traces % 10 < 6
    hasMetrics = traces % 17 < 9
    hasLinks = traces % 19 < 8 && !isLogBacked
    if traces % 8 < 5 { redelivered = 0.2 }
    // Where stamps are wrong by as long as verdicts are remembered, two owners may disagree about what is.
    // And a span that comes again once its trace is forgotten is not recognised.
    forgetsSoon =
      isTransactional && !isLogBacked && wrongStamps == 0
      && (redelivered == 0 || disorderMilliseconds == 0)
    if isTransactional, traces % 4 != 2 { lateRequests = 0.5 }
  }
}

/// What a simulated run found.
public struct SimulationReport: Equatable, Sendable {
  /// The seed.
  public var seed: UInt64
  /// Steps run.
  public var steps = 0
  /// The auditor's objections; empty if all is well.
  public var objections: [String] = []
  /// Faults injected.
  public var faults = FaultCounts()
  /// A hash of all committed outputs: the same for the same seed.
  public var hash: UInt64 = 0
  /// Traces published, and those of them kept.
  public var traces = 0
  /// Traces kept.
  public var kept = 0
  /// Traces that were dropped, then read again and kept.
  public var recalled = 0
  /// The longest time that a partition took from its assignment to where it was before, in simulated
  /// nanoseconds.
  public var longestRecovery: Int64 = 0

  init(seed: UInt64) {
    self.seed = seed
  }
}

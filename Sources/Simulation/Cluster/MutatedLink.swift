// Bugs injected on purpose above the clients, to see whether the auditor finds them.

import OTLP
import Pipeline
import Sampling

/// A bug injected on purpose, to see whether the auditor finds it.
public enum Mutant: String, Sendable, CaseIterable {
  /// The high water is committed as the safe offset.
  case commitHighWater = "commit-high-water"
  /// Past verdicts are not read back.
  case forgetVerdicts = "forget-verdicts"
  /// The ledger is not read back.
  case forgetLedger = "forget-ledger"
  /// Pages of the ledger are written after the commit that they belong to.
  case accountLate = "account-late"
  /// Each page of the ledger is written twice.
  case accountTwice = "account-twice"
  /// Kept spans are written outside the transaction.
  case forwardEarly = "forward-early"
  /// The high water is unknown: everything that is read again is taken for new.
  case forgetHighWater = "forget-high-water"
  /// Calls wait for longer than they are told to.
  case ignoreDeadlines = "ignore-deadlines"
  /// Requests for recalls are not read back.
  case forgetRecalls = "forget-recalls"
  /// Revised records are not read back: what was recalled is recalled again.
  case recallTwice = "recall-twice"
  /// Old verdicts are not looked up: very late spans get their traces decided again.
  case skipLookups = "skip-lookups"
  /// What the follower of log-backed windows has yet to hand out is committed as handed out.
  case followerAhead = "follower-ahead"
  /// Verdicts that are read back are held outside all limits until all have arrived.
  case gatherVerdicts = "gather-verdicts"
  /// Outputs may have any size, whatever their topics accept.
  case ignoreLimits = "ignore-limits"
  /// A partition's logs resume one request too far,
  case skipLogs = "skip-logs"
  /// or at the last one that was committed.
  case repeatLogs = "repeat-logs"
  /// Logs are dealt with before the sampler can know of their traces.
  case hurryLogs = "hurry-logs"
  /// Recalls bring no logs.
  case skipRecalledLogs = "skip-recalled-logs"
  /// The spans of one record are counted again by the partition's next owner,
  case recountMetrics = "recount-metrics"
  /// or spans that were counted and not written are not counted again.
  case skipMetrics = "skip-metrics"
  /// Nobody reads the topic of links.
  case forgetLinks = "forget-links"
  /// A shadow policy decides.
  case heedShadow = "heed-shadow"
  /// A producer that replaces another keeps the other's epoch.
  case keepEpoch = "keep-epoch"
}

/// The production link, with a bug or without.
final class MutatedLink: BrokerLink {
  private let link: KafkaLink<VirtualClients>
  private let mutant: Mutant?
  /// Verdicts that the bug has gathered.
  private var gathered: [(PartitionID, RestoredVerdict)] = []
  /// Pages of the ledger that the bug has held back.
  private var heldPages: [(partition: PartitionID?, bytes: [UInt8])] = []

  init(_ link: KafkaLink<VirtualClients>, _ mutant: Mutant?) {
    self.link = link
    self.mutant = mutant
  }

  /// Bytes of verdicts that are in no account.
  var unaccountedBytes: Int { gathered.count * MemoryLayout<(PartitionID, RestoredVerdict)>.stride }

  func readDecisions(
    _ partition: PartitionID, since time: Instant, until end: Instant?,
    _ take: (PartitionID, RestoredVerdict) -> Void
  ) throws(BrokerError) -> PastDecisions {
    switch mutant {
    case .forgetVerdicts where end == nil: return .read(isWhole: true)
    case .skipLookups where end != nil: return .read(isWhole: true)
    case .gatherVerdicts:
      let answer = try link.readDecisions(partition, since: time, until: end) { gathered.append(($0, $1)) }
      if case .read = answer {
        for (id, verdict) in gathered where id == partition { take(id, verdict) }
        gathered.removeAll { $0.0 == partition }
      }
      return answer
    case .forgetRecalls:
      return try link.readDecisions(partition, since: time, until: end) {
        if $1.recall == nil { take($0, $1) }
      }
    case .recallTwice:
      return try link.readDecisions(partition, since: time, until: end) { if !$1.isRevised { take($0, $1) } }
    case .forgetLedger:
      // What it says keeps nothing and has no reasons.
      return try link.readDecisions(partition, since: time, until: end) { id, verdict in
        if verdict.isKept || !verdict.reasons.isEmpty { take(id, verdict) }
      }
    default: return try link.readDecisions(partition, since: time, until: end, take)
    }
  }

  var bytesLookedUp: UInt64 { link.bytesLookedUp }

  func commit(_ points: [(PartitionID, CommitPoint)]) throws(BrokerError) {
    try link.commit(points.map { ($0, mutated($1)) })
    let pages = heldPages
    heldPages = []
    for page in pages {
      try page.bytes.withRawBytes { (bytes) throws(BrokerError) in
        try link.write(.verdicts, partition: page.partition, key: nil, value: bytes, headers: [])
      }
    }
  }

  private func mutated(_ point: CommitPoint) -> CommitPoint {
    var point = point
    if mutant == .commitHighWater {
      point.safeOffset = point.highWater
      point.clockAtSafeOffset = point.clock
    }
    // Committed before the outputs before it.
    if mutant == .followerAhead { point.follower?.position = point.safeOffset }
    if mutant == .forgetHighWater { point.highWater = point.safeOffset }
    if let next = point.counting?.next {
      if mutant == .recountMetrics { point.counting?.next = Offset(max(0, next.value - 1)) }
      if mutant == .skipMetrics { point.counting?.next = point.highWater }
    }
    return point
  }

  var isCommitting: Bool { link.isCommitting }

  var hasUncommitted: Bool { link.hasUncommitted }

  func poll(
    timeout: Interval, _ take: (RecordPlace, RawSpan?, RawSpan?) throws(BrokerError) -> Void
  ) throws(BrokerError) -> Int { try link.poll(timeout: timeout, take) }

  func lentHeaders(countMax: Int) -> (headers: [RecordHeaderField], count: Int) {
    link.lentHeaders(countMax: countMax)
  }

  func takeEvents() -> [GroupEvent] { link.takeEvents() }

  func committed(_ partitions: [PartitionID]) throws(BrokerError) -> [CommittedPoint?] {
    try link.committed(partitions).map { committed in
      guard let committed,
        var point = CommitPoint(safeOffset: committed.offset, metadata: committed.metadata),
        let next = point.logs?.next, mutant == .skipLogs || mutant == .repeatLogs
      else { return committed }
      point.logs?.next = mutant == .skipLogs ? next.next : Offset(max(0, next.value - 1))
      return CommittedPoint(offset: committed.offset, metadata: point.metadata)
    }
  }

  func resume(_ partitions: [(PartitionID, Offset?)]) throws(BrokerError) { try link.resume(partitions) }

  func release(_ partitions: [PartitionID]) throws(BrokerError) { try link.release(partitions) }

  func write(
    _ topic: OutputTopic, partition: PartitionID?, key: RawSpan?, value: RawSpan?,
    headers: [RecordHeaderField]
  ) throws(BrokerError) {
    if topic == .verdicts, mutant == .accountLate, let value {
      heldPages.append((partition, value.copied()))
      return
    }
    try link.write(topic, partition: partition, key: key, value: value, headers: headers)
    guard topic == .verdicts, mutant == .accountTwice else { return }
    try link.write(topic, partition: partition, key: key, value: value, headers: headers)
  }

  func seekAgain(
    _ partitions: [(PartitionID, Offset)], for use: RereadingUse, lost: inout [(PartitionID, Offset)]
  ) throws(BrokerError) { try link.seekAgain(partitions, for: use, lost: &lost) }

  func readAgain(
    for use: RereadingUse, _ take: (RecordPlace, RawSpan?, RawSpan?) throws(BrokerError) -> Void
  ) throws(BrokerError) {
    try link.readAgain(for: use) { (place, key, value) throws(BrokerError) in
      var place = place
      if use == .logs, mutant == .hurryLogs { place.timestamp = place.timestamp.map { $0 - .seconds(3600) } }
      try take(place, key, value)
    }
  }

  func findLogs(_ partitions: [(PartitionID, Instant)]) throws(BrokerError) -> [Offset?] {
    try mutant == .skipRecalledLogs ? partitions.map { _ in nil } : link.findLogs(partitions)
  }

  func logEnds(of partitions: [PartitionID]) throws(BrokerError) -> [(end: Offset, isRead: Bool)] {
    try link.logEnds(of: partitions)
  }

  func ends(of partitions: [PartitionID]) throws(BrokerError) -> [Offset] { try link.ends(of: partitions) }

  func knownEnd(of partition: PartitionID) -> Offset? { link.knownEnd(of: partition) }

  func readLinks(_ take: ([UInt8]) -> Void) throws(BrokerError) -> Bool {
    try mutant == .forgetLinks ? true : link.readLinks(take)
  }

  func readStats(_ take: ([UInt8]) -> Void) throws(BrokerError) -> Bool { try link.readStats(take) }

  func inputPartitions() throws(BrokerError) -> Int { try link.inputPartitions() }

  var commitsTogether: Bool { link.commitsTogether }

  func hasOutputs(for partition: PartitionID) throws(BrokerError) -> Bool {
    try link.hasOutputs(for: partition)
  }

  func abort() throws(BrokerError) { try link.abort() }

  func close() { link.close() }

  func abandon() { link.abandon() }
}

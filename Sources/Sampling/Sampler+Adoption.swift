// Replacing policies while traces are open.
//
// There is one set of policies at a time. A new set decides every trace whose window is still open. Span
// predicates are evaluated as spans arrive, so new ones are evaluated on the buffered spans. A trace that was
// kept early stays kept: its spans have been forwarded.

import Invariants
import OTLP
import SpanStorage

extension Sampler {
  /// Adopts the policies, shadow policies, baseline and version of `configuration`; everything else stays.
  ///
  /// Rate limits of unchanged policies keep their level. Buffered spans are read again if there are new
  /// predicates.
  ///
  /// - Parameter configuration: has a baseline only if there is one now, and one that counts the same.
  public mutating func adopt(_ configuration: SamplerConfiguration) {
    invariant(
      self.configuration.canAdopt(configuration), "partition \(partition.value): another kind of baseline")
    self.configuration.adopt(configuration)
    var successor = workspace.policies(self.configuration)
    let move = successor.succeed(policies)
    var next = table.opened.first
    while let slot = next {
      next = table.next(after: slot)
      table[slot].predicateMatches = move(table[slot].predicateMatches)
      if move.hasNew { matchBuffered(slot, by: &successor.predicates, but: move.asked) }
    }
    let places = policies.program.names.map { successor.program.names.firstIndex(of: $0) }
    let forgotten = verdicts.follow(
      places, move, remembersFacts: successor.program.remembersFacts, in: &index)
    if forgotten > 0 {
      counters.verdictsForgottenEarly += UInt64(forgotten)
      retention.lost = max(retention.lost, verdicts.oldest ?? clock)
      noteForgotten()
    }
    recalls.moveMatches(to: places)
    handOuts.moveMatches(to: places)
    collector?.sampler.adopt(self.configuration.forCollecting)
    policies = successor
    // New buckets have counted nothing: what is left of the interval counts. Not what was published before.
    let from = isRecovering ? max(clock, recovery.clock) : clock
    if demandDue == .distantFuture { beginDemand(at: from) } else { restartDemand(at: from) }
    askedSince = nextOffset ?? askedSince
    texts = DecisionTexts(
      partition: partition, configuration: self.configuration.version, policies: policies.program.names,
      shadow: policies.shadow?.names ?? [])
    texts.nextLogs = nextLogs
    ledger.adopt(configuration: self.configuration.version)
    baseline?.adopt(self.configuration)
    counters.beginCounting(self.configuration)
  }

  /// Evaluates the predicates on the buffered spans of a trace, except those `asked` before.
  private mutating func matchBuffered(_ slot: Int, by predicates: inout SpanPredicates, but asked: UInt64) {
    // A predicate that already matched is not evaluated.
    var matches = asked
    var record = ScannedRecord()
    for piece in buffer.pieces(of: table[slot].spans) {
      buffer.withBytes(of: piece) { predicates.match(accepted: $0, &record, into: &matches) }
    }
    table[slot].predicateMatches |= matches & ~asked
  }
}

extension SamplerConfiguration {
  /// Whether a sampler with this configuration can adopt the policies and the baseline of `other`.
  public func canAdopt(_ other: SamplerConfiguration) -> Bool {
    switch (baseline, other.baseline) {
    case (nil, nil): true
    case (let old?, let new?): new.counts(like: old)
    default: false
    }
  }

  /// Whether the fleet shares a limit of a policy or a shadow policy.
  public var hasFleetLimits: Bool { (policies + shadow).contains { $0.rule.isFleetWide } }

  /// Whether samplers make counts for the fleet.
  public var usesStats: Bool { baseline != nil || hasFleetLimits }

  /// The same for a sampler that only accumulates: without a baseline, metrics or looking up verdicts, and
  /// with spans in memory.
  var forCollecting: SamplerConfiguration {
    var configuration = self
    configuration.baseline = nil
    configuration.metrics = nil
    configuration.countsDemand = false
    configuration.tellsShapes = false
    configuration.windows.looksUpVerdicts = false
    configuration.windows.buffer = .memory
    // It has the traces that are being recalled, and no others.
    configuration.links?.tracesMax = 4 * limits.recalls
    return configuration
  }

  /// Adopts the policies, the shadow policies, the baseline and the version of `other`.
  public mutating func adopt(_ other: SamplerConfiguration) {
    policies = other.policies
    shadow = other.shadow
    sampleOnFirstMatch = other.sampleOnFirstMatch
    invertDecisions = other.invertDecisions
    baseline = other.baseline
    version = other.version
  }
}

extension SpanPredicates {
  /// Evaluates the predicates on the spans of a record that the scanner has accepted before, and on their
  /// resources.
  fileprivate mutating func match(
    accepted bytes: RawSpan, _ record: inout ScannedRecord, into matches: inout UInt64
  ) {
    do { try record.scan(bytes) } catch {
      invariant(false, "an accepted piece can't be read again: \(error)")
    }
    startRecord()
    var resource = UInt32.max
    for span in record.spans {
      if attributeBits != 0, span.resource != resource {
        resource = span.resource
        matches |= self.matches(record.resources[Int(resource)], of: record, bytes)
      }
      match(span, of: record, bytes, into: &matches)
    }
  }
}

// What the samplers of a lane share, beside the memory of spans: room to read a record in, and the policies
// as they are compiled. A lane reads one record at a time, so one of each is enough, whatever the number of
// partitions.

import Expressions
public import OTLP

/// The workspace of the samplers of one lane.
///
/// Nothing in it changes an outcome. Not thread-safe: it belongs to the lane.
public final class SamplerWorkspace {
  /// Room for the record that is being read.
  var scratch = RecordScratch()
  /// Room for buffered spans that are looked at again.
  var review = ScannedRecord()

  /// The policies that were compiled last.
  private var compiled: (source: PolicySource, policies: PolicySet)?
  /// The states of their regular expressions.
  private var automata: [SharedAutomaton] = []

  /// What a set of policies is compiled from.
  private struct PolicySource: Equatable {
    var policies: [Policy]
    var skewTolerance: Interval
    var sampleOnFirstMatch: Bool
    var invertDecisions: Bool
  }

  /// Makes an empty workspace.
  public init() {}

  /// The spans that can't be used, by reason, of the record that was read last.
  public var rejectedSpans: [RejectedSpans] { scratch.record.rejected }

  /// Bytes of memory that reading records has taken.
  public var scratchBytes: Int { scratch.byteCount + review.byteCount }

  /// Bytes of memory that the states of regular expressions take.
  public var automataBytes: Int { automata.reduce(0) { $0 + $1.byteCount } }

  /// Gives back what reading records has taken.
  public func releaseScratch() {
    scratch = RecordScratch()
    review = ScannedRecord()
  }

  /// Gives back the states of regular expressions, all or those that no text has called for since the last
  /// call. What is needed again is made again.
  public func releaseAutomata(all: Bool) {
    for automaton in automata { automaton.release(ifUsed: all) }
  }

  /// The policies of `configuration`, as nobody has used them yet. All sets share one copy of what they were
  /// compiled to, and the states of their regular expressions; budgets are each one's own.
  func policies(_ configuration: SamplerConfiguration) -> PolicySet {
    let source = PolicySource(
      policies: configuration.policies, skewTolerance: configuration.skewTolerance,
      sampleOnFirstMatch: configuration.sampleOnFirstMatch, invertDecisions: configuration.invertDecisions)
    if let compiled, compiled.source == source { return compiled.policies }
    let policies = PolicySet(configuration)
    compiled = (source, policies)
    automata = policies.predicates.automata
    return policies
  }
}

/// Storage that is reused from record to record.
struct RecordScratch: ~Copyable {
  var record = ScannedRecord()
  var groups = TraceGroups()
  var piece = WireWriter()

  /// Bytes of memory in use.
  var byteCount: Int { record.byteCount + groups.byteCount + piece.byteCount }
}

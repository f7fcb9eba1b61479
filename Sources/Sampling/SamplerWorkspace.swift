// What the samplers of a lane share, besides the memory of spans: room to read a record into, the compiled
// policies, and what is known of the fleet's links. A lane reads one record at a time, so one of each is
// enough for any number of partitions.

import Expressions
public import OTLP

/// The workspace of the samplers of one lane.
///
/// Nothing in it changes an outcome, but `links`. Not thread-safe: it belongs to the lane.
public final class SamplerWorkspace {
  /// Room for the record being read. Its accesses are not checked for overlaps, which takes longer than much
  /// of what is done with a short record.
  ///
  /// Sound: the workspace belongs to one lane, and what reads a record has no other way to its scratch.
  @exclusivity(unchecked) @unsafe var scratch = RecordScratch()
  /// Room for buffered spans that are read again.
  var review = ScannedRecord()

  /// What the topic of links says; nil if links keep nothing.
  public private(set) var links: LinkTable?

  /// The policies compiled last.
  private var compiled: (source: PolicySource, policies: PolicySet)?
  /// The states of their regular expressions.
  private var automata: [SharedAutomaton] = []

  /// What a set of policies is compiled from.
  private struct PolicySource: Equatable {
    var policies: [Policy]
    var skewTolerance: Interval
    var sampleOnFirstMatch: Bool
    var invertDecisions: Bool
    var shadow: [Policy]
  }

  /// What the topic of links says, for samplers with this configuration.
  public func linkTable(_ configuration: LinksConfiguration) -> LinkTable? {
    if links == nil { links = LinkTable(configuration) }
    return links
  }

  /// Makes an empty workspace.
  public init() {}

  /// The unusable spans of the record read last, by reason.
  public var rejectedSpans: [RejectedSpans] { unsafe scratch.record.rejected }

  /// Bytes of memory taken by reading records.
  public var scratchBytes: Int { unsafe scratch.byteCount + review.byteCount }

  /// Bytes of memory taken by the states of regular expressions.
  public var automataBytes: Int { automata.reduce(0) { $0 + $1.byteCount } }

  /// Releases the memory taken by reading records.
  public func releaseScratch() {
    unsafe scratch.release()
    review = ScannedRecord()
  }

  /// Releases the states of regular expressions, all or those not used since the last call. They are rebuilt
  /// when needed.
  public func releaseAutomata(all: Bool) {
    for automaton in automata { automaton.release(ifUsed: all) }
  }

  /// The policies of `configuration`, not used yet. All sets share one compiled copy and the states of their
  /// regular expressions; each has its own budgets.
  func policies(_ configuration: SamplerConfiguration) -> PolicySet {
    let source = PolicySource(
      policies: configuration.policies, skewTolerance: configuration.skewTolerance,
      sampleOnFirstMatch: configuration.sampleOnFirstMatch, invertDecisions: configuration.invertDecisions,
      shadow: configuration.shadow)
    if let compiled, compiled.source == source { return compiled.policies }
    let policies = PolicySet(configuration)
    compiled = (source, policies)
    automata = policies.predicates.automata
    return policies
  }
}

/// Storage reused from record to record.
struct RecordScratch: ~Copyable {
  var record = ScannedRecord(remembersResources: true)
  var groups = TraceGroups()
  var piece = WireWriter()

  /// Reads a record, and groups its spans by trace unless there is only one.
  @inline(__always)
  mutating func scan(_ value: RawSpan, _ limits: Limits) throws(MalformedInput) {
    try record.scan(value)
    guard !record.isSingleTrace else { return }
    try groups.group(&record, bytesMax: limits.splitBytes(ofRecord: value.byteCount))
  }

  /// Releases it.
  mutating func release() {
    record.release()
    groups = TraceGroups()
    piece = WireWriter()
  }

  /// Bytes of memory in use.
  var byteCount: Int { record.byteCount + groups.byteCount + piece.byteCount }
}

// What was decided about a trace, and its written form.

import Invariants
public import OTLP

/// A verdict with the facts behind it. Names of services and operations are only in its written form.
public struct Decision: Sendable {
  /// Why a verdict was given at this moment.
  public enum Trigger: String, Sendable, CaseIterable {
    /// The wait after the root span ended and no parent was missing.
    case root
    /// The whole wait ended.
    case wait
    /// The trace went over a limit.
    case limit
    /// Memory had to be freed.
    case memory
    /// A span made the verdict certain while the window was open.
    case eager
    /// A span arrived after the trace was dropped, and a policy would keep it now.
    case late
    /// A dropped trace was read again, because a late span made a policy certain, or links reached it.
    case recall
    /// A kept trace links to it, or it links to a kept one.
    case linked
  }

  /// The trace.
  public var traceID: TraceID
  /// Whether the trace is kept.
  public var isKept: Bool
  /// Whether this is the trace's final record. Each trace has exactly one.
  public var isFinal: Bool
  /// Why now.
  public var trigger: Trigger
  /// Bit *i* is set if policy *i* samples the trace; after a veto, only the vetoing policy's bit is set. In a
  /// late record: if policy *i* would keep it now.
  public var matches: UInt64
  /// The threshold that the trace was kept with, head sampling included.
  public var threshold: SamplingThreshold
  /// Bit *i* is set if the verdict would differ with shadow policy *i*; only in a trace's first final record.
  public var shadow: UInt64 = 0
  /// Identifies which service and operation called which; 0 if it is not known. Only in a trace's first final
  /// record.
  public var shape: UInt64 = 0
  /// Spans seen.
  public var spanCount: Int
  /// Spans with status ERROR seen.
  public var errorCount: Int
  /// Bytes of spans seen, including their share of resources and scopes.
  public var byteCount: Int
  /// Spans left out of a skeleton.
  public var truncatedCount: Int
  /// Kept spans left out because they are too large for their topic.
  public var tooLargeCount = 0
  /// Whether a policy vetoed the trace, overriding those that sample it.
  public var isVetoed = false
  /// Whether a span that arrived after the verdict caused this record.
  public var isLate: Bool
  /// Whether a root span arrived.
  public var hasRoot: Bool
  /// Start of the root span, or the earliest start of any span: nanoseconds since 1970.
  public var start: UInt64
  /// Duration of the root span, or from the earliest start to the latest end: nanoseconds.
  public var duration: Int64
  /// The earliest start of any span, nanoseconds since 1970: final records of dropped traces tell it to the
  /// partition's next owner.
  public var earliestStart: UInt64 = 0
  /// Offset of the record with the trace's first span.
  public var firstOffset: Offset
  /// Offset of the record with its last span.
  public var lastOffset: Offset
  /// The stream clock when the trace's first span was read.
  public var openedAt: Instant
  /// The stream clock at the verdict.
  public var decidedAt: Instant
  /// What the record says about the trace's recall, if there is one.
  public var recall: RecallStatus?
  /// How links reach it, if they keep it.
  public var linked: LinkReach?
  /// The traces that its spans link to, where verdicts spread along links.
  public var links: [TraceID] = []
  /// The randomness that it was kept by, if it shares that of a trace that it links to.
  public var sharedRandomness: UInt64?
  /// Whether it replaces an earlier final record of the trace.
  public var isRevised: Bool { isFinal && recall != nil }
}

extension Decision {
  /// The decision about a trace as known at `clock`; the trace's state tells whether it is kept.
  @inline(__always)
  init(
    on trace: borrowing OpenTrace, _ rare: RareFacts, _ outcome: PolicyOutcome, _ trigger: Trigger,
    isFinal: Bool,
    at clock: Instant
  ) {
    let isKept = trace.state != .undecided
    self.init(
      traceID: trace.id, isKept: isKept, isFinal: isFinal, trigger: trigger, matches: outcome.matches,
      threshold: isKept ? max(rare.threshold, rare.incomingThreshold) : .never,
      spanCount: Int(trace.spanCount), errorCount: Int(trace.errorCount),
      byteCount: Int(clamping: trace.byteCount), truncatedCount: Int(rare.truncatedCount),
      tooLargeCount: Int(rare.tooLargeCount), isVetoed: outcome.isVetoed, isLate: false,
      hasRoot: trace.hasRoot,
      start: trace.hasRoot ? trace.rootStart : trace.earliestStart,
      duration: trace.hasRoot ? trace.rootDuration : trace.facts.envelope,
      earliestStart: trace.earliestStart, firstOffset: trace.firstOffset, lastOffset: trace.lastOffset,
      openedAt: trace.openedAt, decidedAt: clock)
  }
}

/// The names in a decision record.
struct DecisionNames {
  var policies: [String] = []
  var shadow: [String] = []
  var services: [[UInt8]] = []
  var rootService: [UInt8] = []
  var rootOperation: [UInt8] = []
  var origin: (spanID: UInt64, service: [UInt8], operation: [UInt8])?

  /// Makes a record at least `count` bytes shorter, if it can: leaves out services from the end, replaced by
  /// `rest`, then all shadow policies but the first, which is cut, then all reasons but the first, which is
  /// cut, and a skeleton's.
  mutating func leaveOut(bytes count: Int, rest: [UInt8]) {
    var left = count
    if !services.isEmpty {
      left += DecisionNames.length(of: rest) + 1
      while left > 0, let service = services.popLast() { left -= DecisionNames.length(of: service) }
      services.append(rest)
    }
    while left > 0, shadow.count > 1 { left -= DecisionNames.length(of: Array(shadow.removeLast().utf8)) }
    if left > 0, let first = shadow.first {
      let short = String(decoding: first.utf8.prefix(DecisionNames.reasonBytesMax), as: UTF8.self)
      left -= DecisionNames.length(of: Array(first.utf8)) - DecisionNames.length(of: Array(short.utf8))
      shadow = [short]
    }
    // Readers of the record must learn that the trace is a skeleton.
    let limit = policies.count > 1 && policies.last == Sampler.limitReason ? policies.popLast() : nil
    defer { if let limit { policies.append(limit) } }
    while left > 0, policies.count > 1 { left -= DecisionNames.length(of: Array(policies.removeLast().utf8)) }
    guard left > 0, let first = policies.first else { return }
    policies = [String(decoding: first.utf8.prefix(DecisionNames.reasonBytesMax), as: UTF8.self)]
  }

  private static let reasonBytesMax = 256

  /// How many bytes a name takes in a record, quotes included.
  private static func length(of name: [UInt8]) -> Int {
    var json: [UInt8] = []
    json.appendJSONString(name)
    return json.count
  }
}

extension Limits {
  /// Every decision record can be shortened to this. Its names are a policy's, which appears twice, a shadow
  /// policy's, and those of two services and two operations, of 256 bytes each; escaped, a byte becomes six:
  /// 10,752 bytes.
  /// Everything else takes less than 1,000.
  public static let decisionBytesMin = 12_000
}

/// A part of a decision record that has names in it.
enum DecisionPart {
  /// The first policy, then all of them.
  case policies
  /// The shadow policies that would change the verdict.
  case shadow
  case services
  case root
  case origin
}

extension Decision {
  /// Appends the decision record as one line of JSON, without a line break. The field order is fixed.
  ///
  /// It takes room for `DecisionTexts.fixedBytesMax` and what `names` appends.
  ///
  /// - Parameters:
  ///   - texts: prepared for this decision.
  ///   - isCompact: whether to leave out what only kept traces need.
  ///   - names: appends a part that has names in it.
  @inline(__always)
  func appendJSON(
    _ texts: borrowing DecisionTexts, isCompact: Bool, to out: inout TextOutput,
    names: (DecisionPart, inout TextOutput) -> Void
  ) {
    appendHead(to: &out)
    if shadow != 0 { names(.shadow, &out) }
    if !isCompact || isLate { names(.policies, &out) }
    if !isCompact { texts.thresholds.appendCurrent(to: &out) }
    appendCounts(to: &out)
    if !isCompact { names(.services, &out) }
    if hasRoot { names(.root, &out) } else { out.append(#","root":null"#) }
    if !isCompact {
      out.append(#","start_time":""#)
      out.appendRFC3339(startInstant, in: texts.start)
      out.append(#"","duration_ns":"#)
      out.appendDecimal(duration)
      names(.origin, &out)
    }
    if statesEarliestStart(isCompact: isCompact) {
      out.append(#","earliest_start":""#)
      out.appendRFC3339(earliestInstant, in: texts.earliest)
      out.append(0x22)
    }
    texts.circumstances.appendCurrent(to: &out)
    out.appendDecimal(firstOffset.value)
    out.append(#","last_offset":"#)
    out.appendDecimal(lastOffset.value)
    out.append(#","decided_at":""#)
    out.appendRFC3339(decidedAt, in: texts.decision)
    texts.end.withRawBytes { out.append($0) }
  }

  @inline(__always)
  private func appendHead(to out: inout TextOutput) {
    out.append(#"{"trace_id":""#)
    out.appendHexadecimal(traceID)
    switch (isKept, isFinal) {
    case (true, true): out.append(#"","verdict":"keep","final":true"#)
    case (true, false): out.append(#"","verdict":"keep","final":false"#)
    case (false, true): out.append(#"","verdict":"drop","final":true"#)
    case (false, false): out.append(#"","verdict":"drop","final":false"#)
    }
    if isVetoed { out.append(#","vetoed":true"#) }
  }

  @inline(__always)
  private func appendCounts(to out: inout TextOutput) {
    out.append(#","span_count":"#)
    out.appendDecimal(Int64(spanCount))
    out.append(#","error_count":"#)
    out.appendDecimal(Int64(errorCount))
    out.append(#","byte_count":"#)
    out.appendDecimal(Int64(byteCount))
    guard shape != 0 else { return }
    out.append(#","shape":""#)
    out.appendHexadecimal(shape, digits: 16)
    out.append(0x22)
  }

  /// `start`, clamped.
  @inline(__always)
  fileprivate var startInstant: Instant { Instant(nanoseconds: Int64(clamping: start)) }

  /// `earliestStart`, clamped,
  @inline(__always)
  fileprivate var earliestInstant: Instant { Instant(nanoseconds: Int64(clamping: earliestStart)) }
  /// and whether the record has it, for judging late spans of a dropped trace: not if `start` says nearly the
  /// same. Hosts' clocks differ by as much, and most records would have it for nothing else.
  @inline(__always)
  fileprivate func statesEarliestStart(isCompact: Bool) -> Bool {
    isFinal && !isKept && (isCompact || start - min(start, earliestStart) > Decision.startTolerance)
  }
  /// In nanoseconds.
  fileprivate static var startTolerance: UInt64 { 100_000_000 }
}

/// The text of decision records that is the same in most of a partition's records. It is written once and
/// copied into each.
struct DecisionTexts: ~Copyable {
  /// More than a record takes without its names and its configuration: some 500 characters of fixed text,
  /// ids, three instants and eleven numbers of up to 28; and the ids of links.
  private static let fixedBytesMax = 1230 + 36 * LinksConfiguration.linksPerTrace

  /// What a record says of how a decision came about, between the names and the offsets.
  struct Circumstances: Equatable {
    var trigger: Decision.Trigger
    var isLate: Bool
    var isCompact: Bool
    var truncatedCount: Int
    var tooLargeCount: Int
  }

  /// Which policies a record names.
  struct Reasons: Equatable {
    var matches: UInt64
    /// What the trace's state adds to them.
    var state: OpenTrace.State
    /// Whether links keep it.
    var isLinked = false
    /// Whether only its shape keeps it.
    var isFirstOfShape: Bool
  }

  private let partition: PartitionID
  /// Logs before this request were dropped with traces that are recalled; nil if none were.
  var nextLogs: Offset?
  /// The policies' names.
  private let names: [String]
  /// The shadow policies' names.
  private let shadowNames: [String]
  /// The end of a record.
  fileprivate let end: [UInt8]
  fileprivate var start = SecondText(of: Instant(nanoseconds: 0))
  fileprivate var earliest = SecondText(of: Instant(nanoseconds: 0))
  fileprivate var decision = SecondText(of: Instant(nanoseconds: 0))
  fileprivate var thresholds = TextCache<SamplingThreshold>()
  fileprivate var circumstances = TextCache<Circumstances>()
  /// The shadow policies that would change a verdict.
  private(set) var shadows = TextCache<UInt64>()
  /// The policies of full records.
  private(set) var reasons = TextCache<Reasons>()

  /// - Parameters:
  ///   - configuration: the version of the configuration that decides.
  ///   - policies: their names.
  ///   - shadow: the names of shadow policies.
  init(partition: PartitionID, configuration: String, policies: [String], shadow: [String] = []) {
    self.partition = partition
    names = policies
    shadowNames = shadow
    var end = Array(#"","config":"#.utf8)
    end.appendJSONString(configuration)
    end.append(0x7d)
    self.end = end
  }

  /// The room that a record takes without its names.
  var room: Int { DecisionTexts.fixedBytesMax + end.count }

  /// Finds the texts for a decision.
  mutating func prepare(for decision: borrowing Decision, isCompact: Bool) {
    self.decision.follow(decision.decidedAt)
    var wanted = Circumstances(
      trigger: decision.trigger, isLate: decision.isLate, isCompact: isCompact,
      truncatedCount: decision.truncatedCount, tooLargeCount: decision.tooLargeCount)
    let (recall, linked, links) = (decision.recall, decision.linked, decision.links)
    let randomness = decision.sharedRandomness
    if recall != nil || linked != nil || !links.isEmpty || randomness != nil {
      let text = wanted.text(
        partition, recall, logs: nextLogs, isRevised: decision.isRevised, linked: linked, links: links,
        randomness: randomness)
      // Rare, and used once: no other record finds it.
      wanted.truncatedCount = -1
      circumstances.add(wanted, text)
    } else if !circumstances.find(wanted) {
      circumstances.add(wanted, wanted.text(partition))
    }
    if decision.statesEarliestStart(isCompact: isCompact) { earliest.follow(decision.earliestInstant) }
    if decision.shadow != 0, !shadows.find(decision.shadow) { addText(ofShadow: decision.shadow) }
    guard !isCompact else { return }
    start.follow(decision.startInstant)
    if !thresholds.find(decision.threshold) { thresholds.add(decision.threshold, decision.threshold.text) }
  }

  /// Appends a decision record with these names.
  mutating func append(
    _ decision: Decision, _ names: DecisionNames, isCompact: Bool, to bytes: inout [UInt8]
  ) {
    prepare(for: decision, isCompact: isCompact)
    bytes.appendText(room: room + names.room) { out in
      decision.appendJSON(self, isCompact: isCompact, to: &out) { part, out in names.append(part, to: &out) }
    }
  }

  /// Finds the text for the policies in `matches`, and for the reason that a trace in this state has besides.
  @inline(__always)
  mutating func prepare(
    policies matches: UInt64, _ state: OpenTrace.State, isLinked: Bool, isFirstOfShape: Bool = false
  ) {
    let wanted = Reasons(matches: matches, state: state, isLinked: isLinked, isFirstOfShape: isFirstOfShape)
    if !reasons.find(wanted) { addText(of: wanted) }
  }

  @inline(never)
  private mutating func addText(of wanted: Reasons) {
    var policies = names.indices.filter { wanted.matches & 1 << UInt64($0) != 0 }.map { names[$0] }
    if wanted.isLinked { policies.append(Sampler.linkedReason) }
    if let other = wanted.state.reason(matches: wanted.matches, isLinked: wanted.isLinked) {
      policies.append(other)
    }
    if wanted.isFirstOfShape { policies = [Sampler.firstOfShapeReason] }
    reasons.add(wanted, DecisionTexts.text(ofPolicies: policies))
  }

  @inline(never)
  private mutating func addText(ofShadow policies: UInt64) {
    shadows.add(policies, DecisionTexts.text(ofShadow: shadowNames(in: policies)))
  }

  /// The names of shadow policies, one bit each.
  func shadowNames(in policies: UInt64) -> [String] {
    shadowNames.indices.filter { policies & 1 << UInt64($0) != 0 }.map { shadowNames[$0] }
  }

  /// The field that names shadow policies.
  fileprivate static func text(ofShadow policies: [String]) -> [UInt8] {
    var text = Array(#","shadow":["#.utf8)
    for (place, policy) in policies.enumerated() {
      if place > 0 { text.append(0x2c) }
      text.appendJSONString(policy)
    }
    text.append(0x5d)
    return text
  }

  /// The fields that name the first policy, then all of them.
  fileprivate static func text(ofPolicies policies: [String]) -> [UInt8] {
    guard let first = policies.first else { return Array(#","policy":null,"reasons":[]"#.utf8) }
    var text = Array(#","policy":"#.utf8)
    text.appendJSONString(first)
    text += #","reasons":["#.utf8
    for (place, policy) in policies.enumerated() {
      if place > 0 { text.append(0x2c) }
      text.appendJSONString(policy)
    }
    text.append(0x5d)
    return text
  }
}

/// A few texts made last, by what they are made of.
struct TextCache<Key: Equatable> {
  private static var countMax: Int { 4 }

  private var entries: [(key: Key, text: [UInt8])] = []
  /// The text found last.
  private var current = 0
  /// The entry replaced last.
  private var replaced = 0

  /// Finds the text of `key`; false if there is none, which the caller then adds.
  @inline(__always)
  mutating func find(_ key: Key) -> Bool {
    if current < entries.count, entries[current].key == key { return true }
    for place in entries.indices where entries[place].key == key {
      current = place
      return true
    }
    return false
  }

  /// Adds the text of `key`, in place of another if there are many.
  @inline(never)
  mutating func add(_ key: Key, _ text: [UInt8]) {
    if entries.count < TextCache.countMax {
      current = entries.count
      entries.append((key, text))
    } else {
      replaced = (replaced + 1) % TextCache.countMax
      current = replaced
      entries[current] = (key, text)
    }
  }

  /// The length of the text found last.
  var currentCount: Int { entries[current].text.count }

  /// Appends the text found last.
  @inline(__always)
  func appendCurrent(to out: inout TextOutput) {
    entries[current].text.withRawBytes { out.append($0) }
  }
}

extension SamplingThreshold {
  /// The fields that a record has of it.
  fileprivate var text: [UInt8] {
    var text: [UInt8] = []
    text.appendText(room: 200) { out in
      out.append(#","probability":"#)
      out.append(real: probability)
      if self == .never {
        out.append(#","threshold":null,"adjusted_count":"#)
      } else {
        out.append(#","threshold":""#)
        out.appendHexadecimal(self)
        out.append(#"","adjusted_count":"#)
      }
      out.append(real: adjustedCount)
    }
    return text
  }
}

extension DecisionTexts.Circumstances {
  fileprivate func text(
    _ partition: PartitionID, _ recall: RecallStatus? = nil, logs: Offset? = nil, isRevised: Bool = false,
    linked: LinkReach? = nil, links: [TraceID] = [], randomness: UInt64? = nil
  ) -> [UInt8] {
    var text: [UInt8] = []
    text.appendText(room: 450 + 35 * links.count) { out in
      out.append(#","trigger":""#)
      out.append(trigger.text)
      if isLate { out.append(#"","late":true"#) } else { out.append(#"","late":false"#) }
      if isRevised { out.append(#","revised":true"#) }
      if let recall {
        out.append(#","recall":""#)
        out.append(recall.text)
        if case .requested(let until) = recall {
          out.append(#"","recall_until":"#)
          out.appendDecimal(until.value)
          if let logs {
            out.append(#","logs_until":"#)
            out.appendDecimal(logs.value)
          }
        } else {
          out.append(0x22)
        }
      }
      if let linked {
        out.append(#","linked_from":""#)
        out.appendHexadecimal(linked.from)
        out.append(#"","link_hops":"#)
        out.appendDecimal(Int64(linked.hops))
      }
      if !links.isEmpty {
        out.append(#","links":["#)
        for (place, link) in links.enumerated() {
          out.append(place == 0 ? #"""# : #",""#)
          out.appendHexadecimal(link)
          out.append(0x22)
        }
        out.append(0x5d)
      }
      if let randomness {
        out.append(#","rv":""#)
        out.appendHexadecimal(randomness, digits: 14)
        out.append(0x22)
      }
      out.append(#","truncated_spans":"#)
      out.appendDecimal(Int64(truncatedCount))
      if !isCompact {
        out.append(#","too_large_spans":"#)
        out.appendDecimal(Int64(tooLargeCount))
      }
      out.append(#","partition":"#)
      out.appendDecimal(Int64(partition.value))
      out.append(#","first_offset":"#)
    }
    return text
  }
}

extension Decision.Trigger {
  /// Its name in a record.
  fileprivate var text: StaticString {
    switch self {
    case .root: "root"
    case .wait: "wait"
    case .limit: "limit"
    case .memory: "memory"
    case .eager: "eager"
    case .late: "late"
    case .recall: "recall"
    case .linked: "linked"
    }
  }
}

extension DecisionNames {
  /// The room that the names take, each with a comma.
  var room: Int {
    var room = JSONSize.stringMax(rootService.count) + JSONSize.stringMax(rootOperation.count)
    if let first = policies.first { room += JSONSize.stringMax(first.utf8.count) }
    for policy in policies { room += JSONSize.stringMax(policy.utf8.count) + 1 }
    for policy in shadow { room += JSONSize.stringMax(policy.utf8.count) + 1 }
    for service in services { room += JSONSize.stringMax(service.count) + 1 }
    guard let origin else { return room }
    return room + JSONSize.stringMax(origin.service.count) + JSONSize.stringMax(origin.operation.count)
  }

  /// Appends a part of a record.
  func append(_ part: DecisionPart, to out: inout TextOutput) {
    switch part {
    case .policies: DecisionTexts.text(ofPolicies: policies).withRawBytes { out.append($0) }
    case .shadow: DecisionTexts.text(ofShadow: shadow).withRawBytes { out.append($0) }
    case .services:
      out.appendServices { out in
        for place in services.indices {
          if place > 0 { out.append(0x2c) }
          out.appendJSONString(services[place])
        }
      }
    case .root:
      out.appendRoot {
        $0.appendJSONString(rootService)
      } operation: {
        $0.appendJSONString(rootOperation)
      }
    case .origin:
      guard let origin else { return out.append(#","error_origin":null"#) }
      out.appendOrigin(origin.spanID) {
        $0.appendJSONString(origin.service)
      } operation: {
        $0.appendJSONString(origin.operation)
      }
    }
  }
}

extension TextOutput {
  @inline(__always)
  mutating func appendServices(_ services: (inout TextOutput) -> Void) {
    append(#","services":["#)
    services(&self)
    append(0x5d)
  }

  @inline(__always)
  mutating func appendRoot(service: (inout TextOutput) -> Void, operation: (inout TextOutput) -> Void) {
    append(#","root":{"service":"#)
    service(&self)
    append(#","operation":"#)
    operation(&self)
    append(0x7d)
  }

  @inline(__always)
  mutating func appendOrigin(
    _ spanID: UInt64, service: (inout TextOutput) -> Void, operation: (inout TextOutput) -> Void
  ) {
    append(#","error_origin":{"service":"#)
    service(&self)
    append(#","operation":"#)
    operation(&self)
    append(#","span_id":""#)
    appendHexadecimal(spanID, digits: 16)
    append(#""}"#)
  }

  fileprivate mutating func appendJSONString(_ text: [UInt8]) {
    text.withRawBytes { appendJSONString($0) }
  }
}

extension [UInt8] {
  fileprivate mutating func appendJSONString(_ text: [UInt8]) {
    appendText(room: JSONSize.stringMax(text.count)) { $0.appendJSONString(text) }
  }
}

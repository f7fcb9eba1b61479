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
  /// Offset of the record with the trace's first span.
  public var firstOffset: Offset
  /// Offset of the record with its last span.
  public var lastOffset: Offset
  /// The stream clock when the trace's first span was read.
  public var openedAt: Instant
  /// The stream clock at the verdict.
  public var decidedAt: Instant
}

extension Decision {
  /// The decision about a trace as known at `clock`; the trace's state tells whether it is kept.
  init(
    on trace: borrowing OpenTrace, _ outcome: PolicyOutcome, _ trigger: Trigger, isFinal: Bool,
    at clock: Instant
  ) {
    let isKept = trace.state != .undecided
    self.init(
      traceID: trace.id, isKept: isKept, isFinal: isFinal, trigger: trigger, matches: outcome.matches,
      threshold: isKept ? max(trace.threshold, trace.incomingThreshold) : .never,
      spanCount: Int(trace.spanCount), errorCount: Int(trace.errorCount),
      byteCount: Int(clamping: trace.byteCount), truncatedCount: Int(trace.truncatedCount),
      tooLargeCount: Int(trace.tooLargeCount), isVetoed: outcome.isVetoed, isLate: false,
      hasRoot: trace.hasRoot,
      start: trace.hasRoot ? trace.rootStart : trace.earliestStart,
      duration: trace.hasRoot ? trace.rootDuration : trace.facts.envelope, firstOffset: trace.firstOffset,
      lastOffset: trace.lastOffset, openedAt: trace.openedAt, decidedAt: clock)
  }
}

/// The names in a decision record.
struct DecisionNames {
  var policies: [String] = []
  var services: [[UInt8]] = []
  var rootService: [UInt8] = []
  var rootOperation: [UInt8] = []
  var origin: (spanID: UInt64, service: [UInt8], operation: [UInt8])?

  /// Makes a record at least `count` bytes shorter, if it can: leaves out services from the end, replaced by
  /// `rest`, then all reasons but the first, which is cut, and a skeleton's.
  mutating func leaveOut(bytes count: Int, rest: [UInt8]) {
    var left = count
    if !services.isEmpty {
      left += DecisionNames.length(of: rest) + 1
      while left > 0, let service = services.popLast() { left -= DecisionNames.length(of: service) }
      services.append(rest)
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
    json.append(addingCapacity: JSONSize.stringMax(name.count)) { out in
      name.withRawBytes { out.appendJSONString($0) }
    }
    return json.count
  }
}

extension Limits {
  /// Every decision record can be shortened to this. Its names are a policy's, which appears twice, and those
  /// of two services and two operations, of 256 bytes each; escaped, a byte becomes six: 9,216 bytes.
  /// Everything else takes less than 1,000.
  public static let decisionBytesMin = 12_000
}

extension Decision {
  /// Appends the decision record as one line of JSON, without a line break. The field order is fixed.
  ///
  /// Room for all of it is reserved at once, so appending a field only stores it.
  ///
  /// - Parameters:
  ///   - configuration: the version of the configuration that decided.
  ///   - isCompact: whether to leave out what only kept traces need.
  func appendJSON(
    names: DecisionNames, partition: PartitionID, configuration: String, isCompact: Bool,
    to bytes: inout [UInt8]
  ) {
    let room = Decision.fixedBytesMax + names.room + JSONSize.stringMax(configuration.utf8.count)
    bytes.append(addingCapacity: room) { out in
      appendHead(to: &out)
      if !isCompact || isLate { names.appendPolicies(to: &out) }
      appendCounts(isCompact: isCompact, to: &out)
      if !isCompact { names.appendServices(to: &out) }
      if hasRoot { names.appendRoot(to: &out) } else { out.append(#","root":null"#) }
      if !isCompact {
        appendDuration(to: &out)
        names.appendOrigin(to: &out)
      }
      appendTail(partition, isCompact: isCompact, to: &out)
      out.appendJSONString(configuration)
      out.append(0x7d)
    }
  }

  /// More than a record takes without its names: some 500 characters of fixed text, ids, two instants and
  /// eleven numbers of up to 28.
  private static let fixedBytesMax = 1200

  @inline(__always)
  private func appendHead(to out: inout OutputSpan<UInt8>) {
    out.append(#"{"trace_id":""#)
    out.appendHexadecimal(traceID)
    if isKept {
      out.append(#"","verdict":"keep","final":"#)
    } else {
      out.append(#"","verdict":"drop","final":"#)
    }
    if isFinal { out.append("true") } else { out.append("false") }
    if isVetoed { out.append(#","vetoed":true"#) }
  }

  @inline(__always)
  private func appendCounts(isCompact: Bool, to out: inout OutputSpan<UInt8>) {
    if !isCompact {
      out.append(#","probability":"#)
      out.append(real: threshold.probability)
      if threshold == .never {
        out.append(#","threshold":null,"adjusted_count":"#)
      } else {
        out.append(#","threshold":""#)
        out.appendHexadecimal(threshold)
        out.append(#"","adjusted_count":"#)
      }
      out.append(real: threshold.adjustedCount)
    }
    out.append(#","span_count":"#)
    out.appendDecimal(Int64(spanCount))
    out.append(#","error_count":"#)
    out.appendDecimal(Int64(errorCount))
    out.append(#","byte_count":"#)
    out.appendDecimal(Int64(byteCount))
  }

  @inline(__always)
  private func appendDuration(to out: inout OutputSpan<UInt8>) {
    out.append(#","start_time":""#)
    out.appendRFC3339(Instant(nanoseconds: Int64(clamping: start)))
    out.append(#"","duration_ns":"#)
    out.appendDecimal(duration)
  }

  @inline(__always)
  private func appendTail(_ partition: PartitionID, isCompact: Bool, to out: inout OutputSpan<UInt8>) {
    out.append(trigger.field)
    if isLate { out.append(#","late":true"#) } else { out.append(#","late":false"#) }
    out.append(#","truncated_spans":"#)
    out.appendDecimal(Int64(truncatedCount))
    if !isCompact {
      out.append(#","too_large_spans":"#)
      out.appendDecimal(Int64(tooLargeCount))
    }
    out.append(#","partition":"#)
    out.appendDecimal(Int64(partition.value))
    out.append(#","first_offset":"#)
    out.appendDecimal(firstOffset.value)
    out.append(#","last_offset":"#)
    out.appendDecimal(lastOffset.value)
    out.append(#","decided_at":""#)
    out.appendRFC3339(decidedAt)
    out.append(#"","config":"#)
  }
}

extension Decision.Trigger {
  /// The record field that states it.
  fileprivate var field: StaticString {
    switch self {
    case .root: #","trigger":"root""#
    case .wait: #","trigger":"wait""#
    case .limit: #","trigger":"limit""#
    case .memory: #","trigger":"memory""#
    case .eager: #","trigger":"eager""#
    case .late: #","trigger":"late""#
    }
  }
}

extension DecisionNames {
  /// The room that the names take, each with a comma.
  fileprivate var room: Int {
    var room = JSONSize.stringMax(rootService.count) + JSONSize.stringMax(rootOperation.count)
    if let first = policies.first { room += JSONSize.stringMax(first.utf8.count) }
    for policy in policies { room += JSONSize.stringMax(policy.utf8.count) + 1 }
    for service in services { room += JSONSize.stringMax(service.count) + 1 }
    guard let origin else { return room }
    return room + JSONSize.stringMax(origin.service.count) + JSONSize.stringMax(origin.operation.count)
  }

  /// Appends the first policy, then all of them.
  @inline(__always)
  fileprivate func appendPolicies(to out: inout OutputSpan<UInt8>) {
    guard let first = policies.first else { return out.append(#","policy":null,"reasons":[]"#) }
    out.append(#","policy":"#)
    out.appendJSONString(first)
    out.append(#","reasons":["#)
    for place in policies.indices {
      if place > 0 { out.append(0x2c) }
      out.appendJSONString(policies[place])
    }
    out.append(0x5d)
  }

  @inline(__always)
  fileprivate func appendServices(to out: inout OutputSpan<UInt8>) {
    out.append(#","services":["#)
    for place in services.indices {
      if place > 0 { out.append(0x2c) }
      services[place].withRawBytes { out.appendJSONString($0) }
    }
    out.append(0x5d)
  }

  @inline(__always)
  fileprivate func appendRoot(to out: inout OutputSpan<UInt8>) {
    out.append(#","root":{"service":"#)
    rootService.withRawBytes { out.appendJSONString($0) }
    out.append(#","operation":"#)
    rootOperation.withRawBytes { out.appendJSONString($0) }
    out.append(0x7d)
  }

  @inline(__always)
  fileprivate func appendOrigin(to out: inout OutputSpan<UInt8>) {
    guard let origin else { return out.append(#","error_origin":null"#) }
    out.append(#","error_origin":{"service":"#)
    origin.service.withRawBytes { out.appendJSONString($0) }
    out.append(#","operation":"#)
    origin.operation.withRawBytes { out.appendJSONString($0) }
    out.append(#","span_id":""#)
    out.appendHexadecimal(origin.spanID, digits: 16)
    out.append(#""}"#)
  }
}

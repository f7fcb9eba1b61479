// What was decided about a trace, and how it is written down.

public import OTLP

/// A verdict with the facts behind it. Names of services and operations are only in its written form.
public struct Decision: Sendable {
  /// Why a verdict was given at this moment.
  public enum Trigger: String, Sendable, CaseIterable {
    /// The wait after the root span was over and no parent was missing.
    case root
    /// The whole wait was over.
    case wait
    /// The trace went over a limit.
    case limit
    /// Memory had to be freed.
    case memory
    /// A span made the verdict certain while the window was open.
    case eager
    /// A span came after the trace was dropped, and a policy would keep it now.
    case late
  }

  /// The trace.
  public var traceID: TraceID
  /// Whether the trace is kept.
  public var isKept: Bool
  /// Whether this is the trace's last word. Exactly one record of a trace is.
  public var isFinal: Bool
  /// Why now.
  public var trigger: Trigger
  /// Bit *i* is set if policy *i* samples the trace; if a policy took the trace away, only that one's is.
  /// Of a late record, if policy *i* would keep it now.
  public var matches: UInt64
  /// The threshold that the trace was kept with, head sampling included.
  public var threshold: SamplingThreshold
  /// Spans seen.
  public var spanCount: Int
  /// Spans with status ERROR seen.
  public var errorCount: Int
  /// Bytes of spans seen, with their share of resources and scopes.
  public var byteCount: Int
  /// Spans left out of a skeleton.
  public var truncatedCount: Int
  /// Kept spans that were left out because their topic takes no record as large as they are.
  public var tooLargeCount = 0
  /// Whether a policy took the trace away, whatever samples it.
  public var isVetoed = false
  /// Whether a span that came after the verdict made this record necessary.
  public var isLate: Bool
  /// Whether a root span came.
  public var hasRoot: Bool
  /// Start of the root span, or the earliest start of all: nanoseconds since 1970.
  public var start: UInt64
  /// Duration of the root span, or from the earliest start to the latest end: nanoseconds.
  public var duration: Int64
  /// Offset of the record with the trace's first span.
  public var firstOffset: Offset
  /// Offset of the record with its last one.
  public var lastOffset: Offset
  /// The stream clock when the trace's first span was read.
  public var openedAt: Instant
  /// The stream clock at the verdict.
  public var decidedAt: Instant
}

extension Decision {
  /// What is decided about a trace as it is known at `clock`; its state says whether it is kept.
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

/// The names that a decision is written with.
struct DecisionNames {
  var policies: [String] = []
  var services: [[UInt8]] = []
  var rootService: [UInt8] = []
  var rootOperation: [UInt8] = []
  var origin: (spanID: UInt64, service: [UInt8], operation: [UInt8])?

  /// Leaves out what makes a record shorter by `count` bytes at least, as far as there is enough: services
  /// from the end, for which `rest` stands then; then all reasons but the first, whose name is cut, and that
  /// of a skeleton.
  mutating func leaveOut(bytes count: Int, rest: [UInt8]) {
    var left = count
    if !services.isEmpty {
      left += JSONWriter.length(of: rest) + 1
      while left > 0, let service = services.popLast() { left -= JSONWriter.length(of: service) }
      services.append(rest)
    }
    // Whoever reads the record back has to know that the trace is a skeleton.
    let limit = policies.count > 1 && policies.last == Sampler.limitReason ? policies.popLast() : nil
    defer { if let limit { policies.append(limit) } }
    while left > 0, policies.count > 1 { left -= JSONWriter.length(of: policies.removeLast().utf8) }
    guard left > 0, let first = policies.first else { return }
    policies = [String(decoding: first.utf8.prefix(DecisionNames.reasonBytesMax), as: UTF8.self)]
  }

  private static let reasonBytesMax = 256
}

extension Limits {
  /// Every decision record can be made to fit this. Its names are a policy's, which stands twice, and two
  /// services' and operations', of 256 bytes each; escaped, a byte becomes six: 9,216 bytes. Everything else
  /// takes less than 1,000.
  public static let decisionBytesMin = 12_000
}

extension Decision {
  /// Appends the decision record as one line of JSON, without the line break. The field order is fixed.
  ///
  /// - Parameters:
  ///   - configuration: the version of the configuration that decided.
  ///   - isCompact: whether what only kept traces need is left out.
  func appendJSON(
    names: DecisionNames, partition: PartitionID, configuration: String, isCompact: Bool,
    to bytes: inout [UInt8]
  ) {
    var json = JSONWriter(bytes)
    bytes = []
    json.open()
    json.key("trace_id")
    json.quoted { traceID.appendHexadecimal(to: &$0) }
    json.field("verdict", text: isKept ? "keep" : "drop")
    json.field("final", flag: isFinal)
    if isVetoed { json.field("vetoed", flag: true) }
    if !isCompact || isLate {
      json.key("policy")
      if let first = names.policies.first { json.text(first.utf8) } else { json.null() }
      json.key("reasons")
      json.list(names.policies.map(\.utf8))
    }
    if !isCompact {
      json.field("probability", real: threshold.probability)
      json.key("threshold")
      if threshold == .never { json.null() } else { json.quoted { threshold.appendHexadecimal(to: &$0) } }
      json.field("adjusted_count", real: threshold.adjustedCount)
    }
    json.field("span_count", integer: Int64(spanCount))
    json.field("error_count", integer: Int64(errorCount))
    json.field("byte_count", integer: Int64(byteCount))
    if !isCompact {
      json.key("services")
      json.list(names.services)
    }
    json.key("root")
    if hasRoot {
      json.open()
      json.key("service")
      json.text(names.rootService)
      json.key("operation")
      json.text(names.rootOperation)
      json.close()
    } else {
      json.null()
    }
    if !isCompact {
      json.key("start_time")
      json.quoted { Instant(nanoseconds: Int64(clamping: start)).appendRFC3339(to: &$0) }
      json.field("duration_ns", integer: duration)
      json.key("error_origin")
      appendOrigin(names, to: &json)
    }
    json.field("trigger", text: trigger.rawValue)
    json.field("late", flag: isLate)
    json.field("truncated_spans", integer: Int64(truncatedCount))
    if !isCompact { json.field("too_large_spans", integer: Int64(tooLargeCount)) }
    json.field("partition", integer: Int64(partition.value))
    json.field("first_offset", integer: firstOffset.value)
    json.field("last_offset", integer: lastOffset.value)
    json.key("decided_at")
    json.quoted { decidedAt.appendRFC3339(to: &$0) }
    json.field("config", text: configuration)
    json.close()
    bytes = json.bytes
  }

  private func appendOrigin(_ names: DecisionNames, to json: inout JSONWriter) {
    guard let origin = names.origin else { return json.null() }
    json.open()
    json.key("service")
    json.text(origin.service)
    json.key("operation")
    json.text(origin.operation)
    json.key("span_id")
    json.quoted { Hexadecimal.append(origin.spanID, digits: 16, to: &$0) }
    json.close()
  }
}

extension [UInt8] {
  /// Appends `value` in decimal digits, without a string in between.
  mutating func appendDecimal(_ value: Int64) {
    // The longest has 19 digits; they come from the last to the first.
    var digits: [19 of UInt8] = .init(repeating: 0)
    var first = digits.count
    var rest = value.magnitude
    repeat {
      first -= 1
      digits[first] = 0x30 &+ UInt8(truncatingIfNeeded: rest % 10)
      rest /= 10
    } while rest > 0
    append(addingCapacity: 20) { out in
      if value < 0 { out.append(0x2d) }
      for place in first..<digits.count { out.append(digits[place]) }
    }
  }
}

extension OutputSpan<UInt8> {
  /// Appends the text's bytes.
  @inline(__always)
  fileprivate mutating func append(_ text: StaticString) {
    invariant(freeCapacity >= text.utf8CodeUnitCount, "no room for \(text)")
    // Sound: the text's own bytes are copied to the free part, which has room for them.
    unsafe withUnsafeMutableBufferPointer { buffer, count in
      let source = unsafe UnsafeRawBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount)
      unsafe UnsafeMutableRawBufferPointer(rebasing: UnsafeMutableRawBufferPointer(buffer)[count...])
        .copyMemory(from: source)
      count += source.count
    }
  }
}

/// Writes JSON objects in one pass.
struct JSONWriter {
  private(set) var bytes: [UInt8]
  private var needsComma = false

  init(_ bytes: consuming [UInt8]) {
    self.bytes = bytes
  }

  mutating func open() {
    bytes.append(0x7b)
    needsComma = false
  }

  mutating func close() {
    bytes.append(0x7d)
    needsComma = true
  }

  mutating func key(_ name: StaticString) {
    let isFollowing = needsComma
    needsComma = true
    bytes.append(addingCapacity: name.utf8CodeUnitCount + 4) { out in
      if isFollowing { out.append(0x2c) }
      out.append(0x22)
      out.append(name)
      out.append(0x22)
      out.append(0x3a)
    }
  }

  mutating func null() {
    append("null")
  }

  mutating func field(_ name: StaticString, integer value: Int64) {
    key(name)
    bytes.appendDecimal(value)
  }

  /// Writes the shortest decimal that reads back as `value`; whole numbers without a fraction.
  mutating func field(_ name: StaticString, real value: Double) {
    key(name)
    let text = value == value.rounded() && abs(value) < 1e15 ? String(Int64(value)) : "\(value)"
    bytes.append(contentsOf: text.utf8)
  }

  mutating func field(_ name: StaticString, flag value: Bool) {
    key(name)
    append(value ? "true" : "false")
  }

  mutating func field(_ name: StaticString, text value: String) {
    key(name)
    text(value.utf8)
  }

  mutating func list(_ texts: [some Collection<UInt8>]) {
    bytes.append(0x5b)
    for (place, text) in texts.enumerated() {
      if place > 0 { bytes.append(0x2c) }
      self.text(text)
    }
    bytes.append(0x5d)
  }

  mutating func quoted(_ body: (inout [UInt8]) -> Void) {
    bytes.append(0x22)
    body(&bytes)
    bytes.append(0x22)
  }

  /// Writes a JSON string. Bytes that are not UTF-8 become the replacement character: a producer's span name
  /// must not make a record that no reader can parse.
  mutating func text(_ text: some Collection<UInt8>) {
    bytes.append(0x22)
    let isPlain = text.allSatisfy { $0 >= 0x20 && $0 < 0x7f && $0 != 0x22 && $0 != 0x5c }
    if isPlain {
      bytes.append(contentsOf: text)
    } else {
      for byte in String(decoding: text, as: UTF8.self).utf8 { appendEscaped(byte) }
    }
    bytes.append(0x22)
  }

  /// How many bytes `text` takes at the least, with its quotation marks.
  static func length(of text: some Collection<UInt8>) -> Int {
    var json = JSONWriter([])
    json.text(text)
    return json.bytes.count
  }

  private mutating func appendEscaped(_ byte: UInt8) {
    switch byte {
    case 0x22, 0x5c:
      bytes.append(0x5c)
      bytes.append(byte)
    case 0..<0x20, 0x7f:
      append("\\u00")
      Hexadecimal.append(UInt64(byte), digits: 2, to: &bytes)
    default:
      bytes.append(byte)
    }
  }

  private mutating func append(_ text: StaticString) {
    // Sound: the buffer is the static string's own bytes, copied inside the closure.
    text.withUTF8Buffer { unsafe bytes.append(contentsOf: $0) }
  }
}

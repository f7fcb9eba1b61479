// What policies test on single spans and resources. A match is a bit that stays set on the trace.

import Expressions
import Invariants
import OTLP

/// A test of a span or a resource; the first match settles it for the trace.
enum SpanPredicate: Equatable {
  case integer(key: String, range: ClosedRange<Int64>)
  case boolean(key: String, value: Bool)
  case text(key: String, values: [String])
  case pattern(key: String, patterns: [String])
  case traceState(key: String, values: [String])
  case sampledFlag
  case conditions(ConditionGroup)
  /// Whether evaluation of the conditions failed before one of them held.
  case failure(of: ConditionGroup)

  /// The attribute that it tests, if any.
  fileprivate var attributeKey: String? {
    switch self {
    case .integer(let key, _), .boolean(let key, _), .text(let key, _), .pattern(let key, _): key
    case .traceState, .sampledFlag, .conditions, .failure: nil
    }
  }
}

/// The conditions of one `ottl_condition` policy.
struct ConditionGroup: Equatable {
  var spans: [OTTLCondition]
  var events: [OTTLCondition]
  var errorMode: ConditionErrorMode
}

/// How matches are carried over when predicates are replaced.
struct PredicateMove {
  /// The old and new bit of each predicate that stays.
  private var stays: [(before: UInt64, now: UInt64)] = []
  /// The new bits of predicates that were tested before.
  private(set) var asked: UInt64 = 0
  /// Whether there are predicates that were not tested before.
  let hasNew: Bool
  /// Whether policies that decide have some that such policies had not before. One that only shadow policies
  /// had counts as new: they must change nothing, not even later.
  var hasNewDeciding: Bool { newDeciding != 0 }
  /// The new bits of these.
  private(set) var newDeciding: UInt64 = 0

  /// - Parameter deciding: how many of each, from the first, are of policies that decide; nil for all.
  init(
    from before: [SpanPredicate], to now: [SpanPredicate], deciding: (before: Int, now: Int)? = nil
  ) {
    hasNew = now.contains { !before.contains($0) }
    let decided = before.prefix(deciding?.before ?? before.count)
    for (place, predicate) in now.prefix(deciding?.now ?? now.count).enumerated()
    where !decided.contains(predicate) { newDeciding |= 1 << UInt64(place) }
    for (place, predicate) in now.enumerated() {
      guard let earlier = before.firstIndex(of: predicate) else { continue }
      stays.append((1 << UInt64(earlier), 1 << UInt64(place)))
      asked |= 1 << UInt64(place)
    }
  }

  /// A trace's matches in the new bits.
  func callAsFunction(_ matches: UInt64) -> UInt64 {
    stays.reduce(0) { $0 | (matches & $1.before != 0 ? $1.now : 0) }
  }
}

/// All predicates of a policy set. Predicate *i* has bit *i*.
struct SpanPredicates {
  /// The maximum number of predicates: a trace's matches fit in one word.
  static let countMax = 64

  private enum Test {
    case integer(ClosedRange<Int64>)
    case boolean(Bool)
    /// The index into `texts` of the values.
    case text(Int)
    /// Indices into `matchers`.
    case pattern(Range<Int>)
  }

  /// An attribute's test and its bit.
  private struct AttributeTest {
    var bit: UInt64
    var test: Test
  }

  private struct TraceStateTest {
    var bit: UInt64
    var key: [UInt8]
    var values: TextSet
  }

  private struct ConditionTest {
    var bit: UInt64
    /// Zero if errors count as no match.
    var failure: UInt64
    var set: SpanConditionSet
    var areErrorsSaid: Bool
  }

  /// Predicate *i* has bit *i*.
  private let predicates: [SpanPredicate]
  /// So many of them, from the first, are of policies that decide.
  private let decidingCount: Int
  private var attributes: WantedAttributes
  /// The tests of attribute key *i* are `testsOfKey[i]` in `tests`.
  private var testsOfKey: [Range<Int>] = []
  private var tests: [AttributeTest] = []
  private var texts: [TextSet] = []
  private var matchers: [RegularExpressionMatcher] = []
  private var traceStateTests: [TraceStateTest] = []

  /// The bits that attributes can set.
  private(set) var attributeBits: UInt64 = 0
  private var conditionTests: [ConditionTest] = []
  private var traceStateBits: UInt64 = 0
  private var conditionBits: UInt64 = 0
  /// Conditions that could not be evaluated.
  private(set) var conditionErrors: UInt64 = 0
  /// Those of them to log.
  private(set) var conditionErrorsSaid: UInt64 = 0
  private var sampledFlagBit: UInt64 = 0

  /// - Parameter deciding: how many of them, from the first, are of policies that decide; nil for all.
  init(_ predicates: [SpanPredicate], deciding: Int? = nil) {
    invariant(predicates.count <= SpanPredicates.countMax, "\(predicates.count) predicates are too many")
    self.predicates = predicates
    decidingCount = deciding ?? predicates.count
    var keys: [String] = []
    for case let key? in predicates.map(\.attributeKey) where !keys.contains(key) { keys.append(key) }
    attributes = WantedAttributes(keys: keys)
    for key in keys {
      let start = tests.count
      for (number, predicate) in predicates.enumerated() where predicate.attributeKey == key {
        add(predicate, bit: 1 << UInt64(number))
      }
      testsOfKey.append(start..<tests.count)
    }
    for (number, predicate) in predicates.enumerated() where predicate.attributeKey == nil {
      guard case .conditions(let group) = predicate else {
        add(predicate, bit: 1 << UInt64(number))
        continue
      }
      let failure = predicates.firstIndex(of: .failure(of: group))
      conditionTests.append(
        ConditionTest(
          bit: 1 << UInt64(number), failure: failure.map { 1 << UInt64($0) } ?? 0,
          set: SpanConditionSet(spans: group.spans, events: group.events, errorMode: group.errorMode),
          areErrorsSaid: group.errorMode != .silent))
      conditionBits |= 1 << UInt64(number)
    }
  }

  private mutating func add(_ predicate: SpanPredicate, bit: UInt64) {
    switch predicate {
    case .integer(_, let range): addAttribute(.integer(range), bit)
    case .boolean(_, let value): addAttribute(.boolean(value), bit)
    case .text(_, let values):
      addAttribute(.text(texts.count), bit)
      texts.append(TextSet(values))
    case .pattern(_, let patterns):
      let start = matchers.count
      for pattern in patterns {
        do {
          matchers.append(try RegularExpression(pattern).makeMatcher())
        } catch { invariant(false, "a pattern was not checked: \(error)") }
      }
      addAttribute(.pattern(start..<matchers.count), bit)
    case .traceState(let key, let values):
      // A member has at most 256 characters, including the equals sign.
      let possible = values.filter { key.utf8.count + $0.utf8.count < 256 }
      traceStateTests.append(TraceStateTest(bit: bit, key: Array(key.utf8), values: TextSet(possible)))
      traceStateBits |= bit
    case .sampledFlag: sampledFlagBit |= bit
    case .conditions, .failure: break
    }
  }

  private mutating func addAttribute(_ test: Test, _ bit: UInt64) {
    tests.append(AttributeTest(bit: bit, test: test))
    attributeBits |= bit
  }

  /// Replaces `earlier`, and continues its counts.
  ///
  /// - Returns: how to carry over its matches.
  mutating func succeed(_ earlier: SpanPredicates) -> PredicateMove {
    conditionErrors = earlier.conditionErrors
    conditionErrorsSaid = earlier.conditionErrorsSaid
    return PredicateMove(
      from: earlier.predicates, to: predicates, deciding: (earlier.decidingCount, decidingCount))
  }

  /// Whether there are any, so that spans have to be read one by one.
  var readsSpans: Bool { !predicates.isEmpty }

  /// The automata of all its regular expressions.
  var automata: [SharedAutomaton] {
    matchers.map(\.automaton) + conditionTests.flatMap(\.set.automata)
  }

  // MARK: Matching

  /// Prepares for the spans of another record.
  @inline(__always)
  mutating func startRecord() {
    guard !conditionTests.isEmpty else { return }
    for place in conditionTests.indices { conditionTests[place].set.startRecord() }
  }

  /// Tests a span against the predicates that have not matched yet, and adds new matches to `matches`.
  @inline(__always)
  mutating func match(
    _ span: SpanView, of record: ScannedRecord, _ bytes: RawSpan, into matches: inout UInt64
  ) {
    let open = ~matches
    if sampledFlagBit & open != 0, span.flags & 1 == 1 { matches |= sampledFlagBit }
    if traceStateBits & open != 0, span.traceState.count > 0 { matchTraceState(span, of: bytes, &matches) }
    if attributeBits & open != 0 {
      attributes.read(span, of: bytes)
      matchAttributes(of: bytes, isSpan: true, &matches)
    }
    if conditionBits & open != 0 { matchConditions(span, of: record, bytes, &matches) }
  }

  private mutating func matchConditions(
    _ span: SpanView, of record: ScannedRecord, _ bytes: RawSpan, _ matches: inout UInt64
  ) {
    let (resource, scope) = (record.resourceFields(of: span), record.scopeFields(of: span))
    for place in conditionTests.indices {
      let test = (bit: conditionTests[place].bit, failure: conditionTests[place].failure)
      guard matches & (test.bit | test.failure) == 0 else { continue }
      let before = conditionTests[place].set.errorCount
      switch conditionTests[place].set.outcome(of: span, resource: resource, scope: scope, in: bytes) {
      case .matches: matches |= test.bit
      case .doesNotMatch: break
      case .failed: matches |= test.failure
      }
      let errors = conditionTests[place].set.errorCount - before
      guard errors > 0 else { continue }
      conditionErrors += errors
      if conditionTests[place].areErrorsSaid { conditionErrorsSaid += errors }
    }
  }

  /// The matches of a resource.
  mutating func matches(_ resource: ResourceView, of record: ScannedRecord, _ bytes: RawSpan) -> UInt64 {
    var matches: UInt64 = 0
    attributes.read(resource, of: record, bytes)
    matchAttributes(of: bytes, isSpan: false, &matches)
    return matches
  }

  private func matchAttributes(of bytes: RawSpan, isSpan: Bool, _ matches: inout UInt64) {
    for place in attributes.found.indices {
      let found = attributes.found[place]
      for number in testsOfKey[found.key] where tests[number].bit & matches == 0 {
        let isMatch =
          switch (tests[number].test, found.value) {
          case (.integer(let range), .integer(let value)): range.contains(value)
          case (.boolean(let wanted), .boolean(let value)): value == wanted
          case (.text(let set), .string(let text)): texts[set].contains(bytes.extracting(text.indices))
          // As in the Collector: an empty string on a span matches no pattern.
          case (.pattern, .string(let text)) where isSpan && text.count == 0: false
          case (.pattern(let range), .string(let text)): isFound(range, in: bytes.extracting(text.indices))
          default: false
          }
        if isMatch { matches |= tests[number].bit }
      }
    }
  }

  private func isFound(_ patterns: Range<Int>, in text: RawSpan) -> Bool {
    for number in patterns where matchers[number].matches(text) { return true }
    return false
  }

  private func matchTraceState(_ span: SpanView, of bytes: RawSpan, _ matches: inout UInt64) {
    let list = TraceStateList(span.traceState, of: bytes)
    for test in traceStateTests where test.bit & matches == 0 {
      let isMatch = test.key.withRawBytes { key in
        guard let value = list.value(of: key, in: bytes) else { return false }
        return test.values.contains(bytes.extracting(value.indices))
      }
      if isMatch { matches |= test.bit }
    }
  }
}

/// A set of strings, looked up by their bytes. It never holds the empty string.
struct TextSet {
  private let texts: [[UInt8]]

  init(_ texts: [String]) {
    self.texts = Set(texts).subtracting([""]).map { Array($0.utf8) }.sorted(by: TextSet.isOrdered)
  }

  /// Shorter ones first: the length settles nearly all lookups.
  private static func isOrdered(_ left: [UInt8], _ right: [UInt8]) -> Bool {
    left.count != right.count ? left.count < right.count : left.lexicographicallyPrecedes(right)
  }

  func contains(_ text: RawSpan) -> Bool {
    var (low, high) = (0, texts.count)
    while low < high {
      let middle = (low + high) / 2
      let order = texts[middle].withRawBytes { $0.order(to: text) }
      if order == 0 { return true }
      if order < 0 { low = middle + 1 } else { high = middle }
    }
    return false
  }
}

extension RawSpan {
  /// Negative, zero or positive if these bytes sort before `other`, equal it, or sort after it: by length
  /// first.
  fileprivate func order(to other: RawSpan) -> Int {
    guard byteCount == other.byteCount else { return byteCount - other.byteCount }
    for offset in 0..<byteCount {
      let (left, right) = (byte(at: offset), other.byte(at: offset))
      if left != right { return Int(left) - Int(right) }
    }
    return 0
  }
}

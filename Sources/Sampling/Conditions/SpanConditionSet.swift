// The conditions of one `ottl_condition` policy, evaluated span by span on the bytes of a record.

import OTLP

/// What a policy's conditions say about a span and its events.
enum ConditionOutcome: Equatable, Sendable {
  /// At least one holds.
  case matches
  /// None holds.
  case doesNotMatch
  /// Evaluating failed, and the error mode is `propagate`: the policy must not sample the trace for this span
  /// or a later one.
  case failed
}

/// All conditions of a policy, compiled into one table of steps. They share what is read of a span.
///
/// Evaluating allocates nothing, except for `IsMatch` on a float.
struct SpanConditionSet {
  private let errorMode: ConditionErrorMode
  /// What has to be read before the conditions can be evaluated.
  let requirements: ConditionRequirements
  private(set) var errorCount: UInt64 = 0
  /// The latest error.
  private(set) var lastError: EvaluationError?

  private var facts: ConditionFacts
  private var steps: [OTTLStep] = []
  private var calls: [OTTLCall] = []
  private var matchers: [RegularExpressionMatcher] = []
  /// The first `literalBytes` are the conditions' literals; behind them stands what is made for one test.
  private var texts: [UInt8] = []
  private let literalBytes: Int
  /// What steps and calls have answered, as far as it lasts.
  private var stepAnswers = ConditionAnswers<Bool>()
  private var callAnswers = ConditionAnswers<ConditionValue>()
  /// The resource and the scope of the span before.
  private var place: (resource: UInt32, scope: UInt32)?
  private var spanEntries: [Int] = []
  private var eventEntries: [Int] = []

  /// - Parameters:
  ///   - spans: conditions of which each span is asked.
  ///   - events: conditions of which each event of each span is asked.
  init(spans: [OTTLCondition], events: [OTTLCondition], errorMode: ConditionErrorMode) {
    invariant(
      spans.allSatisfy { $0.context == .span } && events.allSatisfy { $0.context == .spanEvent },
      "a condition of the other context")
    self.errorMode = errorMode
    var requirements = ConditionRequirements()
    for condition in spans + events { requirements.formUnion(condition.requirements) }
    self.requirements = requirements
    facts = ConditionFacts(requirements)
    literalBytes = (spans + events).reduce(0) { $0 + $1.program.texts.count }
    texts.reserveCapacity(literalBytes + 1024)
    spanEntries = spans.map { append($0.program) }
    eventEntries = events.map { append($0.program) }
  }

  /// Appends a program's tables to the set's, its indices moved up, and returns its entry.
  private mutating func append(_ program: OTTLProgram) -> Int {
    let base = (step: steps.count, call: calls.count, pattern: matchers.count, text: texts.count)
    func moved(_ range: ByteRange) -> ByteRange {
      ByteRange(offset: range.offset + UInt32(truncatingIfNeeded: base.text), count: range.count)
    }
    var lookups: [OTTLCall] = []
    func moved(_ operand: OTTLOperand) -> OTTLOperand {
      switch operand {
      case .text(let range): return .text(moved(range))
      case .traceStateMember(let range):
        lookups.append(.traceStateMember(moved(range)))
        return .call(base.call + program.calls.count + lookups.count - 1)
      case .attribute(let index): return .attribute(facts.slot(of: program.attributes[index]))
      case .call(let index): return .call(index + base.call)
      case .null, .integer, .double, .boolean, .duration, .field: return operand
      }
    }
    func moved(_ target: Int) -> Int { target < 0 ? target : target + base.step }
    steps += program.steps.map { step in
      let test: OTTLTest =
        switch step.test {
        case .compare(let comparison, let left, let right): .compare(comparison, moved(left), moved(right))
        case .call(let index): .call(index + base.call)
        }
      return OTTLStep(test: test, ifTrue: moved(step.ifTrue), ifFalse: moved(step.ifFalse))
    }
    for step in program.steps { stepAnswers.add(program.reach(of: step.test)) }
    calls += program.calls.map { call in
      switch call {
      case .traceStateMember(let range): .traceStateMember(moved(range))
      case .isMatch(let target, let pattern): .isMatch(moved(target), pattern: pattern + base.pattern)
      case .isOfType(let target, let type): .isOfType(moved(target), type)
      case .length(let target): .length(moved(target))
      case .isRootSpan: .isRootSpan
      }
    }
    calls += lookups
    for call in program.calls + lookups { callAnswers.add(program.reach(of: call)) }
    matchers += program.patterns.map { $0.makeMatcher() }
    texts += program.texts
    return moved(program.entry)
  }

  /// The states of its regular expressions.
  var automata: [SharedAutomaton] { matchers.map(\.automaton) }

  /// How many bytes and program parts its patterns have looked at: the measure of their work.
  var patternSteps: Int { matchers.reduce(0) { $0 + $1.steps } }

  /// Announces the spans of another record.
  mutating func startRecord() {
    facts.startRecord()
    place = nil
  }

  /// Whether any of the conditions holds for `span` or for one of its events.
  ///
  /// In the modes `ignore` and `silent` a condition that fails counts as false, and so do all of a span's or
  /// an event's conditions where its bytes can't be read.
  ///
  /// - Parameters:
  ///   - resource: the fields of the span's `ResourceSpans`, in runs of whole fields; not looked at unless
  ///     `requirements.needsResource`.
  ///   - scope: the fields of its `ScopeSpans` alike; not looked at unless `requirements.needsScope`.
  ///   - bytes: the record that all of them lie in.
  mutating func outcome(
    of span: SpanView, resource: ArraySlice<ByteRange>, scope: ArraySlice<ByteRange>, in bytes: RawSpan
  ) -> ConditionOutcome {
    if place.map({ $0 != (span.resource, span.scope) }) ?? true {
      place = (span.resource, span.scope)
      stepAnswers.startScope()
      callAnswers.startScope()
    }
    stepAnswers.startSpan()
    callAnswers.startSpan()
    do {
      try facts.read(span, resource: resource, scope: scope, in: bytes)
    } catch {
      return note(error)
    }
    let own = outcome(of: spanEntries, span, in: bytes)
    guard own == .doesNotMatch, !eventEntries.isEmpty else { return own }
    do {
      var fields = ConditionFields(span.content)
      while let field = try fields.next(in: bytes) {
        guard field.number == 11 else { continue }
        let event = outcome(ofEvent: try field.message(), span, in: bytes)
        guard event == .doesNotMatch else { return event }
      }
    } catch {
      return note(error)
    }
    return .doesNotMatch
  }

  private mutating func outcome(
    ofEvent content: ByteRange, _ span: SpanView, in bytes: RawSpan
  ) -> ConditionOutcome {
    do {
      try facts.readEvent(content, in: bytes)
    } catch {
      return note(error)
    }
    return outcome(of: eventEntries, span, in: bytes)
  }

  private mutating func outcome(
    of entries: [Int], _ span: SpanView, in bytes: RawSpan
  ) -> ConditionOutcome {
    for entry in entries {
      do {
        if try holds(from: entry, span, in: bytes) { return .matches }
      } catch {
        guard note(error) == .doesNotMatch else { return .failed }
      }
    }
    return .doesNotMatch
  }

  private mutating func note(_ error: EvaluationError) -> ConditionOutcome {
    errorCount += 1
    lastError = error
    return errorMode == .propagate ? .failed : .doesNotMatch
  }

  // MARK: Evaluation

  private mutating func holds(
    from entry: Int, _ span: SpanView, in bytes: RawSpan
  ) throws(EvaluationError) -> Bool {
    var next = entry
    while next >= 0 {
      let isTrue: Bool
      if let noted = try stepAnswers.noted(next) {
        isTrue = noted
      } else {
        let answer = answer(of: steps[next].test, span, in: bytes)
        stepAnswers.note(answer, of: next)
        isTrue = try answer.get()
      }
      next = isTrue ? steps[next].ifTrue : steps[next].ifFalse
    }
    return next == OTTLStep.accept
  }

  private mutating func answer(
    of test: OTTLTest, _ span: SpanView, in bytes: RawSpan
  ) -> Result<Bool, EvaluationError> {
    defer { if texts.count > literalBytes { forgetOwnTexts() } }
    do {
      switch test {
      case .call(let index): return .success(try result(ofCall: index, span, in: bytes) == .boolean(true))
      case .compare(let comparison, let left, let right):
        let left = try value(left, span, in: bytes)
        let right = try value(right, span, in: bytes)
        return .success(
          try texts.withRawBytes { own throws(EvaluationError) in
            try comparison.holds(left, right, in: bytes, own: own)
          })
      }
    } catch {
      return .failure(error)
    }
  }

  private mutating func value(
    _ operand: OTTLOperand, _ span: SpanView, in bytes: RawSpan
  ) throws(EvaluationError) -> ConditionValue {
    switch operand {
    case .null: .missing
    case .text(let range): .ownText(range)
    case .integer(let integer): .integer(integer)
    case .double(let double): .double(double)
    case .boolean(let boolean): .boolean(boolean)
    case .duration(let nanoseconds): .duration(nanoseconds)
    case .field(let field): try value(of: field, span, in: bytes)
    case .attribute(let slot): facts.value(slot)
    case .traceStateMember(let key): traceStateMember(key, of: span, in: bytes)
    case .call(let index): try result(ofCall: index, span, in: bytes)
    }
  }

  private mutating func forgetOwnTexts() {
    texts.removeLast(texts.count - literalBytes)
    // A byte string of megabytes is written in digits: what that took is not kept for the next one.
    if texts.capacity > SpanConditionSet.ownTextBytesKept + literalBytes {
      let literals = texts
      texts = []
      texts.reserveCapacity(literalBytes + 1024)
      texts += literals
    }
  }

  private static let ownTextBytesKept = 64 << 10

  private func traceStateMember(_ key: ByteRange, of span: SpanView, in bytes: RawSpan) -> ConditionValue {
    texts.withRawBytes { own in
      TraceStateEntry.value(of: own.extracting(key.indices), in: span.traceState, of: bytes)
    }
  }

  private mutating func value(
    of field: OTTLField, _ span: SpanView, in bytes: RawSpan
  ) throws(EvaluationError) -> ConditionValue {
    switch field {
    case .spanName: .string(span.name)
    case .kind: .integer(Int64(span.kind))
    case .kindText: kindName(SpanKindName.texts, span.kind)
    case .kindSymbol: kindName(SpanKindName.symbols, span.kind)
    case .statusCode: .integer(try statusCode(of: span, in: bytes))
    case .statusMessage: .string(facts.statusMessage)
    case .start: .integer(Int64(truncatingIfNeeded: span.start))
    case .end: .integer(Int64(truncatingIfNeeded: span.end))
    case .duration: .duration(Int64(clamping: span.duration))
    case .traceState: .string(span.traceState)
    case .traceID: ownText { span.traceID.appendHexadecimal(to: &$0) }
    case .spanID: ownText { Hexadecimal.append(span.spanID, digits: 16, to: &$0) }
    case .parentID: ownText { Hexadecimal.append(span.parentID, digits: 16, to: &$0) }
    case .eventName: .string(facts.eventName)
    case .eventTime: .integer(Int64(truncatingIfNeeded: facts.eventTime))
    case .scopeName: .string(facts.scopeName)
    case .scopeVersion: .string(facts.scopeVersion)
    }
  }

  /// The status code's number, also of a code that OTLP does not know: those few are read again.
  private func statusCode(of span: SpanView, in bytes: RawSpan) throws(EvaluationError) -> Int64 {
    guard span.status == .other else { return Int64(span.status.rawValue) }
    return try ConditionFacts.statusCode(of: span, in: bytes)
  }

  /// The kind's name; empty for a kind that has none, as in the Collector.
  private mutating func kindName(_ names: [String], _ kind: UInt8) -> ConditionValue {
    ownText { if Int(kind) < names.count { $0.append(contentsOf: names[Int(kind)].utf8) } }
  }

  /// Text that is made for one test.
  private mutating func ownText(_ append: (inout [UInt8]) -> Void) -> ConditionValue {
    let start = texts.count
    append(&texts)
    // Fits: literals of 16 KiB a condition, and what is made of one span.
    return .ownText(
      ByteRange(
        offset: UInt32(truncatingIfNeeded: start), count: UInt32(truncatingIfNeeded: texts.count - start)))
  }

  // MARK: Functions

  private mutating func result(
    ofCall index: Int, _ span: SpanView, in bytes: RawSpan
  ) throws(EvaluationError) -> ConditionValue {
    if let noted = try callAnswers.noted(index) { return noted }
    let result: Result<ConditionValue, EvaluationError>
    do {
      result = .success(try evaluate(calls[index], span, in: bytes))
    } catch {
      result = .failure(error)
    }
    callAnswers.note(result, of: index)
    return try result.get()
  }

  /// What a function gives: a number, a truth value, or text of the record; no text that was made for it.
  private mutating func evaluate(
    _ call: OTTLCall, _ span: SpanView, in bytes: RawSpan
  ) throws(EvaluationError) -> ConditionValue {
    switch call {
    case .traceStateMember(let key): return traceStateMember(key, of: span, in: bytes)
    case .isRootSpan: return .boolean(span.isRoot)
    case .isOfType(let target, let type): return .boolean(try value(target, span, in: bytes).isOf(type))
    case .length(let target):
      switch try value(target, span, in: bytes) {
      case .string(let range), .ownText(let range), .bytes(let range): return .integer(Int64(range.count))
      case .array(let content), .map(let content):
        return .integer(try ConditionValue.count(content, in: bytes))
      default: throw EvaluationError(reason: .noLength)
      }
    case .isMatch(let target, let pattern):
      return .boolean(try isMatch(value(target, span, in: bytes), pattern, in: bytes))
    }
  }

  /// Whether the pattern is found in the value's text. Nil has none; other values have the text that JSON
  /// makes of them, and byte strings are written in hexadecimal digits.
  private mutating func isMatch(
    _ value: ConditionValue, _ pattern: Int, in bytes: RawSpan
  ) throws(EvaluationError) -> Bool {
    let text: ConditionValue
    switch value {
    case .missing: return false
    case .string, .ownText: text = value
    case .boolean(let boolean): text = ownText { $0.append(contentsOf: (boolean ? "true" : "false").utf8) }
    case .integer(let integer), .duration(let integer):
      text = ownText { DecimalText.append(integer, to: &$0) }
    case .double(let double):
      // JSON has no word for it.
      guard double.isFinite else { throw EvaluationError(reason: .noText) }
      text = ownText { DecimalText.append(double, to: &$0) }
    case .bytes(let range):
      text = ownText { texts in
        for index in range.indices {
          Hexadecimal.append(UInt64(bytes.octet(at: index)), digits: 2, to: &texts)
        }
      }
    case .array(let content), .map(let content):
      throw EvaluationError(reason: .noText, offset: Int(content.offset))
    }
    guard case .ownText(let range) = text else {
      guard case .string(let range) = text else { return false }
      return matchers[pattern].matches(bytes.extracting(range.indices))
    }
    return texts.withRawBytes { matchers[pattern].matches($0.extracting(range.indices)) }
  }
}

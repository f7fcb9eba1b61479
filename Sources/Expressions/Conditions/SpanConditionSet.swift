// The conditions of one `ottl_condition` policy, evaluated span by span on the bytes of a record.

import Invariants
package import OTLP

/// The outcome of a policy's conditions for a span and its events.
package enum ConditionOutcome: Equatable, Sendable {
  /// At least one holds.
  case matches
  /// None holds.
  case doesNotMatch
  /// Evaluation failed in the error mode `propagate`: the policy must not sample the trace for this span or a
  /// later one.
  case failed
}

/// All conditions of a policy, compiled into one table of steps. They share the facts read from a span.
///
/// Evaluation allocates nothing, except for the text of a float, for parsing a float from a long text, and to
/// grow the buffer of made text.
package struct SpanConditionSet {
  private let errorMode: ConditionErrorMode
  /// What to read before the conditions can be evaluated.
  let requirements: ConditionRequirements
  package private(set) var errorCount: UInt64 = 0
  /// The latest error.
  private(set) var lastError: EvaluationError?

  var facts: ConditionFacts
  private var steps: [OTTLStep] = []
  private(set) var calls: [OTTLCall] = []
  private(set) var matchers: [RegularExpressionMatcher] = []
  /// The conditions' literals, and text made while they are evaluated.
  var texts: ConditionTexts
  /// The cached answers of steps and calls.
  private var stepAnswers = ConditionAnswers<Bool>()
  var callAnswers = ConditionAnswers<ConditionValue>()
  /// The resource and the scope of the previous span.
  private var place: (resource: UInt32, scope: UInt32)?
  private var spanEntries: [Int] = []
  private var eventEntries: [Int] = []

  /// - Parameters:
  ///   - spans: conditions to evaluate on each span.
  ///   - events: conditions to evaluate on each event of each span.
  package init(spans: [OTTLCondition], events: [OTTLCondition], errorMode: ConditionErrorMode) {
    invariant(
      spans.allSatisfy { $0.context == .span } && events.allSatisfy { $0.context == .spanEvent },
      "a condition of the other context")
    self.errorMode = errorMode
    var requirements = ConditionRequirements()
    for condition in spans + events { requirements.formUnion(condition.requirements) }
    self.requirements = requirements
    facts = ConditionFacts(requirements)
    texts = ConditionTexts(literals: (spans + events).flatMap(\.program.texts))
    var textBase = 0
    spanEntries = spans.map { append($0.program, textBase: &textBase) }
    eventEntries = events.map { append($0.program, textBase: &textBase) }
  }

  /// Appends a program's tables to the set's, with its indices shifted, and returns its entry.
  private mutating func append(_ program: OTTLProgram, textBase: inout Int) -> Int {
    let base = (step: steps.count, call: calls.count, pattern: matchers.count, text: textBase)
    textBase += program.texts.count
    func moved(_ range: ByteRange) -> ByteRange {
      ByteRange(offset: range.offset + UInt32(truncatingIfNeeded: base.text), count: range.count)
    }
    var lookups: [OTTLCall] = []
    func moved(_ operand: OTTLOperand) -> OTTLOperand {
      switch operand {
      case .text(let range): return .text(moved(range))
      case .byteString(let range): return .byteString(moved(range))
      case .traceStateMember(let range):
        lookups.append(.traceStateMember(moved(range)))
        return .call(base.call + program.calls.count + lookups.count - 1)
      case .attribute(let index): return .attribute(facts.slot(of: program.attributes[index]))
      case .call(let index): return .call(index + base.call)
      case .null, .integer, .double, .boolean, .duration, .traceID, .spanID, .field: return operand
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
    calls += program.calls.map { $0.moved({ moved($0) }, text: { moved($0) }, pattern: base.pattern) }
    calls += lookups
    for call in program.calls + lookups { callAnswers.add(program.reach(of: call)) }
    matchers += program.patterns.map { $0.makeMatcher() }
    return moved(program.entry)
  }

  /// The automata of its regular expressions.
  package var automata: [SharedAutomaton] { matchers.map(\.automaton) }

  /// How many bytes and program parts its patterns have processed: a measure of their work.
  var patternSteps: Int { matchers.reduce(0) { $0 + $1.steps } }

  /// Prepares for the spans of another record.
  package mutating func startRecord() {
    facts.startRecord()
    place = nil
  }

  /// Whether any of the conditions holds for `span` or for one of its events.
  ///
  /// In the modes `ignore` and `silent` a condition that fails counts as false, and so do all conditions on a
  /// span or an event whose bytes can't be read.
  ///
  /// - Parameters:
  ///   - resource: the fields of the span's `ResourceSpans`, in runs of whole fields; not read unless
  ///     `requirements.needsResource`.
  ///   - scope: the same for its `ScopeSpans`; not read unless `requirements.needsScope`.
  ///   - bytes: the record that contains all of them.
  package mutating func outcome(
    of span: SpanView, resource: ArraySlice<ByteRange>, scope: ArraySlice<ByteRange>, in bytes: RawSpan
  ) -> ConditionOutcome {
    if place.map({ $0 != (span.resource, span.scope) }) ?? true {
      place = (span.resource, span.scope)
      stepAnswers.startScope()
      callAnswers.startScope()
      texts.forget(.scope)
    }
    stepAnswers.startSpan()
    callAnswers.startSpan()
    // At the end, so that nothing of a large span is held until the next one arrives.
    defer { texts.forget(.span) }
    do {
      try facts.read(span, resource: resource, scope: scope, in: bytes)
    } catch {
      return note(EvaluationError(error))
    }
    let own = outcome(of: spanEntries, span, in: bytes)
    guard own == .doesNotMatch, !eventEntries.isEmpty else { return own }
    do throws(MalformedInput) {
      var cursor = WireCursor(span.content)
      while let content = try cursor.next(SpanField.events, in: bytes) {
        let event = outcome(ofEvent: content, span, in: bytes)
        guard event == .doesNotMatch else { return event }
      }
    } catch {
      return note(EvaluationError(error))
    }
    return .doesNotMatch
  }

  private mutating func outcome(
    ofEvent content: ByteRange, _ span: SpanView, in bytes: RawSpan
  ) -> ConditionOutcome {
    do {
      try facts.readEvent(content, in: bytes)
    } catch {
      return note(EvaluationError(error))
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
    defer { texts.forget(.event) }
    do {
      switch test {
      case .call(let index): return .success(try result(ofCall: index, span, in: bytes) == .boolean(true))
      case .compare(let comparison, let left, let right):
        let left = try value(left, span, in: bytes)
        let right = try value(right, span, in: bytes)
        return .success(
          try texts.bytes.withRawBytes { own throws(EvaluationError) in
            try comparison.holds(left, right, in: bytes, own: own)
          })
      }
    } catch {
      return .failure(error)
    }
  }
}

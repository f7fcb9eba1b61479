// Answers that stay valid for all events of a span, or all spans of a resource.
//
// A condition on events may depend on its span, and one on spans on its resource: megabytes of text,
// evaluated again for each of a million events. So an answer is cached as long as its inputs stay the same,
// and the time for a record is proportional to its size.

import OTLP

/// What an answer depends on. In order: with several inputs an answer lasts as long as the shortest-lived.
enum AnswerReach: Int, Comparable {
  /// Literals, the resource and the scope.
  case scope
  case span
  case event

  static func < (left: AnswerReach, right: AnswerReach) -> Bool { left.rawValue < right.rawValue }
}

/// Answers by the numbers of steps or calls.
struct ConditionAnswers<Answer> {
  /// By number; nil until evaluated, and for all that depend on an event.
  private var answers: [Result<Answer, EvaluationError>?] = []
  private var reaches: [AnswerReach] = []
  /// The numbers of answers that last for a span, and for a scope.
  private var ofSpan: [Int] = []
  private var ofScope: [Int] = []

  /// Adds a number.
  mutating func add(_ reach: AnswerReach) {
    switch reach {
    case .scope: ofScope.append(answers.count)
    case .span: ofSpan.append(answers.count)
    case .event: break
    }
    answers.append(nil)
    reaches.append(reach)
  }

  func reach(of number: Int) -> AnswerReach { reaches[number] }

  /// The cached answer, if any.
  func noted(_ number: Int) throws(EvaluationError) -> Answer? {
    guard let noted = answers[number] else { return nil }
    return try noted.get()
  }

  /// Caches an answer, unless it depends on an event.
  mutating func note(_ answer: Result<Answer, EvaluationError>, of number: Int) {
    if reaches[number] != .event { answers[number] = answer }
  }

  /// Forgets answers that depend on the previous span.
  mutating func startSpan() {
    for number in ofSpan { answers[number] = nil }
  }

  /// Forgets answers that depend on the previous scope or its resource.
  mutating func startScope() {
    for number in ofScope { answers[number] = nil }
  }
}

extension OTTLProgram {
  /// What a test depends on.
  func reach(of test: OTTLTest) -> AnswerReach {
    switch test {
    case .compare(_, let left, let right): max(reach(of: left), reach(of: right))
    case .call(let index): reach(of: calls[index])
    }
  }

  /// What a function's result depends on.
  func reach(of call: OTTLCall) -> AnswerReach {
    switch call {
    case .isRootSpan, .traceStateMember: .span
    default: call.operands.reduce(.scope) { max($0, reach(of: $1)) }
    }
  }

  func reach(of operand: OTTLOperand) -> AnswerReach {
    switch operand {
    case .null, .text, .byteString, .integer, .double, .boolean, .duration, .traceID, .spanID: .scope
    case .traceStateMember: .span
    case .call(let index): reach(of: calls[index])
    case .attribute(let index):
      switch attributes[index].owner {
      case .resource, .scope: .scope
      case .span: .span
      case .event: .event
      }
    case .field(let field):
      switch field {
      case .eventName, .eventTime, .eventTimeInteger: .event
      case .scopeName, .scopeVersion: .scope
      case .spanName, .kind, .kindText, .kindSymbol, .statusCode, .statusMessage, .traceState, .duration,
        .startTime, .endTime, .start, .end, .traceID, .spanID, .parentID, .traceIDText, .spanIDText,
        .parentIDText:
        .span
      }
    }
  }
}

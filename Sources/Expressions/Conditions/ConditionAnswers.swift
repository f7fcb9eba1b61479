// What stays true while a span's events, or a resource's spans, are gone through.
//
// A condition on events may ask about its span, and one on spans about its resource: text of megabytes, asked
// for again with each of a million events. So an answer is noted for as long as what it is made of stays the
// same, and a record takes time in proportion to its size.

import OTLP

/// What an answer depends on. In order: what depends on several things lasts as long as the shortest.
enum AnswerReach: Int, Comparable {
  /// Literals, the resource and the scope.
  case scope
  case span
  case event

  static func < (left: AnswerReach, right: AnswerReach) -> Bool { left.rawValue < right.rawValue }
}

/// Answers by the numbers of steps, or of calls.
struct ConditionAnswers<Answer> {
  /// By number; nil while nobody has asked, and for all that depends on an event.
  private var answers: [Result<Answer, EvaluationError>?] = []
  private var reaches: [AnswerReach] = []
  /// The numbers of what lasts for a span and for a scope.
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

  /// The answer that was noted, if there is one.
  func noted(_ number: Int) throws(EvaluationError) -> Answer? {
    guard let noted = answers[number] else { return nil }
    return try noted.get()
  }

  /// Notes an answer, unless it depends on an event.
  mutating func note(_ answer: Result<Answer, EvaluationError>, of number: Int) {
    if reaches[number] != .event { answers[number] = answer }
  }

  /// Forgets what depended on the span before.
  mutating func startSpan() {
    for number in ofSpan { answers[number] = nil }
  }

  /// Forgets what depended on the scope before, or on its resource.
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

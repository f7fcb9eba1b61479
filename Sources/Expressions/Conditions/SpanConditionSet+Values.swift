// The values of paths, functions and operators for the current span or event.

import OTLP

extension SpanConditionSet {
  /// The most elements of a list that is scanned for each span or event: otherwise the time for a record
  /// would be quadratic in its size.
  static let repeatedElementsMax: Int64 = 1024

  mutating func value(
    _ operand: OTTLOperand, _ span: SpanView, in bytes: RawSpan
  ) throws(EvaluationError) -> ConditionValue {
    switch operand {
    case .null: .missing
    case .text(let range): .ownText(range)
    case .byteString(let range): .ownBytes(range)
    case .integer(let integer): .integer(integer)
    case .double(let double): .double(double)
    case .boolean(let boolean): .boolean(boolean)
    case .duration(let nanoseconds): .duration(nanoseconds)
    case .traceID(let id): .traceID(id)
    case .spanID(let id): .spanID(id)
    case .field(let field): try value(of: field, span, in: bytes)
    case .attribute(let slot): facts.value(slot)
    case .traceStateMember(let key): traceStateMember(key, of: span, in: bytes)
    case .call(let index): try result(ofCall: index, span, in: bytes)
    }
  }

  private func traceStateMember(_ key: ByteRange, of span: SpanView, in bytes: RawSpan) -> ConditionValue {
    texts.bytes.withRawBytes { own in
      TraceStateEntry.value(of: own.extracting(key.indices), in: span.traceState, of: bytes)
    }
  }

  private mutating func value(
    of field: OTTLField, _ span: SpanView, in bytes: RawSpan
  ) throws(EvaluationError) -> ConditionValue {
    switch field {
    case .spanName: .string(span.name)
    case .kind: .integer(try kind(of: span, in: bytes))
    case .kindText: try kindName(SpanKindName.texts, span.kind)
    case .kindSymbol: try kindName(SpanKindName.symbols, span.kind)
    case .statusCode: .integer(try statusCode(of: span, in: bytes))
    case .statusMessage: .string(facts.statusMessage)
    case .startTime: .time(Int64(truncatingIfNeeded: span.start))
    case .endTime: .time(Int64(truncatingIfNeeded: span.end))
    case .start: .integer(Int64(truncatingIfNeeded: span.start))
    case .end: .integer(Int64(truncatingIfNeeded: span.end))
    case .duration: .duration(Int64(clamping: span.duration))
    case .traceState: .string(span.traceState)
    case .traceID: .traceID(span.traceID)
    case .spanID: .spanID(span.spanID)
    case .parentID: .spanID(span.parentID)
    case .traceIDText: try texts.make { span.traceID.appendHexadecimal(to: &$0) }
    case .spanIDText: try texts.make { Hexadecimal.append(span.spanID, digits: 16, to: &$0) }
    case .parentIDText: try texts.make { Hexadecimal.append(span.parentID, digits: 16, to: &$0) }
    case .eventName: .string(facts.eventName)
    case .eventTime: .time(Int64(truncatingIfNeeded: facts.eventTime))
    case .eventTimeInteger: .integer(Int64(truncatingIfNeeded: facts.eventTime))
    case .scopeName: .string(facts.scopeName)
    case .scopeVersion: .string(facts.scopeVersion)
    }
  }

  /// The status code's number. The few codes unknown to OTLP are read again.
  private func statusCode(of span: SpanView, in bytes: RawSpan) throws(EvaluationError) -> Int64 {
    guard span.status == .other else { return Int64(span.status.rawValue) }
    return try EvaluationError.reading { () throws(MalformedInput) in
      try ConditionFacts.statusCode(of: span, in: bytes)
    }
  }

  /// The kind's number. The scanner only stores small ones: the few that are larger are read again.
  private func kind(of span: SpanView, in bytes: RawSpan) throws(EvaluationError) -> Int64 {
    guard span.kind == .max else { return Int64(span.kind) }
    return try EvaluationError.reading { () throws(MalformedInput) in
      try ConditionFacts.kind(of: span, in: bytes)
    }
  }

  /// The kind's name; empty for a kind that has none, as in the Collector.
  private mutating func kindName(
    _ names: [String], _ kind: UInt8
  ) throws(EvaluationError) -> ConditionValue {
    try texts.make { if Int(kind) < names.count { $0.append(contentsOf: names[Int(kind)].utf8) } }
  }

  // MARK: Calls

  mutating func result(
    ofCall index: Int, _ span: SpanView, in bytes: RawSpan
  ) throws(EvaluationError) -> ConditionValue {
    if let noted = try callAnswers.noted(index) { return noted }
    let result: Result<ConditionValue, EvaluationError>
    do {
      result = .success(try evaluate(calls[index], span, in: bytes))
      if case .success(.ownText) = result { texts.keep(callAnswers.reach(of: index)) }
    } catch {
      result = .failure(error)
    }
    callAnswers.note(result, of: index)
    return try result.get()
  }

  /// Recursive, as deep as the parser's limit on nested calls.
  private mutating func evaluate(
    _ call: OTTLCall, _ span: SpanView, in bytes: RawSpan
  ) throws(EvaluationError) -> ConditionValue {
    switch call {
    case .traceStateMember(let key): return traceStateMember(key, of: span, in: bytes)
    case .element(let map, let keys):
      let map = try value(map, span, in: bytes)
      return try element(map, keys, in: bytes)
    case .arithmetic(let operation, let left, let right):
      return try operation(value(left, span, in: bytes), value(right, span, in: bytes))
    case .negative(let number):
      let number = try value(number, span, in: bytes)
      return try negative(number)
    case .isRootSpan: return .boolean(span.isRoot)
    case .isOfType(let target, let type): return .boolean(try value(target, span, in: bytes).isOf(type))
    case .length(let target): return .integer(try value(target, span, in: bytes).length(in: bytes))
    case .isMatch(let target, let pattern):
      return .boolean(try isMatch(value(target, span, in: bytes), pattern, in: bytes))
    case .hasAffix(let target, let affix, let isSuffix):
      let target = try value(target, span, in: bytes)
      let affix = try value(affix, span, in: bytes)
      return .boolean(try has(affix, in: target, isSuffix: isSuffix, in: bytes))
    case .containsValue(let list, let item, let isRepeated):
      let list = try value(list, span, in: bytes)
      let item = try value(item, span, in: bytes)
      return .boolean(try contains(item, list, isRepeated: isRepeated, in: bytes))
    case .isOneOf(let elements, let item):
      let item = try value(item, span, in: bytes)
      for element in elements {
        let element = try value(element, span, in: bytes)
        if try isEqual(element, item, in: bytes) { return .boolean(true) }
      }
      return .boolean(false)
    case .changeCase(let target, let isUpper):
      return try inOtherCase(value(target, span, in: bytes), isUpper: isUpper, in: bytes)
    case .convert(let target, let type):
      return try converted(value(target, span, in: bytes), to: type, in: bytes)
    case .durationAsNumber(let duration, let unit):
      guard case .duration(let nanoseconds) = try value(duration, span, in: bytes) else {
        throw EvaluationError(reason: .noDuration)
      }
      return unit.number(ofDuration: nanoseconds)
    case .timeAsInteger(let time, let unit):
      guard case .time(let nanoseconds) = try value(time, span, in: bytes) else {
        throw EvaluationError(reason: .noTime)
      }
      return .integer(unit.integer(ofTime: nanoseconds))
    }
  }

  private func element(
    _ value: ConditionValue, _ keys: [OTTLKey], in bytes: RawSpan
  ) throws(EvaluationError) -> ConditionValue {
    // A missing attribute has no elements.
    if case .missing = value { return .missing }
    return try texts.bytes.withRawBytes { own throws(EvaluationError) in
      var value = value
      for (place, key) in keys.enumerated() {
        value = try value.element(key, in: bytes, own: own)
        if case .missing = value, place + 1 < keys.count { return .missing }
      }
      return value
    }
  }

  private func negative(_ value: ConditionValue) throws(EvaluationError) -> ConditionValue {
    switch value {
    // Wraps around, as in Go.
    case .integer(let integer): .integer(0 &- integer)
    case .double(let double): .double(-double)
    default: throw EvaluationError(reason: .noNumber)
    }
  }

  private func isEqual(
    _ left: ConditionValue, _ right: ConditionValue, in bytes: RawSpan
  ) throws(EvaluationError) -> Bool {
    try texts.bytes.withRawBytes { own throws(EvaluationError) in
      try OTTLComparison.equal.holds(left, right, in: bytes, own: own)
    }
  }

  private func contains(
    _ item: ConditionValue, _ list: ConditionValue, isRepeated: Bool, in bytes: RawSpan
  ) throws(EvaluationError) -> Bool {
    guard case .array(let content) = list else { throw EvaluationError(reason: .noList) }
    var count: Int64 = 0
    var elements = ConditionElements(content)
    while let element = try elements.next(in: bytes) {
      count += 1
      guard !isRepeated || count <= SpanConditionSet.repeatedElementsMax else {
        throw EvaluationError(reason: .tooLong, offset: Int(content.offset))
      }
      if try isEqual(ConditionValue(element: element, in: bytes), item, in: bytes) { return true }
    }
    return false
  }

  // MARK: Text

  /// The place of a string: in the record, or among the evaluation's own texts.
  private typealias TextPlace = (range: ByteRange, isOwn: Bool)

  private func place(of value: ConditionValue) throws(EvaluationError) -> TextPlace {
    switch value {
    case .string(let range): (range, false)
    case .ownText(let range): (range, true)
    default: throw EvaluationError(reason: .noString)
    }
  }

  private func has(
    _ affix: ConditionValue, in target: ConditionValue, isSuffix: Bool, in bytes: RawSpan
  ) throws(EvaluationError) -> Bool {
    let (target, affix) = (try place(of: target), try place(of: affix))
    let count = affix.range.indices.count
    guard count <= target.range.indices.count else { return false }
    let start = isSuffix ? target.range.indices.upperBound - count : target.range.indices.lowerBound
    for offset in 0..<count {
      let left = octet(start + offset, isOwn: target.isOwn, in: bytes)
      let right = octet(affix.range.indices.lowerBound + offset, isOwn: affix.isOwn, in: bytes)
      if left != right { return false }
    }
    return true
  }

  private func octet(_ place: Int, isOwn: Bool, in bytes: RawSpan) -> UInt8 {
    isOwn ? texts.bytes[place] : bytes.byte(at: place)
  }

  private func withText<Answer>(
    _ place: TextPlace, in bytes: RawSpan, _ body: (RawSpan) -> Answer
  ) -> Answer {
    guard place.isOwn else { return body(bytes.extracting(place.range.indices)) }
    return texts.bytes.withRawBytes { body($0.extracting(place.range.indices)) }
  }

  private mutating func inOtherCase(
    _ value: ConditionValue, isUpper: Bool, in bytes: RawSpan
  ) throws(EvaluationError) -> ConditionValue {
    let place = try place(of: value)
    let start = place.range.indices.lowerBound
    return try texts.make { made in
      GoText.append(place.range.indices.count, isUpper: isUpper, to: &made) { offset, made in
        place.isOwn ? made[start + offset] : bytes.byte(at: start + offset)
      }
    }
  }

  private mutating func converted(
    _ value: ConditionValue, to type: OTTLType, in bytes: RawSpan
  ) throws(EvaluationError) -> ConditionValue {
    switch (type, value) {
    case (_, .missing): return .missing
    case (.string, _): return try text(of: value, in: bytes)
    case (.integer, .integer), (.double, .double): return value
    case (.integer, .boolean(let boolean)): return .integer(boolean ? 1 : 0)
    case (.double, .boolean(let boolean)): return .double(boolean ? 1 : 0)
    case (.integer, .double(let double)): return .integer(GoText.integer(double))
    case (.double, .integer(let integer)): return .double(Double(integer))
    case (.integer, .string), (.integer, .ownText):
      let integer = withText(try place(of: value), in: bytes) { GoText.integer($0) }
      return integer.map { .integer($0) } ?? .missing
    case (.double, .string), (.double, .ownText):
      let double = withText(try place(of: value), in: bytes) { GoText.double($0) }
      guard let double else { throw EvaluationError(reason: .noNumber) }
      return .double(double)
    default: throw EvaluationError(reason: .noNumber)
    }
  }

  /// A value's text: a string itself, hexadecimal digits for a byte string, JSON for others.
  private mutating func text(
    of value: ConditionValue, in bytes: RawSpan
  ) throws(EvaluationError) -> ConditionValue {
    switch value {
    case .string, .ownText: return value
    case .boolean(let boolean):
      return try texts.make { $0.append(contentsOf: (boolean ? "true" : "false").utf8) }
    case .integer(let integer), .duration(let integer):
      return try texts.make { $0.appendDecimal(integer) }
    case .double(let double):
      // JSON can't express others.
      guard double.isFinite else { throw EvaluationError(reason: .noText) }
      return try texts.make { DecimalText.append(double, to: &$0) }
    case .bytes(let range), .ownBytes(let range):
      let isOwn = if case .ownBytes = value { true } else { false }
      return try texts.make { made in
        for index in range.indices {
          let octet = isOwn ? made[index] : bytes.byte(at: index)
          Hexadecimal.append(UInt64(octet), digits: 2, to: &made)
        }
      }
    case .array, .map:
      return try texts.make { made throws(EvaluationError) in
        try JSONText.append(value, to: &made, in: bytes)
      }
    case .missing, .time, .traceID, .spanID: throw EvaluationError(reason: .noText)
    }
  }

  /// Whether the pattern matches the value's text. Nil has no text.
  private mutating func isMatch(
    _ value: ConditionValue, _ pattern: Int, in bytes: RawSpan
  ) throws(EvaluationError) -> Bool {
    if case .missing = value { return false }
    switch try text(of: value, in: bytes) {
    case .string(let range): return matchers[pattern].matches(bytes.extracting(range.indices))
    case .ownText(let range):
      return texts.bytes.withRawBytes { matchers[pattern].matches($0.extracting(range.indices)) }
    default: return false
    }
  }
}

extension ConditionValue {
  /// The number of bytes in a string or byte string, or of elements in an array or a map.
  fileprivate func length(in bytes: RawSpan) throws(EvaluationError) -> Int64 {
    switch self {
    case .string(let range), .ownText(let range), .bytes(let range), .ownBytes(let range):
      Int64(range.count)
    case .array(let content), .map(let content): try ConditionValue.count(content, in: bytes)
    default: throw EvaluationError(reason: .noLength)
    }
  }
}

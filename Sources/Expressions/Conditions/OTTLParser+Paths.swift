// Paths: what the words and keys of a path mean in a span's or a span event's condition.

import OTLP

/// One word of a path, with the keys after it.
private struct Segment {
  var name: String
  var token: OTTLToken
  /// The first token of each key, with its bytes for a string key, else an index.
  var keys: [(token: OTTLToken, text: [UInt8]?, index: Int64)] = []
}

extension OTTLParser {
  private static let spanFields: KeyValuePairs<String, OTTLField> = [
    "name": .spanName, "kind": .kind, "kind.string": .kindText, "kind.deprecated_string": .kindSymbol,
    "status.code": .statusCode, "status.message": .statusMessage, "start_time": .startTime,
    "end_time": .endTime, "start_time_unix_nano": .start, "end_time_unix_nano": .end, "duration": .duration,
    "trace_state": .traceState, "trace_id": .traceID, "trace_id.string": .traceIDText, "span_id": .spanID,
    "span_id.string": .spanIDText, "parent_span_id": .parentID, "parent_span_id.string": .parentIDText,
  ]
  private static let eventFields: KeyValuePairs<String, OTTLField> = [
    "name": .eventName, "time": .eventTime, "time_unix_nano": .eventTimeInteger,
  ]
  private static let scopeFields: KeyValuePairs<String, OTTLField> = [
    "name": .scopeName, "version": .scopeVersion,
  ]

  /// Reads a path.
  mutating func path() throws(OTTLError) -> OTTLOperand {
    var segments = [try segment()]
    while token.kind == .dot {
      try advance()
      segments.append(try segment())
    }
    guard token.kind != .assignment else {
      throw unexpected("',' or a comparison operator (named arguments are outside the subset)")
    }
    var owner = context == .span ? AttributeOwner.span : .event
    switch segments[0].name {
    case "span": owner = .span
    case "spanevent" where context == .spanEvent: owner = .event
    case "resource": owner = .resource
    case "instrumentation_scope", "scope": owner = .scope
    default: return try resolve(segments[...], of: owner)
    }
    if let key = segments[0].keys.first { throw unexpected("'.' and a field", at: key.token) }
    guard segments.count > 1 else { throw unexpected("'.' and \(fieldNames(of: owner))") }
    return try resolve(segments.dropFirst(), of: owner)
  }

  private mutating func segment() throws(OTTLError) -> Segment {
    guard token.kind == .name else { throw unexpected("a field name") }
    var segment = Segment(name: spelling(token), token: token)
    try advance()
    while token.kind == .leftBracket {
      let bracket = token
      try advance()
      switch token.kind {
      case .string: segment.keys.append((bracket, try string(), 0))
      case .integer:
        guard let index = Int64(spelling(token)) else { throw unexpected("a 64-bit index") }
        segment.keys.append((token, nil, index))
        try advance()
      default: throw unexpected("a key in double quotes, or the index of an element")
      }
      try take(.rightBracket, "']'")
    }
    return segment
  }

  /// Resolves `segments`, without a prefix such as `span`.
  private mutating func resolve(
    _ segments: ArraySlice<Segment>, of owner: AttributeOwner
  ) throws(OTTLError) -> OTTLOperand {
    let first = segments[segments.startIndex]
    if first.name == "attributes" { return try attribute(segments, of: owner) }
    let path = segments.map(\.name).joined(separator: ".")
    guard let field = fields(of: owner).first(where: { $0.key == path })?.value else {
      // The first word may be right and the second wrong.
      let isKnown = fields(of: owner).contains { $0.key == first.name || $0.key.hasPrefix(first.name + ".") }
      let wrong = isKnown ? segments.dropFirst().first ?? first : first
      throw unexpected(fieldNames(of: owner) + OTTLParser.nearest(to: path), at: wrong.token)
    }
    program.fields.insert(field)
    if field == .traceState, let key = try soleKey(of: first) {
      return .traceStateMember(program.add(key))
    }
    if let key = segments.lazy.flatMap(\.keys).first {
      throw unexpected("no key: '\(path)' is not a map", at: key.token)
    }
    return .field(field)
  }

  /// An attribute, or an element in it.
  private mutating func attribute(
    _ segments: ArraySlice<Segment>, of owner: AttributeOwner
  ) throws(OTTLError) -> OTTLOperand {
    let first = segments[segments.startIndex]
    let next = segments.dropFirst().first?.token
    guard let key = first.keys.first else {
      throw unexpected("'[' and an attribute key in double quotes", at: next ?? token)
    }
    guard let text = key.text else { throw unexpected("a key in double quotes", at: key.token) }
    if let next { throw unexpected("the end of the path", at: next) }
    let attribute = program.add(OTTLAttribute(owner: owner, key: text))
    guard first.keys.count > 1 else { return attribute }
    var inner: [OTTLKey] = []
    for key in first.keys.dropFirst() {
      if let text = key.text {
        inner.append(.text(program.add(text)))
      } else {
        inner.append(.index(key.index))
      }
    }
    return try add(.element(attribute, inner))
  }

  /// The only key after a map of strings; nil if there is none.
  private func soleKey(of segment: Segment) throws(OTTLError) -> [UInt8]? {
    guard let key = segment.keys.first else { return nil }
    guard let text = key.text else { throw unexpected("a key in double quotes", at: key.token) }
    guard segment.keys.count == 1 else { throw unexpected("a single key", at: segment.keys[1].token) }
    return text
  }

  private func fields(of owner: AttributeOwner) -> KeyValuePairs<String, OTTLField> {
    switch owner {
    case .span: OTTLParser.spanFields
    case .event: OTTLParser.eventFields
    case .scope: OTTLParser.scopeFields
    case .resource: [:]
    }
  }

  /// The nearest alternative to an OTTL path outside the subset.
  private static func nearest(to path: String) -> String {
    let hint: String? =
      switch path {
      case "status": "status.code and status.message"
      case "events": "conditions under 'spanevent' are evaluated for each event"
      case "span", "resource", "instrumentation_scope", "scope": "its fields"
      default: nil
      }
    return hint.map { " (instead of \(path): \($0))" } ?? ""
  }

  private func fieldNames(of owner: AttributeOwner) -> String {
    let names = ["attributes[\"…\"]"] + fields(of: owner).map(\.key)
    let thing =
      switch owner {
      case .span: "span"
      case .event: "span event"
      case .scope: "scope"
      case .resource: "resource"
      }
    return "a field of the \(thing): \(names.joined(separator: ", "))"
  }
}

// The facts of the current span: only the attributes and fields that conditions need.

import Invariants
import OTLP

/// Reads what conditions need of a span, its events, its resource and its scope. Reused from span to span:
/// nothing is allocated after `init`.
struct ConditionFacts {
  private let requirements: ConditionRequirements
  /// The keys of the wanted attributes, by `AttributeOwner`.
  private let keys: [WantedKeys]
  /// Which of `values` belong to the attributes of each owner, in the order of its keys.
  private let slots: [Range<Int>]
  /// Nil if there was no such attribute.
  private var values: [ConditionValue?]
  private(set) var statusMessage = ConditionFacts.nothing
  private(set) var scopeName = ConditionFacts.nothing
  private(set) var scopeVersion = ConditionFacts.nothing
  private(set) var eventName = ConditionFacts.nothing
  private(set) var eventTime: UInt64 = 0
  /// Which resource and scope of the record were read, and the errors.
  private var resourceRead: UInt32?
  private var scopeRead: UInt32?
  private var resourceError: MalformedInput?
  private var scopeError: MalformedInput?

  private static let nothing = ByteRange(offset: 0, count: 0)

  init(_ requirements: ConditionRequirements) {
    self.requirements = requirements
    // Sorted, because a set's order varies from run to run.
    keys = AttributeOwner.allCases.map { owner in
      WantedKeys(requirements.attributes(of: owner).sorted { $0.lexicographicallyPrecedes($1) })
    }
    var end = 0
    slots = keys.map { own in
      defer { end += own.count }
      return end..<end + own.count
    }
    values = Array(repeating: nil, count: end)
  }

  /// The slot of the value of `attribute`, one of those required.
  func slot(of attribute: OTTLAttribute) -> Int {
    let owner = attribute.owner.rawValue
    let number = attribute.key.withRawBytes { key in
      keys[owner].number(of: ByteRange(offset: 0, count: UInt32(truncatingIfNeeded: key.byteCount)), in: key)
    }
    invariant(number != nil, "an attribute missing from the requirements")
    return slots[owner].lowerBound + (number ?? 0)
  }

  func value(_ slot: Int) -> ConditionValue { values[slot] ?? .missing }

  /// Forgets the resource and the scope that were read: indices restart with each record.
  mutating func startRecord() {
    resourceRead = nil
    scopeRead = nil
  }

  /// Reads what conditions need of `span`, its resource and its scope.
  mutating func read(
    _ span: SpanView, resource: ArraySlice<ByteRange>, scope: ArraySlice<ByteRange>, in bytes: RawSpan
  ) throws(MalformedInput) {
    if requirements.needsResource, resourceRead != span.resource {
      resourceRead = span.resource
      do {
        try readResource(resource, in: bytes)
        resourceError = nil
      } catch {
        resourceError = error
      }
    }
    if requirements.needsScope, scopeRead != span.scope {
      scopeRead = span.scope
      do {
        try readScope(scope, in: bytes)
        scopeError = nil
      } catch {
        scopeError = error
      }
    }
    // Cached for all their spans: otherwise a large resource that is malformed at its end is read for each of
    // them.
    if requirements.needsResource, let resourceError { throw resourceError }
    if requirements.needsScope, let scopeError { throw scopeError }
    guard requirements.needsStatusMessage || !slots[AttributeOwner.span.rawValue].isEmpty else { return }
    clear(.span)
    statusMessage = ConditionFacts.nothing
    var cursor = WireCursor(span.content)
    while !cursor.isAtEnd {
      let tag = try cursor.tag(in: bytes)
      switch tag.field {
      case SpanField.attributes:
        try readAttribute(cursor.content(of: tag, in: bytes), of: .span, in: bytes)
      case SpanField.status where requirements.needsStatusMessage:
        try readStatus(cursor.content(of: tag, in: bytes), in: bytes)
      default: try cursor.skip(tag, in: bytes)
      }
    }
  }

  /// Reads an `Event`.
  mutating func readEvent(_ content: ByteRange, in bytes: RawSpan) throws(MalformedInput) {
    clear(.event)
    eventName = ConditionFacts.nothing
    eventTime = 0
    var cursor = WireCursor(content)
    while !cursor.isAtEnd {
      let tag = try cursor.tag(in: bytes)
      switch tag.field {
      case EventField.time: eventTime = try cursor.fixed64(of: tag, in: bytes)
      case EventField.name: eventName = try cursor.content(of: tag, in: bytes)
      case EventField.attributes: try readAttribute(cursor.content(of: tag, in: bytes), of: .event, in: bytes)
      default: try cursor.skip(tag, in: bytes)
      }
    }
  }

  /// Reads the `Resource` among the fields of a `ResourceSpans`.
  private mutating func readResource(
    _ runs: ArraySlice<ByteRange>, in bytes: RawSpan
  ) throws(MalformedInput) {
    clear(.resource)
    for run in runs {
      var outer = WireCursor(run)
      while let resource = try outer.next(ResourceSpansField.resource, in: bytes) {
        var cursor = WireCursor(resource)
        while let attribute = try cursor.next(ResourceField.attributes, in: bytes) {
          try readAttribute(attribute, of: .resource, in: bytes)
        }
      }
    }
  }

  /// Reads the `InstrumentationScope` among the fields of a `ScopeSpans`.
  private mutating func readScope(_ runs: ArraySlice<ByteRange>, in bytes: RawSpan) throws(MalformedInput) {
    clear(.scope)
    scopeName = ConditionFacts.nothing
    scopeVersion = ConditionFacts.nothing
    for run in runs {
      var outer = WireCursor(run)
      while let scope = try outer.next(ScopeSpansField.scope, in: bytes) {
        var cursor = WireCursor(scope)
        while !cursor.isAtEnd {
          let tag = try cursor.tag(in: bytes)
          switch tag.field {
          case ScopeField.name: scopeName = try cursor.content(of: tag, in: bytes)
          case ScopeField.version: scopeVersion = try cursor.content(of: tag, in: bytes)
          case ScopeField.attributes:
            try readAttribute(cursor.content(of: tag, in: bytes), of: .scope, in: bytes)
          default: try cursor.skip(tag, in: bytes)
          }
        }
      }
    }
  }

  private mutating func readStatus(_ message: ByteRange, in bytes: RawSpan) throws(MalformedInput) {
    var cursor = WireCursor(message)
    while let text = try cursor.next(StatusField.message, in: bytes) { statusMessage = text }
  }

  /// The number of a span's status code, read from its bytes. Protobuf keeps 32 bits of it.
  static func statusCode(of span: SpanView, in bytes: RawSpan) throws(MalformedInput) -> Int64 {
    var code: Int64 = 0
    var outer = WireCursor(span.content)
    while let status = try outer.next(SpanField.status, in: bytes) {
      // If a span has two statuses, the last one counts as a whole, as in the scanner.
      code = try enumeration(StatusField.code, in: status, of: bytes)
    }
    return code
  }

  /// The number of a span's kind, read from its bytes.
  static func kind(of span: SpanView, in bytes: RawSpan) throws(MalformedInput) -> Int64 {
    try enumeration(SpanField.kind, in: span.content, of: bytes)
  }

  /// The value of a field of an enumeration. Protobuf keeps 32 bits of it.
  private static func enumeration(
    _ field: UInt32, in message: ByteRange, of bytes: RawSpan
  ) throws(MalformedInput) -> Int64 {
    var value: Int64 = 0
    var cursor = WireCursor(message)
    while !cursor.isAtEnd {
      let tag = try cursor.tag(in: bytes)
      if tag.field == field {
        value = Int64(Int32(truncatingIfNeeded: try cursor.varint(of: tag, in: bytes)))
      } else {
        try cursor.skip(tag, in: bytes)
      }
    }
    return value
  }

  /// Reads a `KeyValue` if its key is wanted. The first attribute with a key counts, as in the Collector.
  private mutating func readAttribute(
    _ message: ByteRange, of owner: AttributeOwner, in bytes: RawSpan
  ) throws(MalformedInput) {
    let own = slots[owner.rawValue]
    guard !own.isEmpty else { return }
    let attribute = try KeyValueView(message, in: bytes)
    guard let number = keys[owner.rawValue].number(of: attribute.key, in: bytes) else { return }
    let slot = own.lowerBound + number
    guard values[slot] == nil else { return }
    values[slot] = .some(ConditionValue(try attribute.value(in: bytes)))
  }

  private mutating func clear(_ owner: AttributeOwner) {
    for slot in slots[owner.rawValue] { values[slot] = nil }
  }
}

extension ConditionRequirements {
  fileprivate func attributes(of owner: AttributeOwner) -> Set<[UInt8]> {
    switch owner {
    case .span: spanAttributes
    case .event: eventAttributes
    case .resource: resourceAttributes
    case .scope: scopeAttributes
    }
  }
}

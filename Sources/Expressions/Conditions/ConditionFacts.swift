// What conditions know of the span at hand: the attributes and fields that they ask for, and no more.

import Invariants
import OTLP

/// Reads a span, its events, its resource and its scope as far as conditions need them. Reused from span to
/// span: nothing is allocated after `init`.
struct ConditionFacts {
  private let requirements: ConditionRequirements
  /// The keys of the wanted attributes; those of one owner stand together.
  private let keys: [[UInt8]]
  /// Which of `keys` are whose, by `AttributeOwner`.
  private let slots: [Range<Int>]
  /// By key; nil where no such attribute has come.
  private var values: [ConditionValue?]
  private(set) var statusMessage = ConditionFacts.nothing
  private(set) var scopeName = ConditionFacts.nothing
  private(set) var scopeVersion = ConditionFacts.nothing
  private(set) var eventName = ConditionFacts.nothing
  private(set) var eventTime: UInt64 = 0
  /// Which resource and scope of the record have been read, and why they could not be.
  private var resourceRead: UInt32?
  private var scopeRead: UInt32?
  private var resourceError: EvaluationError?
  private var scopeError: EvaluationError?

  private static let nothing = ByteRange(offset: 0, count: 0)

  init(_ requirements: ConditionRequirements) {
    self.requirements = requirements
    var keys: [[UInt8]] = []
    slots = AttributeOwner.allCases.map { owner in
      let first = keys.count
      // Sorted, because a set's order differs from run to run.
      keys += requirements.attributes(of: owner).sorted { $0.lexicographicallyPrecedes($1) }
      return first..<keys.count
    }
    self.keys = keys
    values = Array(repeating: nil, count: keys.count)
  }

  /// Where the value of `attribute`, one of those required, will be found.
  func slot(of attribute: OTTLAttribute) -> Int {
    let own = slots[attribute.owner.rawValue]
    let slot = keys[own].firstIndex(of: attribute.key)
    invariant(slot != nil, "an attribute that is not among the requirements")
    return slot ?? own.lowerBound
  }

  func value(_ slot: Int) -> ConditionValue { values[slot] ?? .missing }

  /// Forgets the resource and the scope that were read: indices begin anew with each record.
  mutating func startRecord() {
    resourceRead = nil
    scopeRead = nil
  }

  /// Reads what is needed of `span` and of what it stands in.
  mutating func read(
    _ span: SpanView, resource: ArraySlice<ByteRange>, scope: ArraySlice<ByteRange>, in bytes: RawSpan
  ) throws(EvaluationError) {
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
    // Noted for all their spans: else a large resource that is damaged at its end is read for each of them.
    if requirements.needsResource, let resourceError { throw resourceError }
    if requirements.needsScope, let scopeError { throw scopeError }
    guard requirements.needsStatusMessage || !slots[AttributeOwner.span.rawValue].isEmpty else { return }
    clear(.span)
    statusMessage = ConditionFacts.nothing
    var fields = ConditionFields(span.content)
    while let field = try fields.next(in: bytes) {
      switch field.number {
      case 9: try readAttribute(field.message(), of: .span, in: bytes)
      case 15 where requirements.needsStatusMessage: try readStatus(field.message(), in: bytes)
      default: break
      }
    }
  }

  /// Reads an `Event`.
  mutating func readEvent(_ content: ByteRange, in bytes: RawSpan) throws(EvaluationError) {
    clear(.event)
    eventName = ConditionFacts.nothing
    eventTime = 0
    var fields = ConditionFields(content)
    while let field = try fields.next(in: bytes) {
      switch field.number {
      case 1: eventTime = try field.number(.fixed64)
      case 2: eventName = try field.message()
      case 3: try readAttribute(field.message(), of: .event, in: bytes)
      default: break
      }
    }
  }

  /// Reads the `Resource` among the fields of a `ResourceSpans`.
  private mutating func readResource(
    _ runs: ArraySlice<ByteRange>, in bytes: RawSpan
  ) throws(EvaluationError) {
    clear(.resource)
    for run in runs {
      var outer = ConditionFields(run)
      while let resource = try outer.next(in: bytes) {
        guard resource.number == 1 else { continue }
        var fields = ConditionFields(try resource.message())
        while let field = try fields.next(in: bytes) {
          if field.number == 1 { try readAttribute(field.message(), of: .resource, in: bytes) }
        }
      }
    }
  }

  /// Reads the `InstrumentationScope` among the fields of a `ScopeSpans`.
  private mutating func readScope(_ runs: ArraySlice<ByteRange>, in bytes: RawSpan) throws(EvaluationError) {
    clear(.scope)
    scopeName = ConditionFacts.nothing
    scopeVersion = ConditionFacts.nothing
    for run in runs {
      var outer = ConditionFields(run)
      while let scope = try outer.next(in: bytes) {
        guard scope.number == 1 else { continue }
        var fields = ConditionFields(try scope.message())
        while let field = try fields.next(in: bytes) {
          switch field.number {
          case 1: scopeName = try field.message()
          case 2: scopeVersion = try field.message()
          case 3: try readAttribute(field.message(), of: .scope, in: bytes)
          default: break
          }
        }
      }
    }
  }

  private mutating func readStatus(_ message: ByteRange, in bytes: RawSpan) throws(EvaluationError) {
    var fields = ConditionFields(message)
    while let field = try fields.next(in: bytes) {
      if field.number == 2 { statusMessage = try field.message() }
    }
  }

  /// The number of a span's status code, read from its bytes. Protobuf keeps 32 bits of it.
  static func statusCode(of span: SpanView, in bytes: RawSpan) throws(EvaluationError) -> Int64 {
    var code: Int64 = 0
    var fields = ConditionFields(span.content)
    while let field = try fields.next(in: bytes) {
      guard field.number == 15 else { continue }
      var inner = ConditionFields(try field.message())
      // Of a status that is given twice the scanner too takes the last one as it stands.
      code = 0
      while let field = try inner.next(in: bytes) {
        if field.number == 3 { code = Int64(Int32(truncatingIfNeeded: try field.number(.varint))) }
      }
    }
    return code
  }

  /// The number of a span's kind, read from its bytes. Protobuf keeps 32 bits of it.
  static func kind(of span: SpanView, in bytes: RawSpan) throws(EvaluationError) -> Int64 {
    var kind: Int64 = 0
    var fields = ConditionFields(span.content)
    while let field = try fields.next(in: bytes) {
      if field.number == 6 { kind = Int64(Int32(truncatingIfNeeded: try field.number(.varint))) }
    }
    return kind
  }

  /// Reads a `KeyValue` if its key is wanted. Of attributes with the same key the first one counts, as in the
  /// Collector.
  private mutating func readAttribute(
    _ message: ByteRange, of owner: AttributeOwner, in bytes: RawSpan
  ) throws(EvaluationError) {
    let own = slots[owner.rawValue]
    guard !own.isEmpty else { return }
    var key = ConditionFacts.nothing
    var fields = ConditionFields(message)
    while let field = try fields.next(in: bytes) {
      if field.number == 1 { key = try field.message() }
    }
    for slot in own where keys[slot].count == Int(key.count) && values[slot] == nil {
      guard keys[slot].withRawBytes({ $0.isEqual(to: bytes.extracting(key.indices)) }) else { continue }
      // The value may stand before its key: the Collector's own encoder writes it so.
      var value = ConditionValue.missing
      var again = ConditionFields(message)
      while let field = try again.next(in: bytes) {
        if field.number == 2 { try value.read(field.message(), in: bytes) }
      }
      values[slot] = .some(value)
      return
    }
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

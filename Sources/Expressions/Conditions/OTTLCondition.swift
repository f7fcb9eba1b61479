// A condition of the `ottl_condition` policy, in a subset of the OpenTelemetry Transformation Language.

/// What a condition is evaluated on.
public enum OTTLContext: Equatable, Sendable {
  /// A span: paths without a prefix are the span's.
  case span
  /// An event of a span: paths without a prefix are the event's.
  case spanEvent

  var things: String { self == .span ? "spans" : "span events" }
}

/// What the policy does when evaluating fails.
public enum ConditionErrorMode: String, CaseIterable, Sendable {
  /// The error is counted and logged; the condition counts as false.
  case ignore
  /// The error is counted; the condition counts as false.
  case silent
  /// The policy does not sample the trace.
  case propagate
}

/// A compiled condition.
///
/// The subset is described in `docs/ottl.md`. Language:
/// <https://github.com/open-telemetry/opentelemetry-collector-contrib/blob/main/pkg/ottl/LANGUAGE.md>
public struct OTTLCondition: Sendable {
  /// The most bytes that a condition's text may have.
  public static let textBytesMax = 16 * 1024

  /// As it was given.
  public let text: String
  /// What it is evaluated on.
  public let context: OTTLContext
  let program: OTTLProgram

  /// Compiles `text`.
  ///
  /// - Throws: `OTTLError` with the first token that is not accepted.
  public init(_ text: String, context: OTTLContext) throws(OTTLError) {
    let bytes = Array(text.utf8)
    guard bytes.count <= OTTLCondition.textBytesMax else {
      throw OTTLError(
        bytes.count..<bytes.count, of: bytes, expected: "at most \(OTTLCondition.textBytesMax) bytes of text")
    }
    self.text = text
    self.context = context
    program = try OTTLParser(bytes, context: context).program
  }

  /// What to read before it can be evaluated.
  public var requirements: ConditionRequirements { ConditionRequirements(program) }
}

extension OTTLCondition: Equatable {
  /// The same text compiles to the same condition.
  public static func == (left: OTTLCondition, right: OTTLCondition) -> Bool {
    left.text == right.text && left.context == right.context
  }
}

/// What conditions read besides the fields of a `SpanView`.
public struct ConditionRequirements: Equatable, Sendable {
  /// Keys of span attributes, in UTF-8.
  public private(set) var spanAttributes: Set<[UInt8]> = []
  /// Keys of span event attributes, in UTF-8.
  public private(set) var eventAttributes: Set<[UInt8]> = []
  /// Keys of resource attributes, in UTF-8.
  public private(set) var resourceAttributes: Set<[UInt8]> = []
  /// Keys of the scope's attributes, in UTF-8.
  public private(set) var scopeAttributes: Set<[UInt8]> = []
  /// Whether the status message is needed.
  public private(set) var needsStatusMessage = false
  /// Whether the scope's name or version is needed.
  public private(set) var needsScopeFields = false

  /// Nothing is needed.
  public init() {}

  init(_ program: OTTLProgram) {
    for attribute in program.attributes {
      switch attribute.owner {
      case .span: spanAttributes.insert(attribute.key)
      case .event: eventAttributes.insert(attribute.key)
      case .resource: resourceAttributes.insert(attribute.key)
      case .scope: scopeAttributes.insert(attribute.key)
      }
    }
    needsStatusMessage = program.fields.contains(.statusMessage)
    needsScopeFields = program.fields.contains(.scopeName) || program.fields.contains(.scopeVersion)
  }

  /// Adds the requirements of other conditions.
  public mutating func formUnion(_ other: ConditionRequirements) {
    spanAttributes.formUnion(other.spanAttributes)
    eventAttributes.formUnion(other.eventAttributes)
    resourceAttributes.formUnion(other.resourceAttributes)
    scopeAttributes.formUnion(other.scopeAttributes)
    needsStatusMessage = needsStatusMessage || other.needsStatusMessage
    needsScopeFields = needsScopeFields || other.needsScopeFields
  }

  /// Whether anything of the resource is needed.
  public var needsResource: Bool { !resourceAttributes.isEmpty }

  /// Whether anything of the scope is needed.
  public var needsScope: Bool { needsScopeFields || !scopeAttributes.isEmpty }
}

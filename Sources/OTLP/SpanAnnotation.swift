// Attributes that are added to kept spans.

/// Attributes for kept spans, written once for all spans of a trace, and the randomness that their
/// tracestates state.
public struct SpanAnnotation: Sendable {
  /// Which spans get them.
  public enum Scope: Sendable {
    /// Spans without a parent.
    case roots
    /// Every span.
    case all
  }

  /// Nothing is added.
  public static let none = SpanAnnotation(.roots)

  /// Which spans get them.
  public let scope: Scope
  /// Whole `attributes` fields of a span, concatenated.
  public private(set) var fields: [UInt8] = []
  /// The randomness (`rv`) that the trace was decided by, if it is not that of its id: spans whose tracestate
  /// states none get it.
  public var randomness: UInt64?

  /// Makes an annotation without attributes.
  public init(_ scope: Scope) {
    self.scope = scope
  }

  /// Whether there are no attributes.
  public var isEmpty: Bool { fields.isEmpty }

  /// How many bytes a span may grow by: the attributes, the randomness, and the growth of its own length.
  public var growth: Int { growth(isAnnotated: true) }

  /// The same for a span that gets the attributes, or does not.
  public func growth(isAnnotated: Bool) -> Int {
    (isEmpty || !isAnnotated ? 0 : fields.count + SpanAnnotation.lengthGrowth)
      + (randomness == nil ? 0 : SpanAnnotation.randomnessGrowth)
  }

  /// The randomness alone.
  public var withoutAttributes: SpanAnnotation {
    var annotation = SpanAnnotation.none
    annotation.randomness = randomness
    return annotation
  }

  /// `;rv:` and 14 digits.
  static let randomnessGrowth = 18

  /// A length takes one to five bytes.
  private static let lengthGrowth = 4

  /// Adds an attribute with a text.
  public mutating func append(_ key: String, _ text: String) {
    append(key) { $0.stringField(AnyValueField.string, text) }
  }

  /// Adds an attribute with an array of texts.
  public mutating func append(_ key: String, _ texts: [String]) {
    append(key) { value in
      value.message(AnyValueField.array) { array in
        for text in texts {
          array.message(ArrayValueField.values) { $0.stringField(AnyValueField.string, text) }
        }
      }
    }
  }

  /// Adds an attribute with a number.
  public mutating func append(_ key: String, _ number: Double) {
    append(key) { $0.fixed64Field(AnyValueField.double, number.bitPattern) }
  }

  private mutating func append(_ key: String, value: (inout WireWriter) -> Void) {
    var writer = WireWriter()
    writer.message(SpanField.attributes) { attribute in
      attribute.stringField(KeyValueField.key, key)
      attribute.message(KeyValueField.value) { value(&$0) }
    }
    fields += writer.bytes
  }

  /// Whether a span gets the attributes.
  @inline(__always)
  func applies(toRoot isRoot: Bool) -> Bool { !fields.isEmpty && (scope == .all || isRoot) }
}

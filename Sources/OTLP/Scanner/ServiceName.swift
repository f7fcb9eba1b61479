// Finds the service name of a resource.

extension ResourceView {
  /// The first text under `service.name` among the attributes of the `Resource` message `resource`. Nil if
  /// there is none.
  static func serviceName(in resource: ByteRange, of bytes: RawSpan) throws(MalformedInput) -> ByteRange? {
    let attributesTag = WireTag.byte(ResourceField.attributes, .lengthDelimited)
    var cursor = WireCursor(resource)
    while !cursor.isAtEnd {
      let message: ByteRange
      if let content = cursor.usualContent(of: attributesTag, in: bytes) {
        message = content
      } else {
        let tag = try cursor.tag(in: bytes)
        guard tag.field == ResourceField.attributes else {
          try cursor.skip(tag, in: bytes)
          continue
        }
        message = try cursor.content(of: tag, in: bytes)
      }
      let attribute = try KeyValueView(message, in: bytes)
      guard bytes.spells("service.name", in: attribute.key) else { continue }
      if case .string(let name) = try attribute.value(in: bytes) { return name }
    }
    return nil
  }
}

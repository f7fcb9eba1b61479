// Puts spans into OTLP's messages: neighbours with the same resource and scope share them.

import OTLP

/// Writes one `TracesData`, span by span.
struct TracesOutput {
  private var isOpen = false
  private var resourceStart = 0
  private var scopeStart = 0
  /// Where in the written bytes the resource and the scope of the open messages are: they come first, and
  /// only what follows them is moved before these messages are closed.
  private var resource = 0..<0
  private var scope = 0..<0

  /// Forgets the previous record.
  mutating func begin() { isOpen = false }

  /// Opens the messages that spans with this resource and scope go into, both given as the contents of their
  /// own messages; unless they are open.
  mutating func open(resource: [UInt8], scope: [UInt8], in writer: inout WireWriter) {
    if isOpen, !writer.holds(resource, in: self.resource) {
      finish(&writer)
    } else if isOpen, !writer.holds(scope, in: self.scope) {
      writer.closeMessage(contentStart: scopeStart)
      openScope(scope, in: &writer)
    }
    guard !isOpen else { return }
    writer.tag(TracesDataField.resourceSpans, .lengthDelimited)
    resourceStart = writer.count
    self.resource = writer.appendPart(ResourceSpansField.resource, resource)
    openScope(scope, in: &writer)
    isOpen = true
  }

  private mutating func openScope(_ scope: [UInt8], in writer: inout WireWriter) {
    writer.tag(ResourceSpansField.scopeSpans, .lengthDelimited)
    scopeStart = writer.count
    self.scope = writer.appendPart(ScopeSpansField.scope, scope)
  }

  /// Ends the open messages, if there are any.
  mutating func finish(_ writer: inout WireWriter) {
    guard isOpen else { return }
    writer.closeMessage(contentStart: scopeStart)
    writer.closeMessage(contentStart: resourceStart)
    isOpen = false
  }
}

extension WireWriter {
  /// Appends a message field, unless it is empty. Returns where its content is.
  fileprivate mutating func appendPart(_ field: UInt32, _ content: [UInt8]) -> Range<Int> {
    if !content.isEmpty { content.withRawBytes { bytesField(field, $0) } }
    return count - content.count..<count
  }

  /// Whether the bytes in `range` are `content`.
  fileprivate func holds(_ content: [UInt8], in range: Range<Int>) -> Bool {
    bytes.withRawBytes { written in
      content.withRawBytes { written.extracting(range).isEqual(to: $0) }
    }
  }
}

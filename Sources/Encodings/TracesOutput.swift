// Puts spans into OTLP's messages: neighbours with the same resource and scope share them.

import OTLP

/// Writes one `TracesData`, span by span.
struct TracesOutput {
  /// The contents of the open messages.
  private var resource: [UInt8] = []
  private var scope: [UInt8] = []
  private var isOpen = false
  private var resourceStart = 0
  private var scopeStart = 0
  private var spanStart = 0

  /// Bytes of memory in use.
  var byteCount: Int { resource.capacity + scope.capacity }

  /// Forgets the previous record.
  mutating func begin() { isOpen = false }

  /// Begins a span with this resource and scope, both as the contents of their messages.
  mutating func beginSpan(_ resource: WireWriter, _ scope: WireWriter, in writer: inout WireWriter) {
    if isOpen, resource.bytes != self.resource {
      finish(&writer)
    } else if isOpen, scope.bytes != self.scope {
      writer.closeMessage(contentStart: scopeStart)
      beginScope(scope, in: &writer)
    }
    if !isOpen {
      writer.tag(TracesDataField.resourceSpans, .lengthDelimited)
      resourceStart = writer.count
      if resource.count > 0 { writer.bytesField(ResourceSpansField.resource, resource.bytes) }
      self.resource.removeAll(keepingCapacity: true)
      self.resource.append(contentsOf: resource.bytes)
      beginScope(scope, in: &writer)
      isOpen = true
    }
    writer.tag(ScopeSpansField.spans, .lengthDelimited)
    spanStart = writer.count
  }

  private mutating func beginScope(_ scope: WireWriter, in writer: inout WireWriter) {
    writer.tag(ResourceSpansField.scopeSpans, .lengthDelimited)
    scopeStart = writer.count
    if scope.count > 0 { writer.bytesField(ScopeSpansField.scope, scope.bytes) }
    self.scope.removeAll(keepingCapacity: true)
    self.scope.append(contentsOf: scope.bytes)
  }

  /// Ends the span.
  func endSpan(_ writer: inout WireWriter) { writer.closeMessage(contentStart: spanStart) }

  /// Ends the open messages, if there are any.
  mutating func finish(_ writer: inout WireWriter) {
    guard isOpen else { return }
    writer.closeMessage(contentStart: scopeStart)
    writer.closeMessage(contentStart: resourceStart)
    isOpen = false
  }
}

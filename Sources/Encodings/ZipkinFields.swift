// The field table of Zipkin's spans.
//
// Each follows its declaration in `zipkin.proto` of <https://github.com/openzipkin/zipkin-api>, package
// `zipkin.proto3`.

/// Fields of `ListOfSpans`.
enum ZipkinListField {
  static let spans: UInt32 = 1
}

/// Fields of `Span`.
enum ZipkinSpanField {
  static let traceID: UInt32 = 1
  static let parentID: UInt32 = 2
  static let spanID: UInt32 = 3
  static let kind: UInt32 = 4
  static let name: UInt32 = 5
  static let timestamp: UInt32 = 6
  static let duration: UInt32 = 7
  static let localEndpoint: UInt32 = 8
  static let remoteEndpoint: UInt32 = 9
  static let annotations: UInt32 = 10
  static let tags: UInt32 = 11
}

/// `Span.Kind`.
enum ZipkinKind: UInt64 {
  case client = 1
  case server = 2
  case producer = 3
  case consumer = 4
}

/// Fields of `Endpoint`.
enum ZipkinEndpointField {
  static let serviceName: UInt32 = 1
  static let ipv4: UInt32 = 2
  static let ipv6: UInt32 = 3
  static let port: UInt32 = 4
  /// Ours, and only read where we have written it: an address as a document spells it.
  static let address: UInt32 = 15
  static let address6: UInt32 = 14
}

/// Fields of `Annotation`.
enum ZipkinAnnotationField {
  static let timestamp: UInt32 = 1
  static let value: UInt32 = 2
}

/// Fields of an entry of `tags`.
enum ZipkinTagField {
  static let key: UInt32 = 1
  static let value: UInt32 = 2
}

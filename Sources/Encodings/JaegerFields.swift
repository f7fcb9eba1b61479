// The field table of Jaeger's spans.
//
// Each follows its declaration in `model.proto` of <https://github.com/jaegertracing/jaeger-idl>, package
// `jaeger.api_v2`.

/// Fields of `Span`.
enum JaegerSpanField {
  static let traceID: UInt32 = 1
  static let spanID: UInt32 = 2
  static let operationName: UInt32 = 3
  static let references: UInt32 = 4
  static let flags: UInt32 = 5
  static let startTime: UInt32 = 6
  static let duration: UInt32 = 7
  static let tags: UInt32 = 8
  static let logs: UInt32 = 9
  static let process: UInt32 = 10
}

/// Fields of `SpanRef`.
enum JaegerReferenceField {
  static let traceID: UInt32 = 1
  static let spanID: UInt32 = 2
  static let kind: UInt32 = 3
  /// The value of `kind` for `FOLLOWS_FROM`; that of `CHILD_OF` is 0.
  static let followsFrom: UInt64 = 1
}

/// Fields of `Process`.
enum JaegerProcessField {
  static let serviceName: UInt32 = 1
  static let tags: UInt32 = 2
}

/// Fields of `Log`.
enum JaegerLogField {
  static let timestamp: UInt32 = 1
  static let fields: UInt32 = 2
}

/// Fields of `KeyValue`.
enum JaegerTagField {
  static let key: UInt32 = 1
  static let kind: UInt32 = 2
  static let text: UInt32 = 3
  static let boolean: UInt32 = 4
  static let integer: UInt32 = 5
  static let double: UInt32 = 6
  static let binary: UInt32 = 7
}

/// `ValueType`.
enum JaegerTagKind: UInt64, CaseIterable {
  case text
  case boolean
  case integer
  case double
  case binary
}

/// Fields of protobuf's own `Timestamp` and `Duration`.
enum TimeField {
  static let seconds: UInt32 = 1
  static let nanoseconds: UInt32 = 2
}

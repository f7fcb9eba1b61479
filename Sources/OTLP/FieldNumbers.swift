// The field table: the number of each field of each message of OTLP traces and logs, for all readers and
// writers.
//
// Each follows its declaration in `trace.proto`, `logs.proto`, `resource.proto` or `common.proto` of
// <https://github.com/open-telemetry/opentelemetry-proto>. Left out are `key_strindex` and
// `string_value_strindex`, which point into a profile's string table.

/// Fields of `TracesData` and of `ExportTraceServiceRequest`, which are the same on the wire.
public enum TracesDataField {
  /// `repeated ResourceSpans resource_spans`
  public static let resourceSpans: UInt32 = 1
}

/// Fields of `ResourceSpans`.
public enum ResourceSpansField {
  /// `Resource resource`
  public static let resource: UInt32 = 1
  /// `repeated ScopeSpans scope_spans`
  public static let scopeSpans: UInt32 = 2
  /// `string schema_url`
  public static let schemaURL: UInt32 = 3
  /// `repeated InstrumentationLibrarySpans instrumentation_library_spans`,
  /// the name of `scope_spans` before OTLP 0.15. Both have the same form.
  public static let librarySpans: UInt32 = 1000
}

/// Fields of `ScopeSpans`, and of `InstrumentationLibrarySpans` before OTLP 0.15.
public enum ScopeSpansField {
  /// `InstrumentationScope scope`
  public static let scope: UInt32 = 1
  /// `repeated Span spans`
  public static let spans: UInt32 = 2
  /// `string schema_url`
  public static let schemaURL: UInt32 = 3
}

/// Fields of `Resource`.
public enum ResourceField {
  /// `repeated KeyValue attributes`
  public static let attributes: UInt32 = 1
  /// `uint32 dropped_attributes_count`
  public static let droppedAttributesCount: UInt32 = 2
  /// `repeated EntityRef entity_refs`
  public static let entityRefs: UInt32 = 3
}

/// Fields of `EntityRef`.
public enum EntityRefField {
  /// `string schema_url`
  public static let schemaURL: UInt32 = 1
  /// `string type`
  public static let type: UInt32 = 2
  /// `repeated string id_keys`
  public static let idKeys: UInt32 = 3
  /// `repeated string description_keys`
  public static let descriptionKeys: UInt32 = 4
}

/// Fields of `InstrumentationScope`.
public enum ScopeField {
  /// `string name`
  public static let name: UInt32 = 1
  /// `string version`
  public static let version: UInt32 = 2
  /// `repeated KeyValue attributes`
  public static let attributes: UInt32 = 3
  /// `uint32 dropped_attributes_count`
  public static let droppedAttributesCount: UInt32 = 4
}

/// Fields of `Span`.
public enum SpanField {
  /// `bytes trace_id`
  public static let traceID: UInt32 = 1
  /// `bytes span_id`
  public static let spanID: UInt32 = 2
  /// `string trace_state`
  public static let traceState: UInt32 = 3
  /// `bytes parent_span_id`
  public static let parentSpanID: UInt32 = 4
  /// `string name`
  public static let name: UInt32 = 5
  /// `SpanKind kind`
  public static let kind: UInt32 = 6
  /// `fixed64 start_time_unix_nano`
  public static let start: UInt32 = 7
  /// `fixed64 end_time_unix_nano`
  public static let end: UInt32 = 8
  /// `repeated KeyValue attributes`
  public static let attributes: UInt32 = 9
  /// `uint32 dropped_attributes_count`
  public static let droppedAttributesCount: UInt32 = 10
  /// `repeated Event events`
  public static let events: UInt32 = 11
  /// `uint32 dropped_events_count`
  public static let droppedEventsCount: UInt32 = 12
  /// `repeated Link links`
  public static let links: UInt32 = 13
  /// `uint32 dropped_links_count`
  public static let droppedLinksCount: UInt32 = 14
  /// `Status status`
  public static let status: UInt32 = 15
  /// `fixed32 flags`
  public static let flags: UInt32 = 16
}

/// Fields of `Span.Event`.
public enum EventField {
  /// `fixed64 time_unix_nano`
  public static let time: UInt32 = 1
  /// `string name`
  public static let name: UInt32 = 2
  /// `repeated KeyValue attributes`
  public static let attributes: UInt32 = 3
  /// `uint32 dropped_attributes_count`
  public static let droppedAttributesCount: UInt32 = 4
}

/// Fields of `Span.Link`.
public enum LinkField {
  /// `bytes trace_id`
  public static let traceID: UInt32 = 1
  /// `bytes span_id`
  public static let spanID: UInt32 = 2
  /// `string trace_state`
  public static let traceState: UInt32 = 3
  /// `repeated KeyValue attributes`
  public static let attributes: UInt32 = 4
  /// `uint32 dropped_attributes_count`
  public static let droppedAttributesCount: UInt32 = 5
  /// `fixed32 flags`
  public static let flags: UInt32 = 6
}

/// Fields of `Status`.
public enum StatusField {
  /// `DeprecatedStatusCode deprecated_code`, the status code before OTLP 0.6.
  public static let deprecatedCode: UInt32 = 1
  /// `string message`
  public static let message: UInt32 = 2
  /// `StatusCode code`
  public static let code: UInt32 = 3
}

/// Fields of `LogsData` and of `ExportLogsServiceRequest`, which are the same on the wire. They,
/// `ResourceLogs` and `ScopeLogs` have the form of their counterparts for traces, field by field:
/// `resource_logs`, `scope_logs` and `log_records` are where `resource_spans`, `scope_spans` and `spans`
/// are, and `instrumentation_library_logs` was where `instrumentation_library_spans` was.
public enum LogsDataField {
  /// `repeated ResourceLogs resource_logs`
  public static let resourceLogs: UInt32 = TracesDataField.resourceSpans
}

/// Fields of `LogRecord`.
public enum LogRecordField {
  /// `fixed64 time_unix_nano`
  public static let time: UInt32 = 1
  /// `SeverityNumber severity_number`
  public static let severityNumber: UInt32 = 2
  /// `string severity_text`
  public static let severityText: UInt32 = 3
  /// `AnyValue body`
  public static let body: UInt32 = 5
  /// `repeated KeyValue attributes`
  public static let attributes: UInt32 = 6
  /// `uint32 dropped_attributes_count`
  public static let droppedAttributesCount: UInt32 = 7
  /// `fixed32 flags`
  public static let flags: UInt32 = 8
  /// `bytes trace_id`
  public static let traceID: UInt32 = 9
  /// `bytes span_id`
  public static let spanID: UInt32 = 10
  /// `fixed64 observed_time_unix_nano`
  public static let observedTime: UInt32 = 11
  /// `string event_name`
  public static let eventName: UInt32 = 12
}

/// Fields of `KeyValue`: an attribute, or an entry of a map.
public enum KeyValueField {
  /// `string key`
  public static let key: UInt32 = 1
  /// `AnyValue value`
  public static let value: UInt32 = 2
}

/// Fields of `AnyValue`, all of one `oneof`.
public enum AnyValueField {
  /// `string string_value`
  public static let string: UInt32 = 1
  /// `bool bool_value`
  public static let boolean: UInt32 = 2
  /// `int64 int_value`
  public static let integer: UInt32 = 3
  /// `double double_value`
  public static let double: UInt32 = 4
  /// `ArrayValue array_value`
  public static let array: UInt32 = 5
  /// `KeyValueList kvlist_value`
  public static let map: UInt32 = 6
  /// `bytes bytes_value`
  public static let bytes: UInt32 = 7
}

/// Fields of `ArrayValue`.
public enum ArrayValueField {
  /// `repeated AnyValue values`
  public static let values: UInt32 = 1
}

/// Fields of `KeyValueList`.
public enum KeyValueListField {
  /// `repeated KeyValue values`
  public static let values: UInt32 = 1
}

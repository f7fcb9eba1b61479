// The field table of OTLP metrics: those fields that are written. Resources, scopes and attributes are in
// `FieldNumbers.swift`.
//
// Each follows its declaration in `metrics.proto` of <https://github.com/open-telemetry/opentelemetry-proto>.

/// Fields of `MetricsData` and of `ExportMetricsServiceRequest`, which are the same on the wire. `Resource`
/// and scope are where `ResourceSpans` and `ScopeSpans` have them.
public enum MetricsDataField {
  /// `repeated ResourceMetrics resource_metrics`
  public static let resourceMetrics: UInt32 = TracesDataField.resourceSpans
  /// `repeated ScopeMetrics scope_metrics` of `ResourceMetrics`
  public static let scopeMetrics: UInt32 = ResourceSpansField.scopeSpans
  /// `repeated Metric metrics` of `ScopeMetrics`
  public static let metrics: UInt32 = ScopeSpansField.spans
}

/// Fields of `Metric`.
public enum MetricField {
  /// `string name`
  public static let name: UInt32 = 1
  /// `string unit`
  public static let unit: UInt32 = 3
  /// `Sum sum`
  public static let sum: UInt32 = 7
  /// `ExponentialHistogram exponential_histogram`
  public static let exponentialHistogram: UInt32 = 10
}

/// Fields of `Sum`, and of `ExponentialHistogram` without the last one.
public enum SumField {
  /// `repeated NumberDataPoint data_points`, or `ExponentialHistogramDataPoint`
  public static let dataPoints: UInt32 = 1
  /// `AggregationTemporality aggregation_temporality`
  public static let temporality: UInt32 = 2
  /// `bool is_monotonic`
  public static let isMonotonic: UInt32 = 3
  /// `AGGREGATION_TEMPORALITY_DELTA`
  public static let delta: UInt64 = 1
}

/// Fields of `NumberDataPoint`.
public enum NumberPointField {
  /// `fixed64 start_time_unix_nano`
  public static let start: UInt32 = 2
  /// `fixed64 time_unix_nano`
  public static let time: UInt32 = 3
  /// `sfixed64 as_int`
  public static let integer: UInt32 = 6
  /// `repeated KeyValue attributes`
  public static let attributes: UInt32 = 7
}

/// Fields of `ExponentialHistogramDataPoint`.
public enum HistogramPointField {
  /// `repeated KeyValue attributes`
  public static let attributes: UInt32 = 1
  /// `fixed64 start_time_unix_nano`
  public static let start: UInt32 = 2
  /// `fixed64 time_unix_nano`
  public static let time: UInt32 = 3
  /// `fixed64 count`
  public static let count: UInt32 = 4
  /// `double sum`
  public static let sum: UInt32 = 5
  /// `sint32 scale`
  public static let scale: UInt32 = 6
  /// `fixed64 zero_count`
  public static let zeroCount: UInt32 = 7
  /// `Buckets positive`
  public static let positive: UInt32 = 8
  /// `repeated Exemplar exemplars`
  public static let exemplars: UInt32 = 11
  /// `double min`
  public static let least: UInt32 = 12
  /// `double max`
  public static let most: UInt32 = 13
}

/// Fields of `ExponentialHistogramDataPoint.Buckets`.
public enum BucketsField {
  /// `sint32 offset`
  public static let offset: UInt32 = 1
  /// `repeated uint64 bucket_counts`, packed
  public static let counts: UInt32 = 2
}

/// Fields of `Exemplar`.
public enum ExemplarField {
  /// `fixed64 time_unix_nano`
  public static let time: UInt32 = 2
  /// `double as_double`
  public static let double: UInt32 = 3
  /// `bytes span_id`
  public static let spanID: UInt32 = 4
  /// `bytes trace_id`
  public static let traceID: UInt32 = 5
}

// Reads metrics of spans, for the auditor and for tests: what they say, and nothing about how they are made.

public import OTLP

/// What a series is of.
public struct SpanSeries: Hashable, Comparable, Sendable, CustomStringConvertible {
  /// The service, the span's name, its kind and its status, as attributes of metrics have them.
  public var service, name, kind, status: String

  /// Makes a series.
  public init(service: String, name: String, kind: String, status: String) {
    (self.service, self.name, self.kind, self.status) = (service, name, kind, status)
  }

  /// The series of a span in a record.
  init(_ span: SpanView, of record: ScannedRecord, _ bytes: RawSpan) {
    let kinds = ["UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"]
    let kind = Int(span.kind) < kinds.count ? kinds[Int(span.kind)] : kinds[0]
    let status = span.status == .error ? "ERROR" : span.status == .ok ? "OK" : "UNSET"
    self.init(
      service: SpanSeries.text(record.resources[Int(span.resource)].serviceName, bytes),
      name: SpanSeries.text(span.name, bytes),
      kind: "SPAN_KIND_\(kind)", status: "STATUS_CODE_\(status)")
  }

  fileprivate static func text(_ range: ByteRange, _ bytes: RawSpan) -> String {
    String(decoding: bytes.extracting(range.indices).copied(), as: UTF8.self)
  }

  /// Orders by service, name, kind and status.
  public static func < (left: SpanSeries, right: SpanSeries) -> Bool {
    (left.service, left.name, left.kind, left.status) < (right.service, right.name, right.kind, right.status)
  }

  /// All four.
  public var description: String { "\(service), \(name), \(kind), \(status)" }
}

/// What records of metrics say.
public struct CountedSpans: Sendable {
  /// Calls of each series,
  public private(set) var calls: [SpanSeries: UInt64] = [:]
  /// those of its histograms, whose buckets must have as many,
  public private(set) var durations: [SpanSeries: UInt64] = [:]
  /// and those of the series that has all beyond a limit.
  public private(set) var overflow: UInt64 = 0
  /// The times that points cover, in nanoseconds since 1970.
  public private(set) var stretches: Set<ClosedRange<UInt64>> = []
  /// Series that were in one record twice: readers that want points in order drop the second.
  public private(set) var repeated = 0
  private var inRecord: Set<SpanSeries> = []
  /// Spans that histograms refer to.
  public private(set) var exemplars: [(trace: TraceID, span: UInt64)] = []

  /// Nothing yet.
  public init() {}

  /// Adds a `MetricsData`.
  public mutating func read(_ bytes: RawSpan) throws(MalformedInput) {
    inRecord = []
    var data = WireCursor(ByteRange(offset: 0, count: UInt32(clamping: bytes.byteCount)))
    while let resource = try data.next(MetricsDataField.resourceMetrics, in: bytes) {
      var scopes = WireCursor(resource)
      while let scope = try scopes.next(MetricsDataField.scopeMetrics, in: bytes) {
        var metrics = WireCursor(scope)
        while let metric = try metrics.next(MetricsDataField.metrics, in: bytes) {
          try readMetric(metric, bytes)
        }
      }
    }
  }

  private mutating func readMetric(_ metric: ByteRange, _ bytes: RawSpan) throws(MalformedInput) {
    var sums = WireCursor(metric)
    while let sum = try sums.next(MetricField.sum, in: bytes) {
      var points = WireCursor(sum)
      while let point = try points.next(SumField.dataPoints, in: bytes) {
        let count = try number(NumberPointField.integer, of: point, bytes)
        try note(point, bytes)
        if let series = try series(point, NumberPointField.attributes, bytes) {
          calls[series, default: 0] += count
          if !inRecord.insert(series).inserted { repeated += 1 }
        } else {
          overflow += count
        }
      }
    }
    var histograms = WireCursor(metric)
    while let histogram = try histograms.next(MetricField.exponentialHistogram, in: bytes) {
      var points = WireCursor(histogram)
      while let point = try points.next(SumField.dataPoints, in: bytes) { try readHistogram(point, bytes) }
    }
  }

  private mutating func note(_ point: ByteRange, _ bytes: RawSpan) throws(MalformedInput) {
    let since = try number(NumberPointField.start, of: point, bytes)
    stretches.insert(since...max(since, try number(NumberPointField.time, of: point, bytes)))
  }

  private mutating func readHistogram(_ point: ByteRange, _ bytes: RawSpan) throws(MalformedInput) {
    var inBuckets = try number(HistogramPointField.zeroCount, of: point, bytes)
    var fields = WireCursor(point)
    while let positive = try fields.next(HistogramPointField.positive, in: bytes) {
      var buckets = WireCursor(positive)
      while let counts = try buckets.next(BucketsField.counts, in: bytes) {
        // A packed list: varints one after the other.
        var (value, shift) = (0 as UInt64, 0 as UInt64)
        for place in counts.indices {
          value |= UInt64(bytes.byte(at: place) & 0x7f) << shift
          shift += 7
          guard bytes.byte(at: place) < 0x80 else { continue }
          inBuckets += value
          (value, shift) = (0, 0)
        }
      }
    }
    let count = try number(HistogramPointField.count, of: point, bytes)
    if let series = try series(point, HistogramPointField.attributes, bytes) {
      durations[series, default: 0] += count == inBuckets ? count : 0
    }
    var all = WireCursor(point)
    while let exemplar = try all.next(HistogramPointField.exemplars, in: bytes) {
      let trace = try id(ExemplarField.traceID, of: exemplar, bytes)
      let span = try id(ExemplarField.spanID, of: exemplar, bytes)
      let id = TraceID(high: trace.prefix(8).bigEndian, low: trace.dropFirst(8).bigEndian)
      exemplars.append((trace: id, span: span[...].bigEndian))
    }
  }

  private func id(
    _ field: UInt32, of exemplar: ByteRange, _ bytes: RawSpan
  ) throws(MalformedInput) -> [UInt8] {
    var cursor = WireCursor(exemplar)
    guard let id = try cursor.next(field, in: bytes) else { return [] }
    return bytes.extracting(id.indices).copied()
  }

  /// A field of 64 bits; zero if it is missing.
  private func number(
    _ field: UInt32, of message: ByteRange, _ bytes: RawSpan
  ) throws(MalformedInput) -> UInt64 {
    var cursor = WireCursor(message)
    var found: UInt64 = 0
    while !cursor.isAtEnd {
      let tag = try cursor.tag(in: bytes)
      if tag.field == field {
        found = try cursor.fixed64(of: tag, in: bytes)
      } else {
        try cursor.skip(tag, in: bytes)
      }
    }
    return found
  }

  /// The series of a point; nil for the one that has all beyond a limit.
  private func series(
    _ point: ByteRange, _ field: UInt32, _ bytes: RawSpan
  ) throws(MalformedInput) -> SpanSeries? {
    var texts: [String: String] = [:]
    var cursor = WireCursor(point)
    while let message = try cursor.next(field, in: bytes) {
      let attribute = try KeyValueView(message, in: bytes)
      let key = SpanSeries.text(attribute.key, bytes)
      switch try attribute.value(in: bytes) {
      case .string(let text): texts[key] = SpanSeries.text(text, bytes)
      default: if key == "otel.metric.overflow" { return nil }
      }
    }
    return SpanSeries(
      service: texts["service.name"] ?? "", name: texts["span.name"] ?? "", kind: texts["span.kind"] ?? "",
      status: texts["status.code"] ?? "")
  }
}

extension ArraySlice<UInt8> {
  /// The bytes as a number, the highest first.
  fileprivate var bigEndian: UInt64 { reduce(0) { $0 << 8 | UInt64($1) } }
}

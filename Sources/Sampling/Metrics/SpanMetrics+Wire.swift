// Metrics of spans as OTLP.
//
// Names, units and attributes are those of the OpenTelemetry Collector's span-metrics connector, with
// exponential histograms and delta temporality; the overflow's attribute is that of the OpenTelemetry SDK
// specification, "Overflow attribute".

import OTLP

extension SpanMetrics {
  /// What points have in common.
  struct Stretch {
    var partition: PartitionID
    var since: Instant
    var end: Instant
  }

  /// The service of resources that name none, as the OpenTelemetry resource conventions have it.
  static let unknownService = "unknown_service"
  private static let kinds = ["UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"]
    .map { "SPAN_KIND_\($0)" }
  private static let statuses = ["UNSET", "OK", "ERROR"].map { "STATUS_CODE_\($0)" }

  /// Passes everything counted to `body`: `MetricsData` of at most `bytesMax` bytes, at least if that is
  /// 12,000, and how many series each has. Services, and the series of each, come in the order in which they
  /// were first seen.
  func forEachRecord(
    _ stretch: Stretch, services: NameTable, bytesMax: Int, _ body: (_ record: [UInt8], _ series: Int) -> Void
  ) {
    var firstOfService: [NameID: Int] = [:]
    let places = series.indices.map { slot in
      // What is beyond the limit comes last.
      guard !series[slot].isOverflow else { return (first: Int.max, slot: slot) }
      let first = firstOfService[series[slot].service] ?? slot
      firstOfService[series[slot].service] = first
      return (first: first, slot: slot)
    }
    var slots: [Int] = []
    var size = 0
    for place in places.sorted(by: { ($0.first, $0.slot) < ($1.first, $1.slot) }) {
      let own = sizeMax(of: place.slot, services)
      if size + own > bytesMax, !slots.isEmpty {
        body(record(of: slots, stretch, services), slots.count)
        (slots, size) = ([], 0)
      }
      slots.append(place.slot)
      size += own
    }
    if !slots.isEmpty { body(record(of: slots, stretch, services), slots.count) }
  }

  /// The most bytes that a series takes: its name twice, its service three times, its buckets of five bytes
  /// each, and everything of constant size.
  private func sizeMax(of slot: Int, _ services: NameTable) -> Int {
    let texts = 2 * name(of: slot).utf8.count + 3 * serviceName(of: slot, services).utf8.count
    return texts + 5 * series[slot].buckets.count + 900
  }

  private func serviceName(of slot: Int, _ services: NameTable) -> String {
    let service = series[slot].service
    guard service != .none else { return SpanMetrics.unknownService }
    return services.withBytes(of: service) { SpanMetrics.text($0.copied()) }
  }

  /// A name as text. What is not UTF-8 is repaired, and told apart by a hash of its bytes (FNV-1a): otherwise
  /// two names could be one, and two points of a record the same series.
  static func text(_ bytes: some Collection<UInt8>) -> String {
    if let text = String(validating: bytes, as: UTF8.self) { return text }
    let hash = bytes.reduce(0x811c_9dc5 as UInt32) { ($0 ^ UInt32($1)) &* 0x0100_0193 }
    return String(decoding: bytes, as: UTF8.self) + "#" + Hexadecimal.text(UInt64(hash), digits: 8)
  }

  private func record(of slots: [Int], _ stretch: Stretch, _ services: NameTable) -> [UInt8] {
    var writer = WireWriter()
    var rest = slots[...]
    while let first = rest.first {
      let (service, isOverflow) = (series[first].service, series[first].isOverflow)
      let run = rest.prefix { series[$0].service == service && series[$0].isOverflow == isOverflow }
      rest = rest.dropFirst(run.count)
      let name = isOverflow ? nil : serviceName(of: first, services)
      writer.message(MetricsDataField.resourceMetrics) { resource in
        resource.message(ResourceSpansField.resource) { own in
          if let name { own.attribute(ResourceField.attributes, "service.name", name) }
          own.attribute(ResourceField.attributes, "tailrace.partition", Int64(stretch.partition.value))
        }
        resource.message(MetricsDataField.scopeMetrics) { scope in
          scope.message(ScopeSpansField.scope) { $0.stringField(ScopeField.name, "tailrace") }
          write(run, name, stretch, to: &scope)
        }
      }
    }
    return writer.bytes
  }

  /// Writes the two metrics of one service.
  private func write(
    _ slots: ArraySlice<Int>, _ service: String?, _ stretch: Stretch, to scope: inout WireWriter
  ) {
    scope.message(MetricsDataField.metrics) { metric in
      metric.stringField(MetricField.name, "traces.span.metrics.calls")
      metric.message(MetricField.sum) { sum in
        for slot in slots {
          sum.message(SumField.dataPoints) { point in
            writeAttributes(NumberPointField.attributes, of: slot, service, stretch, to: &point)
            point.fixed64Field(NumberPointField.start, stretch.since.unixNanoseconds)
            point.fixed64Field(NumberPointField.time, stretch.end.unixNanoseconds)
            point.fixed64Field(NumberPointField.integer, series[slot].count)
          }
        }
        sum.varintField(SumField.temporality, SumField.delta)
        sum.varintField(SumField.isMonotonic, 1)
      }
    }
    scope.message(MetricsDataField.metrics) { metric in
      metric.stringField(MetricField.name, "traces.span.metrics.duration")
      metric.stringField(MetricField.unit, configuration.unit.rawValue)
      metric.message(MetricField.exponentialHistogram) { histogram in
        for slot in slots {
          histogram.message(SumField.dataPoints) { point in
            writeAttributes(HistogramPointField.attributes, of: slot, service, stretch, to: &point)
            writeDurations(of: slot, stretch, to: &point)
          }
        }
        histogram.varintField(SumField.temporality, SumField.delta)
      }
    }
  }

  private func writeAttributes(
    _ field: UInt32, of slot: Int, _ service: String?, _ stretch: Stretch, to point: inout WireWriter
  ) {
    // Here too: Prometheus makes no labels of a resource, and all partitions would be one series.
    point.attribute(field, "tailrace.partition", Int64(stretch.partition.value))
    guard let service else { return point.attribute(field, "otel.metric.overflow", true) }
    point.attribute(field, "service.name", service)
    point.attribute(field, "span.name", name(of: slot))
    point.attribute(field, "span.kind", SpanMetrics.kinds[series[slot].kind])
    point.attribute(field, "status.code", SpanMetrics.statuses[series[slot].status])
  }

  private func writeDurations(of slot: Int, _ stretch: Stretch, to point: inout WireWriter) {
    let one = series[slot]
    let unit = configuration.unit.nanoseconds
    point.fixed64Field(HistogramPointField.start, stretch.since.unixNanoseconds)
    point.fixed64Field(HistogramPointField.time, stretch.end.unixNanoseconds)
    point.fixed64Field(HistogramPointField.count, one.count)
    point.fixed64Field(HistogramPointField.sum, (Double(one.sum) / unit).bitPattern)
    point.varintField(HistogramPointField.scale, Int64(one.buckets.scale).zigzag)
    if one.zeroCount > 0 { point.fixed64Field(HistogramPointField.zeroCount, one.zeroCount) }
    if one.buckets.count > 0 {
      point.message(HistogramPointField.positive) { positive in
        positive.varintField(BucketsField.offset, Int64(one.buckets.low).zigzag)
        positive.message(BucketsField.counts) { counts in
          forEachBucket(of: slot) { counts.varint(UInt64($0)) }
        }
      }
    }
    if let exemplar = one.exemplar {
      point.message(HistogramPointField.exemplars) { written in
        written.fixed64Field(ExemplarField.time, exemplar.end)
        written.fixed64Field(ExemplarField.double, (Double(exemplar.duration) / unit).bitPattern)
        written.bytesField(ExemplarField.spanID, exemplar.spanID.bigEndianBytes)
        written.bytesField(
          ExemplarField.traceID, exemplar.traceID.high.bigEndianBytes + exemplar.traceID.low.bigEndianBytes)
      }
    }
    point.fixed64Field(HistogramPointField.least, (Double(one.least) / unit).bitPattern)
    point.fixed64Field(HistogramPointField.most, (Double(one.most) / unit).bitPattern)
  }
}

extension Instant {
  /// Nanoseconds since 1970; zero for a time before.
  fileprivate var unixNanoseconds: UInt64 { UInt64(max(0, nanoseconds)) }
}

extension UInt64 {
  /// The eight bytes, the highest first.
  fileprivate var bigEndianBytes: [UInt8] {
    (0..<8).map { UInt8(truncatingIfNeeded: self >> UInt64(56 - 8 * $0)) }
  }
}

extension WireWriter {
  fileprivate mutating func attribute(_ field: UInt32, _ key: String, _ text: String) {
    attribute(field, key) { $0.stringField(AnyValueField.string, text) }
  }

  fileprivate mutating func attribute(_ field: UInt32, _ key: String, _ truth: Bool) {
    attribute(field, key) { $0.varintField(AnyValueField.boolean, truth ? 1 : 0) }
  }

  fileprivate mutating func attribute(_ field: UInt32, _ key: String, _ number: Int64) {
    attribute(field, key) { $0.varintField(AnyValueField.integer, UInt64(bitPattern: number)) }
  }

  private mutating func attribute(_ field: UInt32, _ key: String, _ value: (inout WireWriter) -> Void) {
    message(field) { attribute in
      attribute.stringField(KeyValueField.key, key)
      attribute.message(KeyValueField.value) { value(&$0) }
    }
  }
}

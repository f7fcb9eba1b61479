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
  fileprivate static let kinds = ["UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"]
    .map { "SPAN_KIND_\($0)" }
  fileprivate static let statuses = ["UNSET", "OK", "ERROR"].map { "STATUS_CODE_\($0)" }

  /// Passes everything counted to `body`: `MetricsData` of at most `bytesMax` bytes, at least if that is
  /// 12,000, and how many series each has. Services, and the series of each, come in the order in which they
  /// were first seen.
  func forEachRecord(
    _ stretch: Stretch, services: NameTable, bytesMax: Int, _ body: (_ record: [UInt8], _ series: Int) -> Void
  ) {
    var writer = PointWriter(self, stretch)
    var slots: [Int] = []
    var (size, service, serviceCount) = (0, UInt64.max, 0)
    for slot in slotsByService() {
      if series[slot].key >> 16 != service {
        service = series[slot].key >> 16
        serviceCount = withServiceName(of: slot, services) { $0.byteCount }
      }
      // The most that it takes: its name twice, its service three times, its buckets of five bytes each, and
      // everything of constant size.
      let own =
        withName(of: slot) { 2 * $0.byteCount } + 3 * serviceCount
        + 5 * (bucketsInUse(of: slot)?.count ?? 0) + 900
      if size + own > bytesMax, !slots.isEmpty {
        body(record(of: slots, size, &writer, services), slots.count)
        (slots, size) = ([], 0)
      }
      slots.append(slot)
      size += own
    }
    if !slots.isEmpty { body(record(of: slots, size, &writer, services), slots.count) }
  }

  /// All slots: those of a service one after the other, and what is beyond the limit last.
  private func slotsByService() -> [Int] {
    // Services have small numbers. A place for those without one comes first.
    let places = series.map { $0.isOverflow ? 0 : Int($0.service.slot &+ 1) }
    var last = [Int](repeating: -1, count: (places.max() ?? 0) + 1)
    var next = [Int](repeating: -1, count: series.count)
    var firsts: [Int] = []
    for slot in series.indices where !series[slot].isOverflow {
      let before = last[places[slot]]
      if before < 0 { firsts.append(slot) } else { next[before] = slot }
      last[places[slot]] = slot
    }
    var slots: [Int] = []
    slots.reserveCapacity(series.count)
    for first in firsts {
      var slot = first
      while slot >= 0 {
        slots.append(slot)
        slot = next[slot]
      }
    }
    return slots + series.indices.filter { series[$0].isOverflow }
  }

  private func withServiceName<Result>(
    of slot: Int, _ services: NameTable, _ body: (RawSpan) -> Result
  ) -> Result {
    let service = series[slot].service
    guard service != .none else { return Array(SpanMetrics.unknownService.utf8).withRawBytes(body) }
    return services.withBytes(of: service) { SpanMetrics.withText($0, body) }
  }

  /// Lends a name as text. What is not UTF-8 is repaired, and told apart by a hash of its bytes (FNV-1a):
  /// otherwise two names could be one, and two points of a record the same series.
  static func withText<Result>(_ bytes: RawSpan, _ body: (RawSpan) -> Result) -> Result {
    if bytes.isASCII { return body(bytes) }
    let copy = bytes.copied()
    if String(validating: copy, as: UTF8.self) != nil { return body(bytes) }
    let hash = copy.reduce(0x811c_9dc5 as UInt32) { ($0 ^ UInt32($1)) &* 0x0100_0193 }
    let text = String(decoding: copy, as: UTF8.self) + "#" + Hexadecimal.text(UInt64(hash), digits: 8)
    return Array(text.utf8).withRawBytes(body)
  }

  private func record(
    of slots: [Int], _ sizeMax: Int, _ points: inout PointWriter, _ services: NameTable
  ) -> [UInt8] {
    var writer = WireWriter(capacity: sizeMax)
    var rest = slots[...]
    while let first = rest.first {
      let (service, isOverflow) = (series[first].service, series[first].isOverflow)
      let run = rest.prefix { series[$0].service == service && series[$0].isOverflow == isOverflow }
      rest = rest.dropFirst(run.count)
      let name = isOverflow ? nil : withServiceName(of: first, services) { $0.copied() }
      points.startService(name)
      writer.message(MetricsDataField.resourceMetrics) { resource in
        resource.message(ResourceSpansField.resource) { own in
          if let name { own.attribute(ResourceField.attributes, "service.name", name) }
          own.attribute(ResourceField.attributes, "tailrace.partition", points.partition)
        }
        resource.message(MetricsDataField.scopeMetrics) { scope in
          scope.message(ScopeSpansField.scope) { $0.stringField(ScopeField.name, "tailrace") }
          write(run, &points, to: &scope)
        }
      }
    }
    return writer.bytes
  }

  /// Writes the two metrics of one service.
  private func write(_ slots: ArraySlice<Int>, _ points: inout PointWriter, to scope: inout WireWriter) {
    scope.message(MetricsDataField.metrics) { metric in
      metric.stringField(MetricField.name, "traces.span.metrics.calls")
      metric.message(MetricField.sum) { sum in
        for slot in slots { points.writeCalls(of: slot, in: self, to: &sum) }
        sum.varintField(SumField.temporality, SumField.delta)
        sum.varintField(SumField.isMonotonic, 1)
      }
    }
    scope.message(MetricsDataField.metrics) { metric in
      metric.stringField(MetricField.name, "traces.span.metrics.duration")
      metric.stringField(MetricField.unit, configuration.unit.rawValue)
      metric.message(MetricField.exponentialHistogram) { histogram in
        for slot in slots { points.writeDurations(of: slot, in: self, to: &histogram) }
        histogram.varintField(SumField.temporality, SumField.delta)
      }
    }
  }
}

/// Writes points. What many of them have in common is encoded once.
private struct PointWriter {
  /// The attributes of the points of one metric: a name's in between.
  private struct Attributes {
    let field: UInt32
    /// Those of the service and the partition.
    var common: [UInt8] = []
    let kinds: [[UInt8]]
    let statuses: [[UInt8]]

    init(_ field: UInt32) {
      self.field = field
      kinds = SpanMetrics.kinds.map { Attributes.encoded(field, "span.kind", $0) }
      statuses = SpanMetrics.statuses.map { Attributes.encoded(field, "status.code", $0) }
    }

    private static func encoded(_ field: UInt32, _ key: String, _ text: String) -> [UInt8] {
      var writer = WireWriter()
      writer.attribute(field, key, Array(text.utf8))
      return writer.bytes
    }

    mutating func startService(_ service: [UInt8]?, _ partition: Int64) {
      var writer = WireWriter()
      // Here too: Prometheus makes no labels of a resource, and all partitions would be one series.
      writer.attribute(field, "tailrace.partition", partition)
      if let service {
        writer.attribute(field, "service.name", service)
      } else {
        writer.attribute(field, "otel.metric.overflow", true)
      }
      common = writer.bytes
    }

    /// Bytes of room for all of them: an attribute has five lengths and tags besides its key and value.
    func room(name: Int) -> Int { common.count + name + 256 }

    func append(_ kind: Int, _ status: Int, _ name: RawSpan, to out: inout TextOutput) {
      common.withRawBytes { out.append($0) }
      let count = UInt64(name.byteCount)
      let value = 1 + count.varintBytes + count
      out.append(varint: UInt64(field) << 3 | UInt64(WireType.lengthDelimited.rawValue))
      out.append(varint: 12 + value.varintBytes + value)
      out.append("\u{0a}\u{09}span.name\u{12}")
      out.append(varint: value)
      out.append("\u{0a}")
      out.append(varint: count)
      out.append(name)
      kinds[kind].withRawBytes { out.append($0) }
      statuses[status].withRawBytes { out.append($0) }
    }
  }

  let partition: Int64
  private let since: UInt64
  private let end: UInt64
  private let unit: Double
  private var calls = Attributes(NumberPointField.attributes)
  private var durations = Attributes(HistogramPointField.attributes)
  /// The point being written, and its counts.
  private var point: [UInt8] = []
  private var packed: [UInt8] = []

  init(_ metrics: SpanMetrics, _ stretch: SpanMetrics.Stretch) {
    partition = Int64(stretch.partition.value)
    (since, end) = (stretch.since.unixNanoseconds, stretch.end.unixNanoseconds)
    unit = Double(metrics.configuration.unit.nanoseconds)
  }

  /// The points that follow are of this service; nil for the one point of all that is beyond the limit.
  mutating func startService(_ service: [UInt8]?) {
    calls.startService(service, partition)
    durations.startService(service, partition)
  }

  mutating func writeCalls(of slot: Int, in metrics: SpanMetrics, to sum: inout WireWriter) {
    startPoint(of: slot, calls, in: metrics) { [since, end] out in
      out.append(NumberPointField.start, fixed64: since)
      out.append(NumberPointField.time, fixed64: end)
      out.append(NumberPointField.integer, fixed64: metrics.series[slot].durations.count)
    }
    point.withRawBytes { sum.bytesField(SumField.dataPoints, $0) }
  }

  /// Starts a point with a series' attributes and up to 100 bytes more.
  private mutating func startPoint(
    of slot: Int, _ attributes: Attributes, in metrics: SpanMetrics, _ body: (inout TextOutput) -> Void
  ) {
    point.removeAll(keepingCapacity: true)
    guard !metrics.series[slot].isOverflow else {
      return point.appendText(room: attributes.room(name: 0) + 100) { out in
        attributes.common.withRawBytes { out.append($0) }
        body(&out)
      }
    }
    let (kind, status) = (metrics.series[slot].kind, metrics.series[slot].status)
    metrics.withName(of: slot) { name in
      point.appendText(room: attributes.room(name: name.byteCount) + 100) { out in
        attributes.append(kind, status, name, to: &out)
        body(&out)
      }
    }
  }

  mutating func writeDurations(of slot: Int, in metrics: SpanMetrics, to histogram: inout WireWriter) {
    // A histogram is too large to be copied.
    let series = metrics.series.span
    startPoint(of: slot, durations, in: metrics) { [since, end, unit] out in
      out.append(HistogramPointField.start, fixed64: since)
      out.append(HistogramPointField.time, fixed64: end)
      out.append(HistogramPointField.count, fixed64: series[slot].durations.count)
      let nanoseconds = series[slot].durations.sum
      let sum = nanoseconds >> 64 == 0 ? Double(UInt64(nanoseconds)) : Double(nanoseconds)
      out.append(HistogramPointField.sum, fixed64: (sum / unit).bitPattern)
      out.append(varint: UInt64(HistogramPointField.scale) << 3)
      out.append(varint: Int64(series[slot].durations.scale).zigzag)
      let zeroCount = series[slot].durations.zeroCount
      if zeroCount > 0 { out.append(HistogramPointField.zeroCount, fixed64: zeroCount) }
    }
    if let buckets = metrics.bucketsInUse(of: slot) { writeBuckets(buckets, of: slot, in: metrics) }
    if let exemplar = metrics.series[slot].exemplar { write(exemplar) }
    let (shortest, most) = (series[slot].durations.shortest, series[slot].durations.most)
    point.appendText(room: 32) { [unit] out in
      out.append(HistogramPointField.least, fixed64: (Double(shortest) / unit).bitPattern)
      out.append(HistogramPointField.most, fixed64: (Double(most) / unit).bitPattern)
    }
    point.withRawBytes { histogram.bytesField(SumField.dataPoints, $0) }
  }

  private mutating func writeBuckets(_ buckets: ClosedRange<Int32>, of slot: Int, in metrics: SpanMetrics) {
    packed.removeAll(keepingCapacity: true)
    let series = metrics.series.span
    packed.appendText(room: 5 * buckets.count + 8) { out in
      var bucket = buckets.lowerBound
      while bucket <= buckets.upperBound {
        out.append(varint: UInt64(series[slot].durations.count(of: bucket)))
        bucket &+= 1
      }
    }
    let offset = Int64(buckets.lowerBound).zigzag
    let count = UInt64(packed.count)
    point.appendText(room: packed.count + 64) { [packed] out in
      out.append(varint: UInt64(HistogramPointField.positive) << 3 | 2)
      out.append(varint: 2 + offset.varintBytes + count.varintBytes + count)
      out.append(varint: UInt64(BucketsField.offset) << 3)
      out.append(varint: offset)
      out.append(varint: UInt64(BucketsField.counts) << 3 | 2)
      out.append(varint: count)
      packed.withRawBytes { out.append($0) }
    }
  }

  private mutating func write(_ exemplar: SpanMetrics.Exemplar) {
    var writer = WireWriter()
    writer.message(HistogramPointField.exemplars) { written in
      written.fixed64Field(ExemplarField.time, exemplar.end)
      written.fixed64Field(ExemplarField.double, (Double(exemplar.duration) / unit).bitPattern)
      written.bytesField(ExemplarField.spanID, exemplar.spanID.bigEndianBytes)
      written.bytesField(
        ExemplarField.traceID, exemplar.traceID.high.bigEndianBytes + exemplar.traceID.low.bigEndianBytes)
    }
    point += writer.bytes
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

extension RawSpan {
  /// Whether all bytes are below 0x80.
  fileprivate var isASCII: Bool {
    var bits: UInt64 = 0
    var offset = 0
    while byteCount &- offset >= 8 {
      bits |= word(at: offset)
      offset &+= 8
    }
    while offset < byteCount {
      bits |= UInt64(byte(at: offset))
      offset &+= 1
    }
    return bits & 0x8080_8080_8080_8080 == 0
  }
}

extension UInt64 {
  /// How many bytes it takes as a varint.
  fileprivate var varintBytes: UInt64 { UInt64(Swift.max(1, (64 - leadingZeroBitCount + 6) / 7)) }
}

extension TextOutput {
  @inline(__always)
  fileprivate mutating func append(_ field: UInt32, fixed64 value: UInt64) {
    append(varint: UInt64(field) << 3 | UInt64(WireType.fixed64.rawValue))
    append(word: value, count: 8)
  }
}

extension WireWriter {
  fileprivate mutating func attribute(_ field: UInt32, _ key: String, _ text: [UInt8]) {
    attribute(field, key) { $0.bytesField(AnyValueField.string, text) }
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

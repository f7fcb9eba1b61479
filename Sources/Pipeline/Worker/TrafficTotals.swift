// What a worker has counted of all traffic since it started: its own share, for whoever scrapes it.
//
// The topic `metrics` has every span exactly once. A worker's totals have those whose points it has written
// itself: they begin at zero when it starts, and grow once an interval, when points are committed.

internal import OTLP
public import Sampling
internal import Synchronization
internal import Topology

/// Totals of the points of span metrics that a worker has written.
public final class TrafficTotals: Sendable {
  /// Spans of one service, name, kind and status.
  public struct Key: Hashable, Comparable, Sendable {
    /// The service; all four are empty for spans beyond a limit.
    public var service = ""
    /// The span's name.
    public var span = ""
    /// Such as `SPAN_KIND_SERVER`.
    public var kind = ""
    /// Such as `STATUS_CODE_ERROR`.
    public var status = ""

    private var parts: [String] { [service, span, kind, status] }

    /// The key of spans beyond a limit.
    public init() {}

    /// By service, name, kind and status.
    public static func < (left: Key, right: Key) -> Bool {
      left.parts.lexicographicallyPrecedes(right.parts)
    }
  }

  /// The spans of one key.
  public struct Series: Equatable, Sendable {
    /// Spans.
    public var calls: UInt64 = 0
    /// The sum of their durations, in the unit of the topology.
    public var sum = 0.0
    /// Spans by duration: up to `bounds[0]`, and so on; the last ones are longer than all bounds.
    public var buckets: [UInt64]
  }

  /// The bounds of the buckets are two to these powers: from 0.25 ms to 65.5 s, or the like in seconds.
  ///
  /// Powers of two are bounds of the exponential histograms too, whatever their scale: nothing is estimated.
  private let exponents: ClosedRange<Int64>

  /// In what durations are given.
  public let unit: SpanMetricsConfiguration.Unit

  /// How many series there are at most. Further spans are counted under the empty key.
  static let seriesMax = 1000

  private let totals = Mutex<[Key: Series]>([:])

  /// Nil unless the topology asks for it.
  convenience init?(_ topology: Topology) {
    guard case .tailSampling(let sampling) = topology, let metrics = sampling.metrics, metrics.isServed else {
      return nil
    }
    self.init(metrics)
  }

  init(_ configuration: SpanMetricsConfiguration) {
    unit = configuration.unit
    exponents = unit == .seconds ? -12...6 : -2...16
  }

  /// The upper bounds of all buckets but the last, in the unit.
  public var bounds: [Double] {
    exponents.map { Double(sign: .plus, exponent: Int($0), significand: 1) }
  }

  private var emptySeries: Series { Series(buckets: Array(repeating: 0, count: exponents.count + 1)) }

  /// All series, in order.
  public var ordered: [(key: Key, series: Series)] {
    totals.withLock { $0.map { (key: $0.key, series: $0.value) } }.sorted { $0.key < $1.key }
  }

  /// Adds a record of the topic `metrics`.
  ///
  /// - Throws: `MalformedInput` if it is none.
  func add(_ record: [UInt8]) throws(MalformedInput) {
    var points: [(Key, Series)] = []
    try record.withRawBytes { (bytes) throws(MalformedInput) in
      let whole = ByteRange(offset: 0, count: UInt32(clamping: bytes.byteCount))
      let path = [MetricsDataField.resourceMetrics, MetricsDataField.scopeMetrics, MetricsDataField.metrics]
      // The durations have all calls: the other metric says nothing else.
      let toDurations = path + [MetricField.exponentialHistogram, SumField.dataPoints]
      try TrafficTotals.forEach(toDurations[...], of: whole, bytes) { (message) throws(MalformedInput) in
        points.append(try point(message, bytes))
      }
    }
    totals.withLock { totals in
      for (key, series) in points {
        let isOver = totals[key] == nil && totals.count >= TrafficTotals.seriesMax
        totals[isOver ? Key() : key, default: emptySeries].add(series)
      }
    }
  }

  /// Calls `body` with the content of each message that `path` leads to, field by field.
  private static func forEach(
    _ path: ArraySlice<UInt32>, of message: ByteRange, _ bytes: RawSpan,
    _ body: (ByteRange) throws(MalformedInput) -> Void
  ) throws(MalformedInput) {
    guard let field = path.first else { return try body(message) }
    var cursor = WireCursor(message)
    while let content = try cursor.next(field, in: bytes) {
      try forEach(path.dropFirst(), of: content, bytes, body)
    }
  }

  private func point(_ message: ByteRange, _ bytes: RawSpan) throws(MalformedInput) -> (Key, Series) {
    var (key, series) = (Key(), emptySeries)
    var (scale, zeros): (Int64, UInt64) = (0, 0)
    var positive: ByteRange?
    var cursor = WireCursor(message)
    while !cursor.isAtEnd {
      let tag = try cursor.tag(in: bytes)
      switch tag.field {
      case HistogramPointField.attributes:
        try key.read(KeyValueView(cursor.content(of: tag, in: bytes), in: bytes), bytes)
      case HistogramPointField.count: series.calls = try cursor.fixed64(of: tag, in: bytes)
      case HistogramPointField.sum: series.sum = Double(bitPattern: try cursor.fixed64(of: tag, in: bytes))
      case HistogramPointField.scale: scale = Int64(zigzag: try cursor.varint(of: tag, in: bytes))
      case HistogramPointField.zeroCount: zeros = try cursor.fixed64(of: tag, in: bytes)
      case HistogramPointField.positive: positive = try cursor.content(of: tag, in: bytes)
      default: try cursor.skip(tag, in: bytes)
      }
    }
    series.buckets[0] = zeros
    if let positive { try addBuckets(positive, scale: scale, to: &series, bytes) }
    return (key, series)
  }

  private func addBuckets(
    _ message: ByteRange, scale: Int64, to series: inout Series, _ bytes: RawSpan
  ) throws(MalformedInput) {
    var offset: Int64 = 0
    var counts: ByteRange?
    var cursor = WireCursor(message)
    while !cursor.isAtEnd {
      let tag = try cursor.tag(in: bytes)
      switch tag.field {
      case BucketsField.offset: offset = Int64(zigzag: try cursor.varint(of: tag, in: bytes))
      case BucketsField.counts: counts = try cursor.content(of: tag, in: bytes)
      default: try cursor.skip(tag, in: bytes)
      }
    }
    guard let counts else { return }
    let shift = min(max(scale, 0), 20)
    let width: Int64 = 1 << shift
    var number = WireCursor(counts)
    var bucket = offset
    while !number.isAtEnd {
      let count = try number.varint(in: bytes)
      // The bucket ends at two to the power of (bucket + 1) / 2^scale, or the next whole one.
      bucket &+= 1
      let exponent = (bucket &+ width &- 1) >> shift
      let bound = min(max(exponent, exponents.lowerBound), exponents.upperBound + 1)
      let place = Int(bound - exponents.lowerBound)
      series.buckets[place] = saturatedSum(series.buckets[place], count)
    }
  }
}

/// At most the largest number.
private func saturatedSum(_ left: UInt64, _ right: UInt64) -> UInt64 {
  let (sum, isOver) = left.addingReportingOverflow(right)
  return isOver ? .max : sum
}

extension TrafficTotals.Series {
  fileprivate mutating func add(_ other: Self) {
    calls = saturatedSum(calls, other.calls)
    sum += other.sum
    for place in buckets.indices { buckets[place] = saturatedSum(buckets[place], other.buckets[place]) }
  }
}

extension TrafficTotals.Key {
  fileprivate mutating func read(_ attribute: KeyValueView, _ bytes: RawSpan) throws(MalformedInput) {
    guard case .string(let range) = try attribute.value(in: bytes) else { return }
    let text = String(decoding: bytes.extracting(range.indices).copied(), as: UTF8.self)
    if bytes.spells("service.name", in: attribute.key) { service = text }
    if bytes.spells("span.name", in: attribute.key) { span = text }
    if bytes.spells("span.kind", in: attribute.key) { kind = text }
    if bytes.spells("status.code", in: attribute.key) { status = text }
  }
}

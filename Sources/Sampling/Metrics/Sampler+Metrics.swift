// Metrics of all spans, counted as records are read, before any verdict.
//
// Each span of each readable record counts once: also one that is late, dropped, or left out because it came
// before with the same bytes. The commit point has the offset from which spans are counted, but not written
// yet. Nothing of them is kept elsewhere: the next owner of the partition reads from there and counts again.
// So the records before the safe offset may be read again only to be counted, and those that were counted and
// written before are never counted again.
//
// Points are written when the stream clock passes a multiple of the interval, and cover the records up to
// there. So the same log gives the same points, whenever commits happen and whoever reads it.

import Invariants
import OTLP

/// Which spans have been counted and written.
public struct CountingPoint: Equatable, Sendable {
  /// Those in records before this one.
  public var next: Offset
  /// The stream clock when they had been: where the next points start.
  public var since: Instant

  /// Makes a point.
  public init(next: Offset, since: Instant) {
    self.next = next
    self.since = since
  }
}

extension Sampler {
  /// Counts the spans of the record being read.
  @inline(never)
  mutating func countSpans(
    _ spans: Span<SpanView>, of resources: Span<ResourceView>, in bytes: RawSpan, at offset: Offset
  ) {
    if let next = metrics.next {
      if offset < next { return }
    } else {
      metrics.next = offset
    }
    let beyondLimit = counters.servicesBeyondLimit
    var place = 0
    while place < spans.count {
      let resource = spans[place].resource
      let service = countedService(of: resources[Int(resource)], in: bytes)
      place = metrics.countKnown(spans, from: place, of: service, in: bytes)
      guard place < spans.count, spans[place].resource == resource else { continue }
      let isOwn = metrics.countNew(spans[place], of: service, in: bytes, mayAdd: mayAddSeries)
      if !isOwn { counters.spansCountedTogether += 1 }
      place += 1
    }
    // They are counted when the spans are sampled.
    counters.servicesBeyondLimit = beyondLimit
    counters.spansCounted += UInt64(spans.count)
    metrics.spanCount += spans.count
  }

  /// Whether there is memory for another series. Past half of the tables' memory about a thousand of them are
  /// enough: traces need the rest.
  private var mayAddSeries: Bool {
    !tableAccount.isOverdrawn && (!tableAccount.isHalfDrawn || metrics.byteCount < 1 << 20)
  }

  /// Writes what has been counted, once the stream clock has passed the end of an interval.
  ///
  /// - Parameter all: whether the interval ends now.
  @inline(never)
  mutating func writeMetrics(all: Bool = false, into effects: inout Effects) {
    guard metrics.isUsed, clock >= metricsDue || all else { return }
    // The stream clock has just started. What was counted before has no other time than its first.
    if metricsDue == .distantPast, !all {
      metrics.since = clock.floored(to: metrics.configuration.interval)
      metricsDue = metrics.due
      return
    }
    if !metrics.isEmpty {
      let stretch = SpanMetrics.Stretch(
        partition: partition, since: metrics.since, end: max(metrics.since, min(clock, metricsDue)))
      var count = 0
      metrics.forEachRecord(stretch, services: services, bytesMax: configuration.limits.metricsBytes) {
        let start = effects.arena.count
        $0.withRawBytes { effects.arena.append($0) }
        effects.outputs.append(.measure(record: start..<effects.arena.count, series: $1))
        count += $1
      }
      counters.metricPoints += 2 * UInt64(count)
    }
    metrics.removeAll()
    if let nextOffset { metrics.next = max(nextOffset, metrics.next ?? nextOffset) }
    metrics.since = clock < metricsDue ? clock : clock.floored(to: metrics.configuration.interval)
    metricsDue = metrics.due
  }

  /// Writes what has been counted, at the end of a recording.
  public mutating func endMetrics(into effects: inout Effects) {
    writeMetrics(all: true, into: &effects)
  }

  /// Offers kept spans as exemplars: `portion` of the outputs' bytes.
  @inline(never)
  mutating func offerExemplars(_ portion: Range<Int>, of outputs: [UInt8]) {
    guard metrics.wantsExemplars() else { return }
    let beyondLimit = counters.servicesBeyondLimit
    defer { counters.servicesBeyondLimit = beyondLimit }
    var reader = metrics.reader.take() ?? ScannedRecord()
    var isAny = false
    outputs.withRawBytes { all in
      let bytes = all.extracting(portion)
      do {
        try reader.scan(bytes)
      } catch {
        invariant(false, "kept spans can't be read again: \(error)")
      }
      for span in reader.spans {
        let service = countedService(of: reader.resources[Int(span.resource)], in: bytes)
        if metrics.offer(span, of: service, in: bytes) { isAny = true }
      }
    }
    metrics.exemplarsOffered(any: isAny)
    metrics.reader = reader
  }

  /// The service that spans count for: a resource without one has the name that others may give themselves.
  @inline(__always)
  private mutating func countedService(of resource: ResourceView, in bytes: RawSpan) -> NameID {
    let service = findService(of: resource, in: bytes)
    return service == .none ? unknownService : service
  }

  /// Intervals without a span are over once the stream clock has passed them: there is nothing to write.
  mutating func skipIntervals() {
    guard metrics.isUsed, metrics.isEmpty, metricsDue != .distantPast, clock >= metricsDue else { return }
    metrics.since = clock.floored(to: metrics.configuration.interval)
    metricsDue = metrics.due
  }

  /// Whether counts must not grow any further.
  @inline(__always)
  var areMetricsFull: Bool { metrics.spanCount >= SpanMetrics.spansMax }

  /// From where on spans are counted.
  var countingPoint: CountingPoint? {
    guard metrics.isUsed, let nextOffset else { return nil }
    let next = metrics.next ?? nextOffset
    return CountingPoint(next: metrics.isEmpty ? max(next, nextOffset) : next, since: metrics.since)
  }

  /// Resumes counting where the last owner had written everything. Without its point, nothing before the
  /// high water counts: it did not count either.
  mutating func restoreMetrics(_ point: CommitPoint) {
    guard metrics.isUsed else { return }
    let counting = point.counting ?? CountingPoint(next: point.highWater, since: point.clock)
    nextOffset = min(point.safeOffset, counting.next)
    metrics.next = counting.next
    metrics.since = counting.since
    metricsDue = metrics.due
    // The interval may have been longer: it ends after what is only counted.
    if clock != .distantPast, metricsDue != .distantPast {
      let interval = metrics.configuration.interval
      metricsDue = max(metricsDue, clock.floored(to: interval) + interval)
    }
  }

  /// The stream clock was set back.
  mutating func turnBackMetrics() {
    guard metrics.isUsed else { return }
    metrics.since = min(metrics.since, clock)
    metricsDue = metrics.due
  }
}

extension SpanMetrics {
  /// When the interval ends; at once if the stream clock has not started.
  var due: Instant {
    since == .distantPast ? since : since.floored(to: configuration.interval) + configuration.interval
  }
}

extension Instant {
  /// The last multiple of `interval` since 1970.
  fileprivate func floored(to interval: Interval) -> Instant {
    let rest = nanoseconds % max(1, interval.nanoseconds)
    return self - Interval(nanoseconds: rest < 0 ? rest + interval.nanoseconds : rest)
  }
}

// The workload generator: distributed traces whose truth is known.

import OTLP

/// Generates records in publication order, and the truth about their traces.
///
/// It holds only what is not published yet, so it can run forever.
public struct Workload: Sendable {
  private let options: WorkloadOptions
  private let planner: TracePlanner
  private let catalogue: ServiceCatalogue
  private let encoder: SpanEncoder
  private let skews: [Int64]
  private var random: RandomSource
  /// A separate source, so that republished records change nothing else.
  private var redelivery: RandomSource
  /// The same for links.
  private var linking: LinkPlanner
  private var nextStart: Int64
  private var startedCount = 0
  private var isFinishing = false
  private var pending = RecordHeap()
  private var sequence = 0
  private var unpublished: [Int: (truth: TraceTruth, records: Int)] = [:]
  private var finished: [TraceTruth] = []

  /// Starts a workload.
  public init(_ options: WorkloadOptions) {
    self.options = options
    planner = TracePlanner(options: options)
    catalogue = ServiceCatalogue(count: options.services)
    encoder = SpanEncoder(catalogue: catalogue, spanBytes: options.spanBytes)
    random = RandomSource(seed: options.seed)
    redelivery = RandomSource(seed: options.seed ^ 0x2e_de11)
    linking = LinkPlanner(options)
    nextStart = options.startNanoseconds
    let most = options.clockSkewMaxNanoseconds
    var skews: [Int64] = []
    for _ in 0..<max(1, options.services) { skews.append(Int64.random(in: -most...most, using: &random)) }
    self.skews = skews
  }

  /// The next record; nil when all traces have been published.
  public mutating func next() -> WorkloadRecord? {
    guard options.mixed else { return nextOfOneTrace() }
    let finishedBefore = finished.count
    guard var record = nextOfOneTrace() else { return nil }
    // Does what a collector that does not partition does: batches whatever has arrived, up to a size.
    while record.spanCount < max(50, options.spansPerRecord), let following = nextOfOneTrace() {
      record.bytes += following.bytes
      record.spanCount += following.spanCount
      record.publishedAt = following.publishedAt
    }
    record.key = []
    // Whatever ends in a batch ends when the batch is published.
    for place in finishedBefore..<finished.count { finished[place].lastPublishedAt = record.publishedAt }
    return record
  }

  /// Truths of traces whose last record has been returned since the last call.
  public mutating func takeFinishedTruths() -> [TraceTruth] {
    defer { finished.removeAll() }
    return finished
  }

  /// Starts no more traces; `next` returns what is left.
  public mutating func finish() {
    isFinishing = true
  }

  private mutating func nextOfOneTrace() -> WorkloadRecord? {
    // A trace's records are never published before it starts: once the next start is after the first pending
    // record, that one can go out.
    while !isFinishing, (pending.first?.publishedAt ?? .max) >= nextStart {
      if let count = options.traceCount, startedCount >= count {
        isFinishing = true
        break
      }
      startTrace()
    }
    guard let record = pending.removeFirst() else { return nil }
    if var trace = unpublished[record.trace] {
      trace.records -= 1
      if trace.records == 0 {
        finished.append(trace.truth)
        unpublished[record.trace] = nil
      } else {
        unpublished[record.trace] = trace
      }
    }
    return record.record
  }

  private mutating func startTrace() {
    var spans = planner.plan(startingAt: nextStart, using: &random)
    nextStart += max(1, Int64(1e9 / options.tracesPerSecond * random.number(from: 0.5, to: 1.5)))
    var identity = TraceIdentity(high: random.next(), low: random.next() | 1, traceState: "")
    if random.chance(options.tracestateShare) {
      identity.traceState = random.chance(0.5) ? "vendor=a1b2" : "rojo=00f067aa,congo=t61"
    }
    if options.linkShare > 0 { linking.link(&spans, of: &identity) }
    let isRootless = spans.count > 1 && random.chance(options.rootlessShare)
    let chunks = chunk(spans, isRootless: isRootless)
    let lateChunk = random.chance(options.lateShare) ? random.number(in: 0...chunks.count - 1) : nil
    var key: [UInt8] = []
    TraceID(high: identity.high, low: identity.low).appendHexadecimal(to: &key)
    var lastPublishedAt: Int64 = 0
    var copies = 0
    for number in chunks.indices {
      let chunk = chunks[number]
      let end = chunk.map { spans[$0].end }.max() ?? nextStart
      var publishedAt = end + Int64(random.skewed(mean: Double(options.publishDelayMaxNanoseconds) / 8))
      if number == lateChunk { publishedAt += Int64.random(in: options.lateDelay, using: &random) }
      let isDescending =
        options.fieldOrder == .descending || (options.fieldOrder == .mixed && random.chance(0.5))
      let bytes = encoder.record(
        chunk[...], of: spans, identity, skew: skews[spans[chunk[0]].service], isDescending: isDescending)
      let record = WorkloadRecord(
        publishedAt: publishedAt, key: key, bytes: bytes, spanCount: chunk.count, traceIDHigh: identity.high,
        traceIDLow: identity.low)
      insert(record)
      lastPublishedAt = max(lastPublishedAt, publishedAt)
      guard options.redeliveredShare > 0, number != lateChunk, redelivery.chance(options.redeliveredShare)
      else { continue }
      var copy = record
      copy.publishedAt += Int64(redelivery.number(in: 1...1000)) * 1_000_000
      if redelivery.chance(0.5) {
        let part = chunk.prefix(redelivery.number(in: 1...chunk.count))
        copy.bytes = encoder.record(
          part, of: spans, identity, skew: skews[spans[chunk[0]].service], isDescending: isDescending)
        copy.spanCount = part.count
      }
      insert(copy)
      copies += 1
      lastPublishedAt = max(lastPublishedAt, copy.publishedAt)
    }
    let truth = truth(
      of: spans, identity, isRootless, late: lateChunk.map { Set(chunks[$0]) } ?? [], lastPublishedAt)
    unpublished[startedCount] = (truth, chunks.count + copies)
    startedCount += 1
  }

  private mutating func insert(_ record: WorkloadRecord) {
    pending.insert(PendingRecord(record: record, trace: startedCount, sequence: sequence))
    sequence += 1
  }

  /// Groups the spans of one service, as one instance exports them, in the order in which they ended.
  private func chunk(_ spans: [PlannedSpan], isRootless: Bool) -> [[Int]] {
    var places = spans.indices.filter { !isRootless || $0 > 0 }
    places.sort { (spans[$0].service, spans[$0].end, $0) < (spans[$1].service, spans[$1].end, $1) }
    var chunks: [[Int]] = []
    for place in places {
      let isNew =
        chunks.last.map { $0.count >= options.spansPerRecord || spans[$0[0]].service != spans[place].service }
        ?? true
      if isNew { chunks.append([place]) } else { chunks[chunks.count - 1].append(place) }
    }
    return chunks
  }

  private func truth(
    of spans: [PlannedSpan], _ identity: TraceIdentity, _ isRootless: Bool, late: Set<Int>,
    _ lastPublishedAt: Int64
  ) -> TraceTruth {
    let published = spans.indices.filter { !isRootless || $0 > 0 }
    let errors = published.filter { spans[$0].isError }
    let origin = errors.filter { place in !errors.contains { spans[$0].parent == place } }
      .min { end(of: $0, spans) < end(of: $1, spans) }
    let duration = spans[0].end - spans[0].start
    return TraceTruth(
      traceIDHigh: identity.high, traceIDLow: identity.low, spanCount: published.count,
      errorCount: errors.count,
      isSlow: !isRootless && duration >= options.slowThresholdNanoseconds,
      rootDurationNanoseconds: isRootless ? nil : duration,
      services: Set(published.map { catalogue.services[spans[$0].service] }).sorted(),
      rootService: isRootless ? nil : catalogue.services[spans[0].service],
      rootOperation: isRootless ? nil : catalogue.operation(spans[0].operation),
      errorOriginService: origin.map { catalogue.services[spans[$0].service] },
      errorOriginSpanID: origin.map { spans[$0].id }, isLate: !late.isEmpty,
      isOutcomeLate: late.contains(0) || (!errors.isEmpty && errors.allSatisfy(late.contains)),
      lastPublishedAt: lastPublishedAt, links: published.flatMap { spans[$0].links })
  }

  /// When a span ended by its own service's clock, then its id: the order that picks the origin.
  private func end(of place: Int, _ spans: [PlannedSpan]) -> (Int64, UInt64) {
    (spans[place].end + skews[spans[place].service], spans[place].id)
  }
}

/// A record that is not published yet.
struct PendingRecord: Sendable {
  var record: WorkloadRecord
  var trace: Int
  /// Breaks ties, so that the order is the same every time.
  var sequence: Int

  var publishedAt: Int64 { record.publishedAt }

  func isBefore(_ other: PendingRecord) -> Bool {
    (publishedAt, sequence) < (other.publishedAt, other.sequence)
  }
}

/// A binary heap: the record to publish next comes first.
struct RecordHeap: Sendable {
  private var records: [PendingRecord] = []

  var first: PendingRecord? { records.first }

  mutating func insert(_ record: PendingRecord) {
    records.append(record)
    var child = records.count - 1
    while child > 0 {
      let parent = (child - 1) / 2
      guard records[child].isBefore(records[parent]) else { return }
      records.swapAt(child, parent)
      child = parent
    }
  }

  mutating func removeFirst() -> PendingRecord? {
    guard let first = records.first else { return nil }
    let last = records.removeLast()
    guard !records.isEmpty else { return first }
    records[0] = last
    var parent = 0
    while true {
      var least = parent
      for child in [2 * parent + 1, 2 * parent + 2]
      where child < records.count && records[child].isBefore(records[least]) {
        least = child
      }
      guard least != parent else { return first }
      records.swapAt(least, parent)
      parent = least
    }
  }
}

// The traces of one partition that link to others, open or decided.

import OTLP

/// What is known of a trace that has links, or that links reach.
struct LinkNote {
  /// The traces that its spans link to, in the order in which they came; at most
  /// `LinksConfiguration.linksPerTrace`.
  var links: [TraceID] = []
  /// The trace whose randomness it takes: the smallest id of those that it links to,
  var source: TraceID?
  /// that randomness,
  var randomness: UInt64 = 0
  /// and whether a link states it. If not, it is that of the id.
  var isStated = false
  /// Whether it was decided by that randomness.
  var isShared = false
  /// How links reach it, if they keep it.
  var reach: LinkReach?
  /// With how many hops its verdict was made known; nil if it was not,
  var toldHops: Int?
  /// and how many of its links with it.
  var toldLinks = 0

  /// Takes the randomness of what `link` leads to, if that comes first: the smallest id, one that a link
  /// states, the smaller one. So it is the same whatever the order in which links arrive. What the trace was
  /// decided by stays.
  mutating func take(_ link: SpanLink) {
    guard !isShared else { return }
    let randomness = link.randomness ?? link.traceID.randomness
    let isStated = link.randomness != nil
    let new = (link.traceID.high, link.traceID.low, isStated ? 0 : 1, randomness)
    if let source {
      guard new < (source.high, source.low, self.isStated ? 0 : 1, self.randomness) else { return }
    }
    (source, self.randomness, self.isStated) = (link.traceID, randomness, isStated)
  }
}

/// The notes of one partition, and which trace links to which. Bounded in traces and in links: beyond either
/// limit the oldest notes are forgotten.
struct TraceLinks {
  let configuration: LinksConfiguration
  private var notes: [TraceID: LinkNote] = [:]
  /// The traces that link to each trace, in the order in which that was seen.
  private var linking: [TraceID: [TraceID]] = [:]
  /// The traces with notes, in the order in which they got them; some have none any more.
  private var order: [(traceID: TraceID, time: Instant)] = []
  private var first = 0
  private var linkCount = 0
  /// What links may still keep.
  var bucket: TokenBucket
  /// Kept traces since the last commit.
  var page: LinkPageWriter

  init(_ configuration: LinksConfiguration, pageBytesMax: Int) {
    self.configuration = configuration
    bucket = TokenBucket(RateLimit(perSecond: Int64(configuration.tracesPerSecond)))
    page = LinkPageWriter(pageBytesMax: pageBytesMax)
  }

  /// Bytes of memory in use, about.
  var byteCount: Int {
    let id = MemoryLayout<TraceID>.stride
    return (notes.capacity * (id + MemoryLayout<LinkNote>.stride + 1) + linking.capacity * (id + 9)) * 4 / 3
      + order.capacity * MemoryLayout<(TraceID, Instant)>.stride + linkCount * 2 * (id + 32)
      + page.byteCount
  }

  /// The traces with notes, in the order in which they got them.
  var traces: [TraceID] { order[first...].map(\.traceID) }

  /// How many traces have notes.
  var count: Int { notes.count }

  subscript(traceID: TraceID) -> LinkNote? { notes.isEmpty ? nil : notes[traceID] }

  /// The traces that link to `traceID`.
  func linking(to traceID: TraceID) -> [TraceID] { linking.isEmpty ? [] : linking[traceID] ?? [] }

  /// Changes a trace's note, which it gets if it has none. Returns how many others were forgotten for lack of
  /// room.
  mutating func change(_ traceID: TraceID, at clock: Instant, _ body: (inout LinkNote) -> Void) -> UInt64 {
    if notes[traceID] == nil { order.append((traceID, clock)) }
    let before = notes[traceID]?.links.count ?? 0
    body(&notes[traceID, default: LinkNote()])
    let links = notes[traceID]?.links ?? []
    for link in links[before...]
    where linking[link]?.count ?? 0 < LinksConfiguration.linkingPerTrace {
      linking[link, default: []].append(traceID)
    }
    linkCount += links.count - before
    var forgotten: UInt64 = 0
    // The note that has just changed has no more links than that: it stays.
    let linksMax = max(
      LinksConfiguration.linksPerTrace, LinksConfiguration.linksPerTraceMean * configuration.tracesMax)
    while notes.count > configuration.tracesMax || linkCount > linksMax {
      forgetFirst()
      forgotten += 1
    }
    return forgotten
  }

  /// Forgets notes that are older than they are remembered.
  mutating func forget(at clock: Instant) {
    while first < order.endIndex, order[first].time + configuration.remember <= clock { forgetFirst() }
  }

  private mutating func forgetFirst() {
    guard first < order.endIndex else { return }
    let traceID = order[first].traceID
    first += 1
    if first > 1024, first > order.count / 2 {
      order.removeFirst(first)
      first = 0
    }
    guard let note = notes.removeValue(forKey: traceID) else { return }
    linkCount -= note.links.count
    for link in note.links {
      // Nearly always the first.
      guard let place = linking[link]?.firstIndex(of: traceID) else { continue }
      linking[link]?.remove(at: place)
      if linking[link]?.isEmpty == true { linking[link] = nil }
    }
    guard notes.isEmpty else { return }
    // Dictionaries never shrink.
    (notes, linking, order, first) = ([:], [:], [], 0)
  }

  /// The clock was set back: what the rate allows is not what it was.
  mutating func turnBack() {
    bucket = TokenBucket(RateLimit(perSecond: Int64(configuration.tracesPerSecond)))
  }
}

// The records of the topic `links`: kept traces and what they link to. See docs/links.md.

import Invariants
public import OTLP

/// A kept trace whose verdict spreads along links.
public struct LinkEntry: Equatable, Sendable {
  /// The trace.
  public var traceID: TraceID
  /// How many links away a trace is that policies keep; 0 if they keep this one.
  public var hops: Int
  /// The stream clock when it was kept.
  public var keptAt: Instant
  /// The traces that its spans link to; at most `LinksConfiguration.linksPerTrace`. A further entry may add
  /// some.
  public var links: [TraceID]
}

/// Entries since the last commit. Each page starts anew: no record depends on another.
struct LinkPageWriter {
  private let pageBytesMax: Int
  private var page: [UInt8] = []
  private var previousTime: Int64 = 0
  private(set) var traces = 0

  /// An id, the hops, a time, a count, and the ids of links.
  static let entryBytesMax = 16 + 1 + 10 + 1 + 16 * LinksConfiguration.linksPerTrace
  /// What every page begins with,
  static let magic: [UInt8] = Array("TRK".utf8)
  /// and its version.
  static let version: UInt8 = 1

  init(pageBytesMax: Int) {
    self.pageBytesMax = max(pageBytesMax, 8 + LinkPageWriter.entryBytesMax)
  }

  var isEmpty: Bool { page.isEmpty }
  /// Whether another entry may not fit.
  var isFull: Bool { page.count > pageBytesMax - LinkPageWriter.entryBytesMax }
  var byteCount: Int { page.capacity }

  /// Appends an entry. The page must not be full.
  mutating func append(_ entry: LinkEntry) {
    var writer = WireWriter(capacity: LinkPageWriter.entryBytesMax)
    if page.isEmpty {
      page += LinkPageWriter.magic
      page.append(LinkPageWriter.version)
      previousTime = 0
    }
    writer.appendBytes { $0.appendBigEndian(entry.traceID) }
    writer.appendBytes { $0.append(UInt8(clamping: entry.hops)) }
    // Differences wrap around, and do so again when they are added: nothing overflows.
    writer.varint((entry.keptAt.nanoseconds &- previousTime).zigzag)
    let links = entry.links.prefix(LinksConfiguration.linksPerTrace)
    writer.varint(UInt64(links.count))
    for link in links { writer.appendBytes { $0.appendBigEndian(link) } }
    previousTime = entry.keptAt.nanoseconds
    page += writer.bytes
    traces += 1
  }

  /// Returns the page and how many entries it has, and begins another.
  mutating func takePage() -> (bytes: [UInt8], traces: Int) {
    defer {
      page.removeAll(keepingCapacity: page.capacity <= 4096)
      traces = 0
    }
    return (page, traces)
  }
}

/// Reads pages.
public enum LinkPage {
  /// Reads the entries of a record of the topic `links`.
  ///
  /// Its bytes are untrusted: whatever they are, the result is a list or an error.
  public static func entries(of page: RawSpan) throws(LedgerError) -> [LinkEntry] {
    var cursor = PageCursor(offset: 0)
    for byte in LinkPageWriter.magic {
      guard try cursor.byte(in: page) == byte else {
        throw LedgerError(reason: .flags, offset: cursor.offset - 1)
      }
    }
    let version = try cursor.byte(in: page)
    guard version == LinkPageWriter.version else {
      throw LedgerError(reason: .version(version), offset: cursor.offset - 1)
    }
    var entries: [LinkEntry] = []
    var time: Int64 = 0
    while cursor.offset < page.byteCount {
      let traceID = try cursor.traceID(in: page)
      let place = cursor.offset
      let hops = try cursor.byte(in: page)
      time = try time &+ Int64(zigzag: cursor.number(in: page))
      let count = try cursor.number(in: page)
      guard hops <= UInt8(LinksConfiguration.hopsMax), count <= UInt64(LinksConfiguration.linksPerTrace)
      else { throw LedgerError(reason: .number, offset: place) }
      var links: [TraceID] = []
      for _ in 0..<count { links.append(try cursor.traceID(in: page)) }
      entries.append(
        LinkEntry(traceID: traceID, hops: Int(hops), keptAt: Instant(nanoseconds: time), links: links))
    }
    return entries
  }

  /// The entries of a record that a sampler of this process has just written.
  public static func entriesWritten(_ page: some Sequence<UInt8>) -> [LinkEntry] {
    do throws(LedgerError) {
      return try entries(of: Array(page))
    } catch {
      invariant(false, "a page of links can't be read again: \(error)")
    }
    return []
  }

  /// Reads the entries of a record, as above.
  public static func entries(of page: [UInt8]) throws(LedgerError) -> [LinkEntry] {
    try page.withRawBytes { (page) throws(LedgerError) in try entries(of: page) }
  }
}

extension [UInt8] {
  /// Appends the 16 bytes of an id.
  mutating func appendBigEndian(_ id: TraceID) {
    for half in [id.high, id.low] {
      for place in 0..<8 { append(UInt8(truncatingIfNeeded: half >> UInt64(56 - 8 * place))) }
    }
  }
}

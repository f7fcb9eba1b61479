// Reads the ledger back, and with it everything that says what was decided: one reader for recovery, commands
// and tests.

public import OTLP

/// Reads a page of the ledger, entry by entry, and allocates nothing for an entry.
///
/// Its bytes are untrusted: whatever they are, each call returns an entry, the end or an error.
public struct LedgerReader: Sendable {
  /// The partition of the input.
  public let partition: UInt64
  /// The version of the configuration that gave the verdicts.
  public let configuration: String
  /// How many traces the page claims to have.
  public let traceCount: UInt32
  private let hasLinks: Bool
  private var cursor: PageCursor
  private var left: UInt32
  private var previousTime: Int64
  private var previousOffset: Int64

  /// Reads the head of a page; nil if the bytes are something else.
  public init?(page: RawSpan) throws(LedgerError) {
    guard LedgerReader.isPage(page) else { return nil }
    cursor = PageCursor(offset: LedgerPage.magic.count)
    let version = try cursor.byte(in: page)
    guard version == LedgerPage.version || version == LedgerPage.versionWithLinks else {
      throw LedgerError(reason: .version(version), offset: 3)
    }
    hasLinks = version == LedgerPage.versionWithLinks
    var count: UInt32 = 0
    for place in 0..<4 {
      let byte = try cursor.byte(in: page)
      count |= UInt32(byte) << UInt32(8 * place)
    }
    traceCount = count
    left = count
    partition = try cursor.number(in: page)
    let place = cursor.offset
    let length = try cursor.number(in: page)
    guard length <= UInt64(LedgerPage.configurationBytesMax) else {
      throw LedgerError(reason: .number, offset: place)
    }
    var text: [UInt8] = []
    for _ in 0..<length {
      let byte = try cursor.byte(in: page)
      text.append(byte)
    }
    configuration = String(decoding: text, as: UTF8.self)
    previousTime = try Int64(zigzag: cursor.number(in: page))
    previousOffset = try Int64(zigzag: cursor.number(in: page))
  }

  /// Whether the bytes claim to be a page, of whatever version.
  private static func isPage(_ bytes: RawSpan) -> Bool {
    guard bytes.byteCount > LedgerPage.magic.count else { return false }
    return LedgerPage.magic.indices.allSatisfy { bytes.byte(at: $0) == LedgerPage.magic[$0] }
  }

  /// The next entry; nil after the last.
  public mutating func next(in page: RawSpan) throws(LedgerError) -> LedgerEntry? {
    guard left > 0 else {
      guard cursor.offset == page.byteCount else {
        throw LedgerError(reason: .trailingBytes, offset: cursor.offset)
      }
      return nil
    }
    left -= 1
    let traceID = try cursor.traceID(in: page)
    let flagsOffset = cursor.offset
    let flags = try cursor.byte(in: page)
    let number = (flags & ~LedgerPage.linksFlag) >> LedgerPage.triggerShift
    guard hasLinks || flags & LedgerPage.linksFlag == 0,
      let trigger = Decision.Trigger(ledgerNumber: number)
    else {
      throw LedgerError(reason: .flags, offset: flagsOffset)
    }
    let first = try previousOffset &+ Int64(zigzag: cursor.number(in: page))
    let last = try first &+ Int64(bitPattern: cursor.number(in: page))
    let time = try time(flags, in: page)
    let age = try cursor.number(in: page)
    let verdict = UInt64(clamping: time)
    let (ago, overflow) = age.multipliedReportingOverflow(by: 1 << LedgerPage.ageShift)
    let spans = try cursor.number(in: page)
    let errors = try flags & LedgerPage.errorsFlag != 0 ? cursor.number(in: page) : 0
    (previousTime, previousOffset) = (time, first)
    let links = try flags & LedgerPage.linksFlag != 0 ? links(in: page) : []
    return LedgerEntry(
      traceID: traceID, trigger: trigger, hasRoot: flags & LedgerPage.rootFlag != 0,
      isVetoed: flags & LedgerPage.vetoFlag != 0, decidedAt: Instant(nanoseconds: time),
      earliestStart: overflow || ago > verdict ? 0 : verdict - ago, firstOffset: Offset(first),
      lastOffset: Offset(last), spanCount: spans, errorCount: errors,
      links: links)
  }

  private mutating func links(in page: RawSpan) throws(LedgerError) -> [TraceID] {
    let place = cursor.offset
    let count = try cursor.number(in: page)
    guard count <= UInt64(LinksConfiguration.linksPerTrace) else {
      throw LedgerError(reason: .number, offset: place)
    }
    var links: [TraceID] = []
    for _ in 0..<count { links.append(try cursor.traceID(in: page)) }
    return links
  }

  /// The time of an entry.
  private mutating func time(_ flags: UInt8, in page: RawSpan) throws(LedgerError) -> Int64 {
    let place = cursor.offset
    let elapsed = try Int64(zigzag: cursor.number(in: page))
    if flags & LedgerPage.nanosecondsFlag != 0 { return previousTime &+ elapsed }
    let (nanoseconds, overflow) = elapsed.multipliedReportingOverflow(
      by: LedgerPage.nanosecondsPerMillisecond)
    guard !overflow else { throw LedgerError(reason: .number, offset: place) }
    return previousTime &+ nanoseconds
  }
}

/// A position in a page of bytes that are not trusted.
struct PageCursor {
  var offset: Int

  mutating func byte(in page: RawSpan) throws(LedgerError) -> UInt8 {
    guard offset < page.byteCount else { throw LedgerError(reason: .truncated, offset: offset) }
    offset += 1
    return page.byte(at: offset - 1)
  }

  mutating func number(in page: RawSpan) throws(LedgerError) -> UInt64 {
    let start = offset
    var value: UInt64 = 0
    var shift: UInt64 = 0
    while true {
      let byte = try byte(in: page)
      // The tenth byte holds only bit 63.
      if shift == 63, byte > 1 { throw LedgerError(reason: .number, offset: start) }
      value |= UInt64(byte & 0x7f) << shift
      if byte < 0x80 { return value }
      shift += 7
    }
  }

  mutating func traceID(in page: RawSpan) throws(LedgerError) -> TraceID {
    guard page.byteCount - offset >= 16 else {
      throw LedgerError(reason: .truncated, offset: page.byteCount)
    }
    offset += 16
    return TraceID(in: page, at: offset - 16)
  }
}

/// Why a record of `decisions` or `verdicts` can't be read.
public enum VerdictRecordError: Error, Equatable, Sendable, CustomStringConvertible {
  /// It begins like a page of the ledger, but is none: verdicts are missing.
  case page(LedgerError)
  /// It is neither a page nor a decision record: something else wrote to the topic.
  case foreign(MalformedInput)

  /// Human-readable.
  public var description: String {
    switch self {
    case .page(let error): "a page of the ledger: \(error)"
    case .foreign(let error): "no decision record: \(error)"
    }
  }
}

extension RestoredVerdict {
  /// What the ledger says of a dropped trace: a final verdict, or where late spans are.
  public init(_ entry: LedgerEntry) {
    self.init(
      traceID: entry.traceID, isKept: false, isFinal: entry.trigger != .late, isLate: entry.trigger == .late,
      hasRoot: entry.hasRoot, isVetoed: entry.isVetoed, threshold: .never, decidedAt: entry.decidedAt,
      firstOffset: entry.firstOffset)
    lastOffset = entry.lastOffset
    earliestStart = entry.earliestStart
    links = entry.links
  }

  /// Reads the verdicts of a record of `decisions` or of `verdicts`: one, or those of a page, in their order.
  /// Pages say themselves what they are, so a reader may pass on either.
  ///
  /// - Parameter take: receives each verdict, those before the damage in a damaged page included.
  public static func read(
    _ record: RawSpan, _ take: (RestoredVerdict) -> Void
  ) throws(VerdictRecordError) {
    do {
      if var reader = try LedgerReader(page: record) {
        while let entry = try reader.next(in: record) { take(RestoredVerdict(entry)) }
        return
      }
    } catch { throw .page(error) }
    do { take(try RestoredVerdict(record: record)) } catch { throw .foreign(error) }
  }
}

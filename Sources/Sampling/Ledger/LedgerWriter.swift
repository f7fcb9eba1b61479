// Writes the ledger: an entry for each dropped trace, appended as it is decided, and a page for each commit.

import OTLP

/// The ledger of one partition since the last commit.
///
/// An entry costs some hundred instructions and allocates nothing: the page's storage is reused.
struct LedgerWriter {
  private let partition: PartitionID
  private let pageBytesMax: Int
  private var configuration: [UInt8]
  /// The page being written; empty before its first entry.
  private var page: [UInt8] = []
  private var traces: UInt32 = 0
  /// The time and the first offset of the entry before.
  private var previousTime: Int64 = 0
  private var previousOffset: Int64 = 0
  /// Pages that ended because the configuration changed.
  private var ended: [(bytes: [UInt8], traces: UInt32)] = []

  /// - Parameter pageBytesMax: the largest page; at least a head and an entry.
  init(partition: PartitionID, configuration: String, pageBytesMax: Int) {
    self.partition = partition
    self.pageBytesMax = max(
      pageBytesMax, LedgerPage.headBytesMax + LedgerPage.entryBytesMax + LedgerPage.linkBytesMax)
    self.configuration = LedgerWriter.head(of: configuration)
  }

  private static func head(of configuration: String) -> [UInt8] {
    Array(configuration.utf8.prefix(LedgerPage.configurationBytesMax))
  }

  /// Whether nothing is waiting to be written.
  var isEmpty: Bool { page.isEmpty && ended.isEmpty }

  /// Whether another entry may not fit the page.
  var isFull: Bool { page.count > pageBytesMax - LedgerPage.entryBytesMax - LedgerPage.linkBytesMax }

  /// Bytes of memory in use.
  var byteCount: Int { ended.reduce(page.capacity) { $0 + $1.bytes.capacity } }

  /// Entries from now on are of verdicts by another configuration.
  mutating func adopt(configuration: String) {
    let head = LedgerWriter.head(of: configuration)
    guard head != self.configuration else { return }
    self.configuration = head
    guard !page.isEmpty else { return }
    endPage()
    ended.append((page, traces))
    page = []
  }

  /// Appends the verdict on a dropped trace. The page must not be full.
  mutating func append(_ decision: Decision, earliestStart: UInt64) {
    if page.isEmpty { begin(with: decision) }
    let time = decision.decidedAt.nanoseconds
    // Differences wrap around, and do so again when they are added: nothing overflows.
    let elapsed = time &- previousTime
    let offset = decision.firstOffset.value
    let (milliseconds, rest) = elapsed.quotientAndRemainder(dividingBy: LedgerPage.nanosecondsPerMillisecond)
    var flags = decision.trigger.ledgerNumber << LedgerPage.triggerShift
    if decision.hasRoot { flags |= LedgerPage.rootFlag }
    if decision.isVetoed { flags |= LedgerPage.vetoFlag }
    if decision.errorCount > 0 { flags |= LedgerPage.errorsFlag }
    if rest != 0 { flags |= LedgerPage.nanosecondsFlag }
    if !decision.links.isEmpty { flags |= LedgerPage.linksFlag }
    let verdict = UInt64(clamping: time)
    let age = earliestStart < verdict ? (verdict - earliestStart) >> LedgerPage.ageShift : 0
    let difference = (
      offset: (offset &- previousOffset).zigzag, time: (rest == 0 ? milliseconds : elapsed).zigzag
    )
    let length = UInt64(bitPattern: decision.lastOffset.value &- offset)
    if page.capacity - page.count < LedgerPage.entryBytesMax { page.reserveCapacity(2 * page.capacity) }
    page.appendText(room: LedgerPage.entryBytesMax) { out in
      out.append(word: decision.traceID.high.byteSwapped, count: 8)
      out.append(word: decision.traceID.low.byteSwapped, count: 8)
      out.append(flags)
      out.append(varint: difference.offset)
      out.append(varint: length)
      out.append(varint: difference.time)
      out.append(varint: age)
      out.append(varint: UInt64(clamping: decision.spanCount))
      if decision.errorCount > 0 { out.append(varint: UInt64(decision.errorCount)) }
    }
    if !decision.links.isEmpty { append(decision.links) }
    previousTime = time
    previousOffset = offset
    traces += 1
  }

  @inline(never)
  private mutating func append(_ links: [TraceID]) {
    page[LedgerPage.magic.count] = LedgerPage.versionWithLinks
    let links = links.prefix(LinksConfiguration.linksPerTrace)
    page.append(UInt8(links.count))
    for link in links { page.appendBigEndian(link) }
  }

  private mutating func begin(with decision: Decision) {
    previousTime = decision.decidedAt.nanoseconds
    previousOffset = decision.firstOffset.value
    traces = 0
    var head = WireWriter(capacity: LedgerPage.headBytesMax)
    head.varint(UInt64(clamping: partition.value))
    head.varint(UInt64(configuration.count))
    head.appendBytes { $0 += configuration }
    head.varint(previousTime.zigzag)
    head.varint(previousOffset.zigzag)
    page.reserveCapacity(max(page.capacity, LedgerPage.headBytesMax + 16 * LedgerPage.entryBytesMax))
    page += LedgerPage.magic
    page.append(LedgerPage.version)
    // The number of traces: see `endPage`.
    page += [0, 0, 0, 0]
    page += head.bytes
  }

  private mutating func endPage() {
    for place in 0..<4 {
      page[LedgerPage.countOffset + place] = UInt8(truncatingIfNeeded: traces >> UInt32(8 * place))
    }
  }

  /// Passes the pages to `body`, oldest first, and empties the ledger.
  mutating func takePages(_ body: (_ page: [UInt8], _ traces: Int) -> Void) {
    for page in ended { body(page.bytes, Int(page.traces)) }
    ended = []
    guard !page.isEmpty else { return }
    endPage()
    body(page, Int(traces))
    page.removeAll(keepingCapacity: true)
  }

  /// Releases the storage if nothing is in it.
  mutating func trim() {
    if page.isEmpty { page = [] }
  }
}

extension Int64 {
  /// The number with its sign in the lowest bit, so that small negative numbers are short varints too.
  @inline(__always)
  var zigzag: UInt64 { UInt64(bitPattern: self << 1 ^ self >> 63) }

  /// Reads `zigzag` back.
  package init(zigzag: UInt64) {
    self = Int64(bitPattern: zigzag >> 1) ^ -Int64(bitPattern: zigzag & 1)
  }
}

extension Sampler {
  /// Ends the ledger's page: what was dropped since the last call becomes an output. To be called before each
  /// commit. Pages that are full are outputs by themselves.
  public mutating func endLedgerPage(into effects: inout Effects) {
    ledger.takePages { page, traces in
      let start = effects.arena.count
      page.withRawBytes { effects.arena.append($0) }
      effects.outputs.append(.account(page: start..<effects.arena.count, traces: traces))
    }
  }

  /// Whether the ledger has entries that are not in an output yet.
  public var hasLedgerEntries: Bool { !ledger.isEmpty }
}

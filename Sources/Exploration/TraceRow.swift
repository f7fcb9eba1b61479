// A kept trace in the index, and the lists that belong to it.

internal import OTLP

/// What the index has of a trace.
struct TraceRow {
  struct Flags: OptionSet {
    let rawValue: UInt16

    /// A decision record was read.
    static let isDecided = Flags(rawValue: 1)
    /// The final one was.
    static let isFinal = Flags(rawValue: 2)
    static let hasError = Flags(rawValue: 4)
    /// A policy on latency keeps it.
    static let isSlow = Flags(rawValue: 8)
    static let isLate = Flags(rawValue: 16)
    static let isRecalled = Flags(rawValue: 32)
    static let isTruncated = Flags(rawValue: 64)
    static let hasRoot = Flags(rawValue: 128)
    /// Not all of its operations are listed.
    static let hasMorePairs = Flags(rawValue: 256)
    /// Not all of its logs are listed.
    static let hasMoreLogs = Flags(rawValue: 512)
  }

  var id: TraceID
  /// Of the root span, or the earliest of any.
  var start: UInt64
  var duration: UInt64 = 0
  /// Of the spans that were read: the first start and the last end.
  var earliest = UInt64.max
  var latest: UInt64 = 0
  /// Log time of the verdict, or of the first record, in nanoseconds.
  var time: Int64
  var weight: Double = 1
  var byteCount: UInt32 = 0
  /// As decided.
  var spanCount: UInt32 = 0
  var errorCount: UInt32 = 0
  /// As read from the topic of kept spans.
  var spansRead: UInt32 = 0
  var errorsRead: UInt32 = 0
  /// Names.
  var rootService = NamePool.other
  var rootOperation = NamePool.other
  var policy = NamePool.other
  /// All policies that keep it, joined.
  var reasons = NamePool.other
  var flags: Flags = []
  var pairs = WordList()
  var places = WordList()
  /// A Bloom filter of its attributes: see `TagFilter`.
  var tags = TagFilter()

  /// From the first start to the last end of any span: longer than the root where work goes on after it.
  var wholeDuration: UInt64 { max(duration, latest > earliest ? latest - earliest : 0) }

  /// Lasts as long as a span that was read. Without a decision, the span's times are the trace's.
  mutating func reach(_ brief: SpanBrief, isDecided: Bool) {
    let end = brief.start &+ brief.duration
    if !isDecided {
      let last = start == 0 ? end : max(start &+ duration, end)
      start = start == 0 ? brief.start : min(start, brief.start)
      duration = max(last, start) - start
    }
    earliest = min(earliest, brief.start)
    latest = max(latest, end)
  }

  var spans: UInt32 { max(spanCount, spansRead) }
  var errors: UInt32 { max(errorCount, errorsRead) }
}

/// A set of hashes in 512 bits, two for each: a trace with 50 different attributes is found by one in thirty
/// that it doesn't have, one with 500 by two of three. What is found is verified on the spans themselves.
///
/// Source: B. Bloom, "Space/Time Trade-offs in Hash Coding with Allowable Errors", CACM 13 (1970).
struct TagFilter {
  private var bits: InlineArray<8, UInt64> = .init(repeating: 0)

  mutating func insert(_ hash: UInt64) {
    for bit in [hash & 511, hash >> 9 & 511] { bits[Int(bit >> 6)] |= 1 << (bit & 63) }
  }

  func mayContain(_ hash: UInt64) -> Bool {
    bits[Int(hash & 511) >> 6] >> (hash & 63) & 1 == 1
      && bits[Int(hash >> 9 & 511) >> 6] >> (hash >> 9 & 63) & 1 == 1
  }

  /// The hash of an attribute. FNV-1a, with the bits mixed once more at the end.
  static func hash(key: [UInt8], value: [UInt8]) -> UInt64 {
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    func add(_ byte: UInt8) { hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01b3 }
    for byte in key { add(byte) }
    add(0xff)
    for byte in value { add(byte) }
    return hash ^ hash >> 29 ^ hash >> 43
  }
}

/// A list of words in blocks of a `WordPool`.
struct WordList {
  var first: UInt32 = .max
  var last: UInt32 = .max
  var count: UInt32 = 0
}

/// The blocks of many lists, which are reused.
struct WordPool {
  private struct Block {
    var next: UInt32 = .max
    var words: InlineArray<7, UInt32> = .init(repeating: 0)
  }

  /// A multiple of the entries' sizes, so that none is cut: two words are a pair's, three a place's.
  private static let wordsUsed = 6

  private var blocks = Chunks<Block>()
  private var free: UInt32 = .max
  private var freeCount = 0

  /// Memory in use, that of free blocks included.
  var byteCount: Int { blocks.byteCount }

  /// Whether packing would release a quarter of its memory, and more than it has for itself.
  var isLoose: Bool { freeCount > 4096 && freeCount > blocks.count / 4 }

  mutating func append(_ word: UInt32, to list: inout WordList) {
    let place = Int(list.count) % WordPool.wordsUsed
    if place == 0 {
      let block = takeBlock()
      if list.count == 0 { list.first = block } else { blocks[Int(list.last)].next = block }
      list.last = block
    }
    blocks[Int(list.last)].words[place] = word
    list.count += 1
  }

  private mutating func takeBlock() -> UInt32 {
    guard free != .max else {
      blocks.append(Block())
      return UInt32(blocks.end - 1)
    }
    let block = free
    free = blocks[Int(block)].next
    freeCount -= 1
    blocks[Int(block)] = Block()
    return block
  }

  mutating func remove(_ list: WordList) {
    guard list.count > 0 else { return }
    var block = list.first
    while block != .max {
      let next = blocks[Int(block)].next
      blocks[Int(block)].next = free
      free = block
      freeCount += 1
      block = next
    }
  }

  /// Moves the blocks of all lists to the front and releases the memory behind them.
  ///
  /// - Parameter lists: calls its argument with each list that there is, once.
  mutating func pack(_ lists: ((inout WordList) -> Void) -> Void) {
    let kept = UInt32(blocks.count - freeCount)
    // Free places in front are as many as used ones behind.
    var places: [UInt32] = []
    while free != .max {
      if free < kept { places.append(free) }
      free = blocks[Int(free)].next
    }
    freeCount = 0
    lists { list in
      var before = UInt32.max
      var block = list.count > 0 ? list.first : .max
      while block != .max {
        var place = block
        if block >= kept, let lower = places.popLast() {
          blocks[Int(lower)] = blocks[Int(block)]
          if before == .max { list.first = lower } else { blocks[Int(before)].next = lower }
          place = lower
        }
        before = place
        block = blocks[Int(place)].next
      }
      if before != .max { list.last = before }
    }
    blocks.keepFirst(Int(kept))
  }

  /// Calls `body` with each entry's words, two or three, until it returns false.
  func forEach(_ list: WordList, of size: Int, _ body: ((UInt32, UInt32, UInt32)) -> Bool) {
    var block = list.first
    var left = Int(list.count)
    while block != .max, left > 0 {
      let content = blocks[Int(block)]
      var place = 0
      while place < min(left, WordPool.wordsUsed) {
        let third = size > 2 ? content.words[place + 2] : 0
        guard body((content.words[place], content.words[place + 1], third)) else { return }
        place += size
      }
      left -= WordPool.wordsUsed
      block = content.next
    }
  }

  /// The first entry of two words that begins with `word`.
  func find(_ word: UInt32, in list: WordList) -> WordPlace? {
    var block = list.first
    var left = Int(list.count)
    while block != .max, left > 0 {
      let end = min(left, WordPool.wordsUsed)
      var place = 0
      while place < end {
        if blocks[Int(block)].words[place] == word { return WordPlace(block: block, place: place) }
        place += 2
      }
      left -= WordPool.wordsUsed
      block = blocks[Int(block)].next
    }
    return nil
  }

  /// The word after the one at `place`.
  subscript(after place: WordPlace) -> UInt32 {
    get { blocks[Int(place.block)].words[place.place + 1] }
    set { blocks[Int(place.block)].words[place.place + 1] = newValue }
  }
}

/// Where an entry of a list is.
struct WordPlace {
  var block: UInt32
  var place: Int
}

/// What a trace's list has of one operation: how many spans, whether one failed, the longest one's duration.
struct PairInfo {
  var word: UInt32

  init(word: UInt32) { self.word = word }

  init(count: Int, hasError: Bool, duration: UInt64) {
    word = UInt32(min(count, 0x7fff)) << 17 | (hasError ? 1 << 16 : 0) | UInt32(PairInfo.code(duration))
  }

  var count: Int { Int(word >> 17) }
  var hasError: Bool { word >> 16 & 1 == 1 }
  /// Within a thousandth.
  var duration: UInt64 { PairInfo.duration(UInt16(truncatingIfNeeded: word)) }

  mutating func add(_ other: PairInfo) {
    self = PairInfo(
      count: count + other.count, hasError: hasError || other.hasError,
      duration: max(duration, other.duration))
  }

  /// The exponent and ten bits below the leading one.
  private static func code(_ whole: UInt64) -> UInt16 {
    let duration = min(whole, UInt64(Int64.max))
    guard duration > 0 else { return 0 }
    let exponent = 63 - duration.leadingZeroBitCount
    let fraction = exponent >= 10 ? duration >> UInt64(exponent - 10) : duration << UInt64(10 - exponent)
    return UInt16(exponent + 1) << 10 | UInt16(fraction & 1023)
  }

  private static func duration(_ code: UInt16) -> UInt64 {
    guard code >= 1024 else { return 0 }
    let exponent = UInt64(code >> 10) - 1
    let fraction = UInt64(code & 1023) | 1024
    return exponent >= 10 ? fraction << (exponent - 10) : fraction >> (10 - exponent)
  }
}

// Which spans of each trace have arrived, to recognise redelivered spans.
//
// Nearly every span is new, and finding that out must cost next to nothing. So a trace goes through up to
// four forms. A span has a *tag*: 32 bits mixed from its id, times, status and length. Tags are kept in a
// chain of blocks, which is searched only if the trace's filter has both bits of the span's id set; beyond 56
// spans, as the filter fills up, they are kept in a set. A span with a new tag is new. One with a known tag
// probably arrived before. From the first of these on, and as soon as a trace is kept, the trace has a set of
// *digests* instead: 64 bits over all bytes of a span. They need no spans in memory, and each span costs the
// same, however often a trace is sent again.

import Invariants
import OTLP
import SpanStorage

/// What is known of the spans of one trace: where its notes are in a `SpanRegister`.
struct KnownSpans: BitwiseCopyable {
  enum Form: UInt8 {
    /// Tags, in a chain of blocks that starts with the one being filled.
    case list
    /// Tags, in a set.
    case tags
    /// Digests, in a set.
    case digests
  }

  /// The block or the set; negative if there is none.
  fileprivate var place: Int32 = -1
  fileprivate(set) var form = Form.list
  /// The number of blocks in the list, and the room for tags in the first.
  fileprivate var blocks: UInt8 = 0
  fileprivate var room: UInt8 = 0

  /// No spans, to be noted in `form`.
  init(_ form: Form = .list) {
    self.form = form
  }
}

/// The spans of all remembered traces.
struct SpanRegister: ~Copyable {
  /// The outcome of noting a span.
  enum Entry {
    /// It was new, and is known now.
    case added
    /// It was known.
    case known
    /// It is new, and there is no room to note it.
    case refused
  }

  /// Half a cache line of the processor, filled from its end: enough for a small trace. Zero is no tag.
  struct Block {
    var tags: [7 of UInt32]
    var next: Int32

    init(next: Int32) {
      tags = .init(repeating: 0)
      self.next = next
    }

    /// All at once: faster than stopping early.
    @inline(__always)
    func contains(_ tag: UInt32) -> Bool {
      var found: UInt32 = 0
      for place in 0..<7 { found |= tags[place] == tag ? 1 : 0 }
      return found != 0
    }
  }

  private static let perBlock: UInt8 = 7
  /// With that many, one new span in five finds its bits set in the filter.
  private static let blocksMax: UInt8 = 8

  private var blocks = SlotPool<Block>()
  private var tagSets = NumberSets<UInt32>(capacityMin: 128)
  private var digestSets = NumberSets<UInt64>(capacityMin: 32)
  private let seed: HashSeed
  private let memory: SpanMemory
  /// Spans there was no room to note.
  private(set) var refusals: UInt64 = 0

  init(seed: HashSeed, memory: SpanMemory) {
    self.seed = seed
    self.memory = memory
  }

  /// Bytes of memory in use.
  var byteCount: Int { blocks.byteCount + tagSets.byteCount + digestSets.byteCount }

  /// Bytes taken by the notes on a trace.
  func byteCount(of known: KnownSpans) -> Int {
    switch known.form {
    case .list: Int(known.blocks) * MemoryLayout<Block>.stride
    case .tags: tagSets.byteCount(of: known.place)
    case .digests: digestSets.byteCount(of: known.place)
    }
  }

  /// How many of a trace's spans are noted.
  func count(of known: KnownSpans) -> Int {
    switch known.form {
    case .list: Int(known.blocks) * Int(SpanRegister.perBlock) - Int(known.room)
    case .tags: tagSets.count(of: known.place)
    case .digests: digestSets.count(of: known.place)
    }
  }

  // MARK: Tags

  /// Notes a span by its tag, in a trace not in the form of digests. Returns whether its tag is known.
  ///
  /// - Parameter mayBeKnown: false only if no span with the same id arrived before.
  @inline(__always)
  mutating func isKnown(_ span: SpanView, mayBeKnown: Bool, to known: inout KnownSpans) -> Bool {
    let tag = seed.tag(span)
    // Only lists have room.
    guard known.room > 0, !mayBeKnown else { return isKnown(tag, mayBeKnown, &known) }
    known.room &-= 1
    blocks[Int(known.place)].tags[Int(known.room)] = tag
    return false
  }

  @inline(never)
  private mutating func isKnown(_ tag: UInt32, _ mayBeKnown: Bool, _ known: inout KnownSpans) -> Bool {
    if known.form == .list {
      if mayBeKnown, contains(tag, in: known) { return true }
      if known.room > 0 || makeBlock(&known) {
        known.room -= 1
        blocks[Int(known.place)].tags[Int(known.room)] = tag
        return false
      }
      guard known.form == .tags else {
        refusals += 1
        return false
      }
    }
    let entry = tagSets.insert(tag, into: &known.place) { [memory] in !SpanRegister.isOverdrawn(memory) }
    if entry == .refused { refusals += 1 }
    return entry == .known
  }

  private func contains(_ tag: UInt32, in known: KnownSpans) -> Bool {
    var block = known.place
    while block >= 0 {
      if blocks[Int(block)].contains(tag) { return true }
      block = blocks[Int(block)].next
    }
    return false
  }

  /// Starts a block, or a set instead. False if neither is possible, or it is a set now.
  private mutating func makeBlock(_ known: inout KnownSpans) -> Bool {
    guard known.blocks < SpanRegister.blocksMax else {
      moveToSet(&known)
      return false
    }
    guard blocks.hasFree || !SpanRegister.isOverdrawn(memory) else { return false }
    known.place = Int32(truncatingIfNeeded: blocks.take(Block(next: known.place)))
    known.blocks += 1
    known.room = SpanRegister.perBlock
    return true
  }

  private mutating func moveToSet(_ known: inout KnownSpans) {
    guard !SpanRegister.isOverdrawn(memory) else { return }
    var moved = KnownSpans(.tags)
    var block = known.place
    while block >= 0 {
      tagSets.add(allOf: blocks[Int(block)].tags, to: &moved.place)
      block = blocks[Int(block)].next
    }
    release(known)
    known = moved
  }

  // MARK: Digests

  /// Notes a span by the digest of its bytes, in a trace in the form of digests, unless the trace has
  /// `countMax` of them. Returns whether it is known.
  mutating func isKnown(
    _ span: SpanView, in bytes: RawSpan, to known: inout KnownSpans, countMax: Int = .max
  ) -> Bool {
    let entry = note(span, in: bytes, to: &known, countMax: countMax)
    if entry == .refused { refusals += 1 }
    return entry == .known
  }

  /// The same, but the caller counts what there was no room for.
  @discardableResult
  mutating func note(
    _ span: SpanView, in bytes: RawSpan, to known: inout KnownSpans, countMax: Int = .max
  ) -> Entry {
    invariant(known.form == .digests, "a digest among tags")
    let digest = seed.digest(bytes.extracting(span.content.indices))
    guard digestSets.count(of: known.place) < countMax else {
      return digestSets.contains(digest, in: known.place) ? .known : .refused
    }
    return digestSets.insert(digest, into: &known.place) { [memory] in !SpanRegister.isOverdrawn(memory) }
  }

  /// Replaces `known` with other notes on the same spans. Spans known until now but not in the new notes
  /// count as refused.
  mutating func replace(_ known: inout KnownSpans, by other: KnownSpans) {
    refusals += UInt64(max(0, count(of: known) - count(of: other)))
    release(known)
    known = other
  }

  /// Forgets the spans that `other` has, which are notes of another register with the same seed.
  mutating func forget(_ other: KnownSpans, of register: borrowing SpanRegister, from known: inout KnownSpans)
  {
    invariant(known.form == .digests && other.form == .digests, "a digest among tags")
    digestSets.remove(other.place, of: register.digestSets, from: &known.place)
  }

  /// Whether tables take all they may.
  private static func isOverdrawn(_ memory: SpanMemory) -> Bool {
    memory.tableBytes >= memory.tableBytesMax
  }

  // MARK: The end

  /// Forgets the spans of a trace. `known` must not be used after that.
  mutating func release(_ known: KnownSpans) {
    switch known.form {
    case .tags: tagSets.release(known.place)
    case .digests: digestSets.release(known.place)
    case .list:
      var block = known.place
      while block >= 0 {
        blocks.release(Int(block))
        block = blocks[Int(block)].next
      }
    }
  }

  /// Releases memory not needed since the last call.
  mutating func trim() {
    blocks.trim()
    tagSets.trim()
    digestSets.trim()
  }

  /// Checks that nothing is lost: `known` are all traces with notes. For tests.
  func checkInvariants(_ known: [KnownSpans]) {
    var usedBlocks = 0
    for trace in known where trace.form == .list {
      usedBlocks += byteCount(of: trace) / MemoryLayout<Block>.stride
    }
    blocks.checkInvariants(used: usedBlocks)
    tagSets.checkInvariants(used: known.count { $0.form == .tags && $0.place >= 0 })
    digestSets.checkInvariants(used: known.count { $0.form == .digests && $0.place >= 0 })
  }
}

extension HashSeed {
  /// The tag of a span. Spans that differ in id, times, status or length have different tags, except for one
  /// pair in four billion.
  @inline(__always)
  fileprivate func tag(_ span: SpanView) -> UInt32 {
    let times = span.start &* 0x9e37_79b9_7f4a_7c15 ^ span.end
    let rest = UInt64(span.content.count) << 8 | UInt64(span.status.rawValue)
    // The seed is in both factors: with one of them known, tags could be chosen to collide.
    let mixed = fold(span.spanID ^ value ^ 0xa076_1d64_78bd_642f, times ^ rest << 24 ^ ~value)
    return max(UInt32(truncatingIfNeeded: mixed ^ mixed >> 32), 1)
  }
}

// Memory for the spans of all partitions of a lane: slabs of one size, carved out of huge pages and reused.
//
// The first touch of a page costs microseconds on a virtual machine, and a heap that returns blocks to the
// system pays that again for each. So memory is taken in extents of 4 MiB, reused as long as it is needed,
// and returned an extent at a time after a burst.

import Invariants

/// The memory that the samplers of one lane share.
///
/// Not thread-safe: it belongs to the lane.
public final class SpanMemory {
  /// The bytes of a slab; a larger piece gets a block of its own.
  public let slabBytes: Int
  /// Above this many bytes in use, spans are compressed: see `SpanBuffer`.
  public var compressAbove: Int {
    // Sound: as for the tables' account below.
    get { unsafe used.compressAbove }
    set { unsafe used.compressAbove = newValue }
  }
  /// The most bytes that remembered verdicts may take.
  public var verdictBytesMax = Int.max
  /// Bytes that remembered verdicts take. Their holders keep account here, as for the tables.
  public var verdictBytes: Int {
    // Sound: no access to the account lasts while another begins, and a lane has one thread.
    get { unsafe tables.verdictBytes }
    set { unsafe tables.verdictBytes = newValue }
  }
  /// The most bytes that the tables of open traces may take.
  public var tableBytesMax: Int {
    // Sound: as above.
    get { unsafe tables.bytesMax }
    set { unsafe tables.bytesMax = newValue }
  }
  /// Bytes that the tables of open traces take.
  public var tableBytes: Int {
    // Sound: as above.
    get { unsafe tables.bytes }
    set { unsafe tables.bytes = newValue }
  }
  /// Bytes of the spans held for recalls. Their holders keep account here.
  public var recallBytes = 0
  /// Read for each trace: a check for overlapping accesses at run time takes ten times as long.
  @exclusivity(unchecked) private var tables = (bytes: 0, bytesMax: Int.max, verdictBytes: 0)
  /// Bytes of slabs and larger blocks in use.
  public private(set) var usedBytes: Int {
    // Sound: as above.
    get { unsafe used.bytes }
    set {
      unsafe used.bytes = newValue
      usedBytesMax = max(usedBytesMax, newValue)
    }
  }
  /// Read for each trace that is moved, as the tables' account is for each trace.
  @exclusivity(unchecked) private var used = (bytes: 0, compressAbove: Int.max)
  /// The most bytes in use since the last `trim`.
  private var usedBytesMax = 0
  /// Bytes taken from the system.
  public private(set) var residentBytes = 0

  /// How many compressed segments have been decompressed.
  public internal(set) var decompressions = 0

  /// Compresses segments; made for the first one.
  private(set) lazy var compressor = BlockCompressor()

  /// One compressed segment.
  struct Source: Equatable {
    var log: Int
    var segment: Int
  }

  /// The segment whose bytes are in the reading scratch.
  var readSource: Source?

  /// What a scratch is for.
  enum Purpose: Int {
    case compression
    case reading
  }

  private var scratches: [MemoryBlock?] = [nil, nil]
  private var logCount = 0

  /// Two huge pages.
  private static let extentBytes = 4 << 20
  /// The first extents use small pages: with huge ones a quiet partition would pay 2 MiB for its first span.
  private static let smallExtents = 8

  private struct Extent {
    /// Nil after it was given back.
    var block: MemoryBlock?
    var used = 0
  }

  private let slabsPerExtent: Int
  private var extents: [Extent] = []
  /// Bit *i* is set if slab *i* is free.
  private var free: [UInt64] = []
  private var freeCount = 0
  /// The words of `free` below this one are zero.
  private var firstFreeWord = 0

  /// - Parameter slabBytes: the bytes of a slab, a power of two from 64 bytes to 64 KiB.
  public init(slabBytes: Int = 64 << 10) {
    invariant(
      (64...SpanMemory.extentBytes / 64).contains(slabBytes) && slabBytes.nonzeroBitCount == 1,
      "slabs of \(slabBytes) bytes")
    self.slabBytes = slabBytes
    slabsPerExtent = SpanMemory.extentBytes / slabBytes
  }

  deinit {
    for case let block? in scratches { SpanMemory.deallocate(block) }
    for extent in extents {
      if let block = extent.block { SpanMemory.deallocate(block) }
    }
  }

  /// Allocates at least `byteCount` bytes: a slab, or a block of that size.
  func allocate(atLeast byteCount: Int) -> MemoryBlock {
    guard byteCount <= slabBytes else {
      let block = SpanMemory.allocate(byteCount, isLarge: byteCount >= HugePages.pageBytes)
      usedBytes += byteCount
      residentBytes += byteCount
      return block
    }
    if freeCount == 0 { addExtent() }
    // Low slabs first, so that high extents empty when less is needed.
    while free[firstFreeWord] == 0 { firstFreeWord += 1 }
    let bit = free[firstFreeWord].trailingZeroBitCount
    free[firstFreeWord] &= ~(1 << UInt64(bit))
    freeCount -= 1
    let slab = firstFreeWord * 64 + bit
    let number = slab / slabsPerExtent
    extents[number].used += 1
    usedBytes += slabBytes
    guard let extent = extents[number].block else { fatalError("slab \(slab) is in no extent") }
    // Sound: a free slab lies inside its extent, and only this block uses it until it is given back.
    return unsafe MemoryBlock(
      base: extent.address + slab % slabsPerExtent * slabBytes, byteCount: slabBytes, slab: slab)
  }

  /// Takes back a block from `allocate`. It must not be used afterwards.
  func deallocate(_ block: MemoryBlock) {
    usedBytes -= block.byteCount
    guard let slab = block.slab else {
      residentBytes -= block.byteCount
      SpanMemory.deallocate(block)
      return
    }
    let (word, mask) = (slab / 64, 1 << UInt64(slab % 64) as UInt64)
    invariant(free[word] & mask == 0, "slab \(slab) is given back twice")
    free[word] |= mask
    freeCount += 1
    firstFreeWord = min(firstFreeWord, word)
    extents[slab / slabsPerExtent].used -= 1
  }

  /// Gives back memory that was not needed since the last call. Call it every minute or so.
  ///
  /// More often, memory would go back and forth with every wave of traffic, and each page that comes back is
  /// cleared first.
  public func trim() {
    var spare = residentBytes - usedBytesMax
    usedBytesMax = usedBytes
    for number in extents.indices.reversed() {
      guard let block = extents[number].block, extents[number].used == 0 else { continue }
      guard spare >= block.byteCount else { return }
      spare -= block.byteCount
      removeExtent(number)
    }
  }

  /// A block for one segment, compressed or not, that keeps its contents until it is requested again.
  func scratch(_ purpose: Purpose) -> MemoryBlock {
    if let made = scratches[purpose.rawValue] { return made }
    let block = SpanMemory.allocate(BlockCompressor.bound(slabBytes), isLarge: false)
    usedBytes += block.byteCount
    residentBytes += block.byteCount
    scratches[purpose.rawValue] = block
    return block
  }

  /// A number unique among the logs of this memory.
  func makeLogID() -> Int {
    logCount += 1
    return logCount
  }

  private func addExtent() {
    let vacant = extents.firstIndex { $0.block == nil }
    let number = vacant ?? extents.count
    let bytes = slabsPerExtent * slabBytes
    let block = SpanMemory.allocate(bytes, isLarge: number >= SpanMemory.smallExtents)
    residentBytes += bytes
    let words = slabsPerExtent / 64
    if vacant == nil {
      extents.append(Extent(block: block))
      free.append(contentsOf: repeatElement(.max, count: words))
    } else {
      extents[number].block = block
      for word in number * words..<(number + 1) * words { free[word] = .max }
    }
    freeCount += slabsPerExtent
    firstFreeWord = min(firstFreeWord, number * words)
  }

  private func removeExtent(_ number: Int) {
    guard let block = extents[number].block else { return }
    let words = slabsPerExtent / 64
    for word in number * words..<(number + 1) * words { free[word] = 0 }
    freeCount -= slabsPerExtent
    residentBytes -= block.byteCount
    extents[number].block = nil
    SpanMemory.deallocate(block)
  }

  private static func allocate(_ byteCount: Int, isLarge: Bool) -> MemoryBlock {
    // Sound: the memory is fresh, of this size, and used only by this block.
    unsafe MemoryBlock(
      base: HugePages.allocate(byteCount: byteCount, isLarge: isLarge), byteCount: byteCount, slab: nil)
  }

  private static func deallocate(_ block: MemoryBlock) {
    // Sound: the block came from `allocate`, and its owner has given it back.
    unsafe block.address.deallocate()
  }
}

// The shapes of traces: which service and operation called which.
//
// A shape is the set of a trace's edges, from the service and name of a span's parent to its own; a span
// without a parent, or whose parent never arrived, has an edge from nowhere. So it does not depend on the
// order in which spans arrive, on how often a call is repeated, or on ids. A variant counts the repeats, too.
// Parents may come later than their children, so edges are found when the window closes: until then a trace
// has a note of 24 bytes for each span, wherever the span itself is by then. Notes are in chunks of four, so
// a trace takes 104 bytes for each four spans that it has begun, and 8 bytes for its list.

import OTLP

/// The shape of a trace.
struct TraceShape: Equatable {
  /// Identifies the set of edges. Two sets have the same number with a probability of 2^-64: among ten
  /// thousand shapes any two do with one of 3e-12, and then they share a rate. The hash has no secret, so
  /// that all workers agree: a sender can make shapes collide, its own or one whose number it knows.
  var edges: UInt64
  /// Identifies the edges with the number of times that each occurs.
  var variant: UInt64

  /// The seed of every hash: it is part of what decisions say, and must not change.
  fileprivate static let seed = HashSeed(value: 0x7461_696c_7261_6365)

  /// Identifies an operation of a service, whose digest is given.
  @inline(__always)
  static func node(service: UInt64, name: RawSpan) -> UInt64 {
    seed.fold(service ^ 0x9e37_79b9_7f4a_7c15, digest(name))
  }

  /// Identifies a name.
  @inline(__always)
  static func digest(_ name: RawSpan) -> UInt64 { seed.digest(name.extracting(first: TrafficName.bytesMax)) }

  @inline(__always)
  fileprivate static func edge(from parent: UInt64, to node: UInt64) -> UInt64 {
    seed.fold(parent ^ 0xa076_1d64_78bd_642f, node ^ 0xe703_7ed1_a0b4_28db)
  }

  /// The shape of a trace with more spans than are noted: that of its root alone.
  static func large(root node: UInt64) -> TraceShape {
    let number = max(1, seed.fold(node ^ 0x6c61_7267_6500_0000, 0x8ebc_6af0_9c88_c6e3))
    return TraceShape(edges: number, variant: number)
  }
}

/// What the shape of an open trace is made of.
struct ShapeNotes: ~Copyable {
  /// A span.
  struct Note: BitwiseCopyable {
    var spanID: UInt64
    var parentID: UInt64
    var node: UInt64

    /// Any order will do that depends on nothing else.
    @inline(__always)
    func precedes(_ other: Note) -> Bool {
      if spanID != other.spanID { return spanID < other.spanID }
      return node != other.node ? node < other.node : parentID < other.parentID
    }

    @inline(__always)
    func repeats(_ other: Note) -> Bool {
      spanID == other.spanID && node == other.node && parentID == other.parentID
    }
  }

  private struct List {
    /// The chunk with the latest notes; negative if there is none.
    var last: Int32 = -1
    var count: UInt16 = 0
  }

  /// Some notes of one trace. Not private: the compiler fails on private elements of a pool in a sampler.
  struct Chunk: BitwiseCopyable {
    var notes: InlineArray<4, Note>
    /// The chunk before it; negative if there is none.
    var previous: Int32
  }

  /// Traces with more spans than this have the shape of large ones.
  static let spansMax = 4096
  private static let chunkNotes = 4
  /// 100 kB.
  private static let chunksAlways = 1024

  private var chunks = SlotPool<Chunk>()
  /// By the trace's slot.
  private var lists: [List] = []
  /// Room to work in.
  private var gathered: [Note] = []
  private var edges: [UInt64] = []

  /// Bytes of memory in use.
  var byteCount: Int {
    chunks.byteCount + gathered.capacity * MemoryLayout<Note>.stride
      + lists.capacity * MemoryLayout<List>.stride + edges.capacity * 8
  }

  /// Whether as many spans of a trace can be noted without more memory, or with so little that it does not
  /// matter.
  func hasRoom(for spans: Int) -> Bool {
    let needed = (spans + ShapeNotes.chunkNotes - 1) / ShapeNotes.chunkNotes
    return chunks.count - chunks.usedCount >= needed || chunks.count + needed <= ShapeNotes.chunksAlways
  }

  /// Notes a span of the trace in `slot`.
  @inline(__always)
  mutating func add(_ note: Note, to slot: Int) {
    if slot >= lists.count { addLists(through: slot) }
    let count = Int(lists[slot].count)
    guard count < ShapeNotes.spansMax else { return giveUp(slot) }
    let place = count % ShapeNotes.chunkNotes
    if place == 0 {
      addChunk(with: note, to: slot)
    } else {
      chunks[Int(lists[slot].last)].notes[place] = note
    }
    lists[slot].count += 1
  }

  private mutating func addLists(through slot: Int) {
    while lists.count <= slot { lists.append(List()) }
  }

  private mutating func addChunk(with note: Note, to slot: Int) {
    let chunk = chunks.take(Chunk(notes: InlineArray(repeating: note), previous: lists[slot].last))
    lists[slot].last = Int32(truncatingIfNeeded: chunk)
  }

  /// Makes the trace in `slot` a large one: there are too many spans, or there is no memory for them.
  @inline(never)
  mutating func giveUp(_ slot: Int) {
    release(slot)
    if slot >= lists.count { addLists(through: slot) }
    lists[slot].count = UInt16(ShapeNotes.spansMax)
  }

  /// Releases the notes of the trace in `slot`.
  mutating func release(_ slot: Int) {
    guard slot < lists.count else { return }
    var chunk = lists[slot].last
    while chunk >= 0 {
      let before = chunks[Int(chunk)].previous
      chunks.release(Int(chunk))
      chunk = before
    }
    lists[slot] = List()
  }

  /// Releases memory that was not needed since the last call.
  mutating func trim() {
    chunks.trim()
    var end = lists.count
    // A list without chunks may be that of a large trace.
    while end > 0, lists[end - 1].count == 0 { end -= 1 }
    // A new array: one that shrinks keeps its capacity.
    if end <= lists.count / 2 { lists = Array(lists[..<end]) }
    (gathered, edges) = ([], [])
  }

  /// Checks that each chunk is free or that of one trace. For tests and simulation: it visits every slot.
  func checkInvariants() {
    var used = 0
    for list in lists where list.last >= 0 {
      used += (Int(list.count) + ShapeNotes.chunkNotes - 1) / ShapeNotes.chunkNotes
    }
    chunks.checkInvariants(used: used)
  }

  /// The shape of the trace in `slot`; nil if it has too many spans.
  mutating func shape(of slot: Int) -> TraceShape? {
    gathered.removeAll(keepingCapacity: true)
    guard slot < lists.count else { return TraceShape(edges: 1, variant: 1) }
    var (chunk, count) = (lists[slot].last, Int(lists[slot].count))
    guard chunk >= 0 || count == 0 else { return nil }
    while chunk >= 0 {
      let used = (count - 1) % ShapeNotes.chunkNotes + 1
      for place in 0..<used { gathered.append(chunks[Int(chunk)].notes[place]) }
      count -= used
      chunk = chunks[Int(chunk)].previous
    }
    gathered.sort { $0.precedes($1) }
    return fold()
  }

  /// The shape of the notes that are gathered and in order.
  private mutating func fold() -> TraceShape {
    edges.removeAll(keepingCapacity: true)
    var variant: UInt64 = 0
    for place in gathered.indices {
      // A span that came twice.
      if place > 0, gathered[place].repeats(gathered[place - 1]) { continue }
      let edge = TraceShape.edge(from: node(of: gathered[place].parentID), to: gathered[place].node)
      edges.append(edge)
      // Sums do not depend on the order, and unlike exclusive ors they count.
      variant &+= edge
    }
    edges.sort()
    var whole: UInt64 = 0
    for place in edges.indices where place == 0 || edges[place] != edges[place - 1] { whole &+= edges[place] }
    return TraceShape(edges: max(1, whole), variant: max(1, variant &+ 0x7661_7269_616e_7400))
  }

  /// The node of a span; 0 if there is none. Of several spans with one id, the least node.
  private func node(of spanID: UInt64) -> UInt64 {
    guard spanID != 0 else { return 0 }
    var (low, high) = (0, gathered.count)
    while low < high {
      let middle = (low + high) / 2
      if gathered[middle].spanID < spanID { low = middle + 1 } else { high = middle }
    }
    return low < gathered.count && gathered[low].spanID == spanID ? gathered[low].node : 0
  }
}

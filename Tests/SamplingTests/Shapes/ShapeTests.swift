// What a shape is, and what it does not depend on.

import Simulation
import SpanStorage
import Testing

@testable import OTLP
@testable import Sampling

@Suite struct ShapeTests {
  /// A span as the notes have it; ids and parents are places in a list.
  private func notes(_ spans: [(parent: Int?, name: String)], ids: [UInt64]? = nil) -> [ShapeNotes.Note] {
    let ids = ids ?? spans.indices.map { UInt64($0 + 1) }
    return spans.indices.map { place in
      let name = Array(spans[place].name.utf8)
      return ShapeNotes.Note(
        spanID: ids[place], parentID: spans[place].parent.map { ids[$0] } ?? 0,
        node: name.withRawBytes { TraceShape.node(service: 7, name: $0) })
    }
  }

  private func shape(_ notes: [ShapeNotes.Note]) -> TraceShape? {
    var all = ShapeNotes()
    // In a slot of its own, between others.
    for (place, note) in notes.enumerated() {
      all.add(note, to: 3)
      if place % 3 == 0 { all.add(note, to: 1) }
    }
    all.release(1)
    defer { all.release(3) }
    return all.shape(of: 3)
  }

  private let tree: [(parent: Int?, name: String)] = [
    (nil, "a"), (0, "b"), (0, "c"), (1, "d"), (1, "d"), (2, "b"), (5, "e"), (0, "b"), (7, "d"),
  ]

  @Test func orderAndIdsMakeNoDifference() throws {
    var random = RandomSource(seed: 4)
    let whole = try #require(shape(notes(tree)))
    for _ in 0..<50 {
      let ids = tree.indices.map { _ in random.next() | 1 }
      var mixed = notes(tree, ids: ids)
      for place in mixed.indices { mixed.swapAt(place, random.number(in: 0...(mixed.count - 1))) }
      #expect(shape(mixed) == whole)
      // Spans that come twice.
      #expect(shape(mixed + mixed.prefix(4)) == whole)
    }
  }

  @Test func repeatsMakeAnotherVariantOnly() throws {
    let whole = try #require(shape(notes(tree)))
    let more = try #require(shape(notes(tree + [(1, "d"), (1, "d")])))
    #expect(more.edges == whole.edges)
    #expect(more.variant != whole.variant)
  }

  @Test func everyEdgeMakesADifference() throws {
    var shapes: Set<UInt64> = [try #require(shape(notes(tree))).edges]
    for parent in tree.indices {
      let more = try #require(shape(notes(tree + [(parent, "new")])))
      shapes.insert(more.edges)
    }
    // Five different parents: a, b, c, d, e.
    #expect(shapes.count == 6)
    let twoRoots = try #require(shape(notes(tree + [(nil, "a")])))
    #expect(shapes.contains(twoRoots.edges), "an edge from nowhere to a was there")
    let otherRoot = try #require(shape(notes(tree + [(nil, "d")])))
    #expect(!shapes.contains(otherRoot.edges))
  }

  @Test func aParentThatNeverCameIsNone() {
    var lost = notes(tree)
    lost.removeFirst()
    let roots = notes(tree).dropFirst().map { note in
      ShapeNotes.Note(spanID: note.spanID, parentID: note.parentID == 1 ? 0 : note.parentID, node: note.node)
    }
    #expect(shape(lost) == shape(Array(roots)))
  }

  @Test func largeTracesHaveNone() {
    var all = ShapeNotes()
    for number in 0..<UInt64(ShapeNotes.spansMax) {
      all.add(ShapeNotes.Note(spanID: number + 1, parentID: 0, node: number), to: 0)
    }
    #expect(all.shape(of: 0) != nil)
    for number in 0..<UInt64(10) {
      all.add(ShapeNotes.Note(spanID: number, parentID: 0, node: number), to: 0)
      #expect(all.shape(of: 0) == nil)
    }
    all.trim()
    #expect(all.shape(of: 0) == nil, "it stays a large one while it is open")
    all.release(0)
    all.trim()
    #expect(all.byteCount == 0)
    #expect(all.shape(of: 0) == all.shape(of: 99), "nothing is known of either")
  }

  /// After a burst, notes take what the open traces need, and there is room for some whatever else is short.
  @Test func aBurstLeavesNoRoomTaken() throws {
    var all = ShapeNotes()
    for slot in 0..<10_000 {
      for note in notes(tree) { all.add(note, to: slot) }
    }
    let peak = all.byteCount
    #expect(peak / 10_000 < 400, "three chunks, and the list")
    let hasRoomThen = all.hasRoom(for: 1)
    #expect(!hasRoomThen)
    for slot in 1..<10_000 { all.release(slot) }
    all.checkInvariants()
    let hasRoomAfter = all.hasRoom(for: 10_000)
    #expect(hasRoomAfter)
    all.trim()
    all.trim()
    all.checkInvariants()
    #expect(all.byteCount < peak / 1000)
    #expect(all.shape(of: 0) == shape(notes(tree)))
    let hasRoom = [all.hasRoom(for: 1000), all.hasRoom(for: 10_000)]
    #expect(hasRoom == [true, false])
  }

  @Test func smallTracesHaveShapesWhenTablesAreFull() {
    let memory = SpanMemory()
    memory.tableBytesMax = 1
    var configuration = SamplerConfiguration()
    configuration.tellsShapes = true
    configuration.clockWitnesses = 1
    var sampler = Sampler(partition: PartitionID(0), configuration: configuration, memory: memory)
    var effects = Effects()
    for trace in UInt64(1)...100 {
      let spans = [
        TestSpan.root(of: trace),
        TestSpan(trace: trace, id: 2, parent: 1, service: "stock", name: "GET /\(trace)"),
      ]
      let error = record(spans).withRawBytes {
        sampler.ingest(
          offset: Offset(Int64(trace)), timestamp: .at(0), key: nil, value: $0, into: &effects)
      }
      #expect(error == nil)
    }
    sampler.checkInvariants()
    sampler.advance(to: .at(600_000), into: &effects)
    var shapes: Set<UInt64> = []
    for case .decide(let decision, _) in effects.outputs where decision.isFinal {
      shapes.insert(decision.shape)
    }
    let counters = sampler.counters
    #expect(shapes.count == 100 && counters.shapesOfLarge == 0)
  }

  /// The number is part of what decisions say: dashboards and other tools keep it.
  @Test func theNumberStaysTheSame() throws {
    let whole = try #require(shape(notes(tree)))
    #expect(Hexadecimal.text(whole.edges, digits: 16) == "da55ffa94dee5bf3")
  }

  @Test func theMemoryForgetsWhatIsSilent() {
    var memory = ShapeMemory(silence: .seconds(100))
    memory.pass(to: .at(0))
    #expect(memory.see(1, fleet: []).isNew)
    memory.keep(1)
    #expect(memory.see(2, fleet: []).isNew)
    for time in stride(from: Int64(10), through: 1000, by: 10) {
      memory.pass(to: .at(time * 1000))
      let seen = memory.see(1, fleet: [])
      #expect(!seen.isNew && seen.isKept, "it keeps coming")
      if time == 40 { #expect(!memory.see(2, fleet: []).isNew) }
    }
    #expect(memory.see(2, fleet: []).isNew)
    memory.pass(to: .at(1_101_000))
    #expect(memory.see(1, fleet: []).isNew)
    #expect(!memory.see(1, fleet: []).isKept)
    #expect(memory.see(1, fleet: [1]).isKept, "another partition kept one meanwhile")
    #expect(!memory.see(9, fleet: [9]).isNew)
  }

  @Test func aFloodForgetsNothingThatKeepsComing() {
    var memory = ShapeMemory(silence: .seconds(1000))
    memory.pass(to: .at(0))
    _ = memory.see(1, fleet: [])
    memory.keep(1)
    for number in UInt64(100)..<100_000 {
      #expect(memory.see(number, fleet: []).isNew)
      if number % 1000 == 0 { #expect(memory.see(1, fleet: []).isKept) }
    }
    #expect(memory.count <= 2 * ShapeMemory.generationMax + 2)
  }

  @Test func aFloodOfWhatIsOnlySeenForgetsNothingThatWasKept() {
    var memory = ShapeMemory(silence: .seconds(1000))
    memory.pass(to: .at(0))
    _ = memory.see(1, fleet: [])
    memory.keep(1)
    for number in UInt64(100)..<100_100 { #expect(memory.see(number, fleet: []).isNew) }
    #expect(memory.see(1, fleet: []).isKept)
    #expect(memory.count <= 2 * ShapeMemory.generationMax + 2)
  }

  /// More than one partition remembers: each has a part of it, and together they have all.
  @Test func partitionsShareWhatTheFleetKept() {
    var random = RandomSource(seed: 5)
    let kept = Set((0..<20_000).map { _ in random.next() })
    var known: Set<UInt64> = []
    for partition in Int32(0)..<6 {
      var memory = ShapeMemory(silence: .seconds(1000))
      memory.restore(kept, of: PartitionID(partition))
      memory.pass(to: .at(0))
      #expect((6000..<7500).contains(memory.count))
      for shape in kept where memory.see(shape, fleet: []).isKept { known.insert(shape) }
    }
    #expect(known == kept)
  }

  @Test func allThatIsKeptIsTold() {
    var memory = ShapeMemory(silence: .seconds(1000))
    memory.pass(to: .at(0))
    var random = RandomSource(seed: 3)
    for number in 1...1000 {
      let shape = random.next()
      _ = memory.see(shape, fleet: [])
      if number % 2 == 0 { memory.keep(shape) }
    }
    var told: Set<UInt64> = []
    #expect(memory.tell(turn: 16, of: 6, most: 1000).count == 500, "what is new is told at once")
    for turn in Int64(17)..<23 {
      let part = memory.tell(turn: turn, of: 6, most: 1000)
      #expect((50..<120).contains(part.count) && part == part.sorted())
      told.formUnion(part)
    }
    #expect(told.count == 500)
    #expect(memory.tell(turn: 1, of: 6, most: 10).count == 10)
    var other = ShapeMemory(silence: .seconds(1000))
    other.restore(told, of: PartitionID(0))
    other.pass(to: .at(5000))
    #expect(told.allSatisfy { other.see($0, fleet: []).isKept })
  }
}

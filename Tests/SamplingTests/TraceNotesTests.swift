// Service lists and error notes: what does not fit into a trace's slot.

import Simulation
import Testing

@testable import OTLP
@testable import Sampling

@Suite struct ServiceListsTests {
  private func slots(_ list: ServiceList, in lists: borrowing ServiceLists) -> [UInt32] {
    var slots: [UInt32] = []
    lists.forEach(list) { slots.append($0.slot) }
    return slots
  }

  /// Four are with the trace, blocks hold seven: every length around one, two and three blocks.
  @Test func keepsTheOrderOverBlockBorders() {
    var lists = ServiceLists()
    for length in 0...27 {
      var list = ServiceList()
      for number in 0..<length {
        let service = NameID(slot: UInt32(number * 3))
        #expect(lists.contains(service, list) == false)
        lists.add(service, to: &list)
        #expect(lists.contains(service, list) == true)
      }
      #expect(slots(list, in: lists) == (0..<length).map { UInt32($0 * 3) })
      #expect(lists.contains(NameID(slot: 1), list) == false)
      lists.release(list)
    }
  }

  /// Leftovers of another trace in a reused block are not taken for members.
  @Test func reusedBlocksAreClean() {
    var lists = ServiceLists()
    var first = ServiceList()
    for number in 0..<11 { lists.add(NameID(slot: UInt32(number)), to: &first) }
    lists.release(first)
    let bytes = lists.byteCount
    var second = ServiceList()
    for number in 50..<55 { lists.add(NameID(slot: UInt32(number)), to: &second) }
    #expect(lists.contains(NameID(slot: 6), second) == false)
    #expect(slots(second, in: lists) == [50, 51, 52, 53, 54])
    #expect(lists.byteCount == bytes)
  }

  @Test func manyListsDoNotMix() {
    var random = RandomSource(seed: 3)
    var lists = ServiceLists()
    var model: [Int: (list: ServiceList, services: [UInt32])] = [:]
    for _ in 0..<20_000 {
      let number = random.number(in: 0...30)
      var (list, services) = model[number] ?? (ServiceList(), [])
      if services.count > 20 {
        lists.release(list)
        model[number] = nil
        continue
      }
      let service = UInt32(random.number(in: 0...60))
      let isKnown = lists.contains(NameID(slot: service), list)
      #expect(isKnown == services.contains(service))
      if !isKnown {
        lists.add(NameID(slot: service), to: &list)
        services.append(service)
      }
      model[number] = (list, services)
      #expect(slots(list, in: lists) == services)
    }
  }
}

@Suite struct ErrorNotesTests {
  /// Notes by span id, parent and end, in arrival order.
  private func origin(_ spans: [(id: UInt64, parent: UInt64, end: UInt64)]) -> UInt64? {
    var notes = ErrorNotes()
    var last: Int32 = -1
    for span in spans {
      last = notes.add(
        ErrorNote(
          spanID: span.id, parentID: span.parent, end: span.end, service: .none, operation: .none,
          previous: last))
    }
    return notes.origin(from: last)?.spanID
  }

  @Test func theDeepestErrorIsTheOrigin() {
    let chain: [(id: UInt64, parent: UInt64, end: UInt64)] = [(1, 0, 90), (2, 1, 80), (3, 2, 70)]
    for order in chain.permutations { #expect(origin(order) == 3) }
  }

  @Test func ofSeveralTheEarliestEndWins() {
    for order in [(1, 0, 99), (2, 1, 60), (3, 1, 50), (4, 2, 55)].permutations {
      #expect(origin(order.map { (UInt64($0.0), UInt64($0.1), UInt64($0.2)) }) == 3)
    }
  }

  @Test func ofTheSameEndTheSmallestIDWins() {
    #expect(origin([(9, 1, 5), (4, 1, 5), (6, 1, 5)]) == 4)
    #expect(origin([(4, 1, 5), (6, 1, 5), (9, 1, 5)]) == 4)
  }

  @Test func spansInARingStillHaveAnOrigin() {
    for order in [(1, 3, 30), (2, 1, 20), (3, 2, 25)].permutations {
      #expect(origin(order.map { (UInt64($0.0), UInt64($0.1), UInt64($0.2)) }) == 2)
    }
    #expect(origin([(5, 5, 1)]) == 5)
  }

  @Test func aRingDoesNotHideASpanOutsideIt() {
    #expect(origin([(1, 2, 10), (2, 1, 20), (7, 0, 90)]) == 7)
  }

  @Test func noErrorsNoOrigin() {
    #expect(origin([]) == nil)
  }

  @Test func releasedNotesAreReused() {
    var notes = ErrorNotes()
    var bytes = 0
    for round in 0..<100 {
      var last: Int32 = -1
      for number in 0..<10 {
        last = notes.add(
          ErrorNote(
            spanID: UInt64(number + 1), parentID: 0, end: UInt64(round), service: .none, operation: .none,
            previous: last))
      }
      var released: [UInt64] = []
      notes.release(from: last) { released.append($0.spanID) }
      #expect(released == (1...10).reversed())
      if round == 0 { bytes = notes.byteCount }
      #expect(notes.byteCount == bytes)
    }
  }
}

extension Array {
  /// Every order of the elements.
  var permutations: [[Element]] {
    guard count > 1 else { return [self] }
    return indices.flatMap { place -> [[Element]] in
      var rest = self
      let first = rest.remove(at: place)
      return rest.permutations.map { [first] + $0 }
    }
  }
}

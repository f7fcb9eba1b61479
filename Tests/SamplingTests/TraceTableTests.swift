// The table of open traces and its queues, against arrays.

import Simulation
import Testing

@testable import OTLP
@testable import Sampling

@Suite struct TraceTableTests {
  @Test(arguments: 1...4) func agreesWithANaiveTable(seed: UInt64) {
    var random = RandomSource(seed: seed)
    var table = TraceTable()
    var slots: [TraceID: Int] = [:]
    var opened: [TraceID] = []
    var rooted: [TraceID] = []
    var clock: Int64 = 0
    func slot(_ id: TraceID) -> Int { slots[id] ?? -1 }
    for step in 0..<5000 {
      let id = TraceID(high: 9, low: UInt64(random.number(in: 1...80)))
      clock += Int64(random.number(in: 0...2))
      if random.chance(0.2), let id = random.chance(0.5) ? opened.first : opened.last {
        // They wait for a verdict, or no longer do.
        let waits = table[slot(id)].awaitsVerdict
        if waits { table.endWait(slot(id)) } else { table[slot(id)].awaitsVerdict = true }
      }
      if !opened.contains(id) {
        slots[id] = table.open(OpenTrace(id: id, firstOffset: Offset(Int64(step)), openedAt: .at(clock)))
        opened.append(id)
      } else if random.chance(0.4) {
        table.close(slot(id))
        opened.removeAll { $0 == id }
        rooted.removeAll { $0 == id }
      } else if !rooted.contains(id) {
        table.startRootWait(slot(id))
        rooted.append(id)
      } else {
        table.endRootWait(slot(id))
        let isOver = table[slot(id)].isRootWaitOver
        #expect(isOver)
        rooted.removeAll { $0 == id }
      }
      if step % 100 == 0 { table.trim() }
      table.checkInvariants()
      #expect(table.count == opened.count)
      #expect(ids(.opened, in: table) == opened)
      #expect(ids(.rooted, in: table) == rooted)
      let ready = opened.first { !table[slot($0)].awaitsVerdict }
      let (first, found) = (table.firstReady, table.findReady())
      #expect(first == ready.map(slot) && found == first)
    }
  }

  private func ids(_ queue: QueueLinks.Queue, in table: borrowing TraceTable) -> [TraceID] {
    var ids: [TraceID] = []
    var slot = queue == .opened ? table.opened.first : table.rooted.first
    while let current = slot {
      ids.append(table[current].id)
      slot = table[current].links[queue].nextSlot
    }
    return ids
  }

  @Test func reusesSlots() {
    var table = TraceTable()
    for round in 0..<1000 {
      let id = TraceID(high: 1, low: UInt64(round + 1))
      let slot = table.open(OpenTrace(id: id, firstOffset: Offset(0), openedAt: .start))
      #expect(slot == 0)
      table.close(slot)
    }
    let hasOthers = table.hasSlot(1)
    #expect(!hasOthers)
  }

  @Test func anOpenTraceStaysSmall() {
    #expect(MemoryLayout<OpenTrace>.stride <= 256)
  }
}

@Suite struct SlotQueueTests {
  @Test(arguments: [QueueLinks.Queue.opened, .rooted]) func agreesWithAnArray(which: QueueLinks.Queue) {
    var random = RandomSource(seed: 11)
    var traces = SlotPool<OpenTrace>()
    for slot in 0..<50 {
      let id = TraceID(high: 1, low: UInt64(slot + 1))
      let taken = traces.take(OpenTrace(id: id, firstOffset: Offset(0), openedAt: .start))
      #expect(taken == slot)
    }
    var queue = SlotQueue(which)
    var model: [Int] = []
    for _ in 0..<10_000 {
      let slot = random.number(in: 0...49)
      let isQueued = traces[slot].links[which].isQueued
      #expect(isQueued == model.contains(slot))
      if isQueued {
        queue.remove(slot, in: &traces)
        model.removeAll { $0 == slot }
      } else {
        queue.append(slot, in: &traces)
        model.append(slot)
      }
      #expect(queue.first == model.first)
      #expect(queue.last == model.last)
      #expect(queue.count == model.count)
      var walked: [Int] = []
      var next = queue.first
      while let current = next {
        walked.append(current)
        next = traces[current].links[which].nextSlot
      }
      #expect(walked == model)
    }
  }
}

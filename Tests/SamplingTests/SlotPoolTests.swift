// Slots that are taken and released, and what remains of them after a burst.

import Simulation
import Testing

@testable import OTLP
@testable import Sampling

@Suite struct SlotPoolTests {
  /// So large that a chunk has few.
  private struct Item {
    var number: Int
    var filling = [4096 of UInt64](repeating: 0)
  }

  /// In waves, against a dictionary.
  @Test func agreesWithADictionary() {
    var random = RandomSource(seed: 9)
    var pool = SlotPool<Item>()
    var model: [Int: Int] = [:]
    var countMax = 0
    for step in 0..<6000 {
      if random.chance(step / 500 % 2 == 0 ? 0.7 : 0.25) {
        let slot = pool.take(Item(number: step))
        #expect(model[slot] == nil)
        model[slot] = step
      } else if let slot = model.keys.min(by: { ($0 * 7919) % 104_729 < ($1 * 7919) % 104_729 }) {
        pool.release(slot)
        model[slot] = nil
      }
      countMax = max(countMax, pool.count)
      guard step % 100 == 0 else { continue }
      pool.trim()
      pool.checkInvariants(used: model.count)
      for (slot, number) in model {
        let found = pool[slot].number
        #expect(found == number)
      }
    }
    #expect(countMax > 200)
    for slot in model.keys { pool.release(slot) }
    pool.trim()
    pool.trim()
    #expect(pool.byteCount == 0)
    #expect(pool.take(Item(number: 1)) == 0)
  }

  /// One slot in use above many free ones holds them only until it is released: then low ones are taken.
  @Test func lowSlotsAreTakenFirst() {
    var pool = SlotPool<Int>()
    let slots = (0..<1000).map { pool.take($0) }
    for slot in slots.dropLast() { pool.release(slot) }
    pool.trim()
    pool.trim()
    #expect(pool.count == 1000)
    #expect((0..<10).map { pool.take($0) } == Array(0..<10))
    pool.release(999)
    pool.trim()
    pool.trim()
    #expect(pool.count == 11)
    pool.checkInvariants(used: 10)
  }

  @Test func whatIsNeededStays() {
    var pool = SlotPool<Int>()
    var slots = (0..<1000).map { pool.take($0) }
    for _ in 0..<5 {
      for slot in slots { pool.release(slot) }
      slots = (0..<900).map { pool.take($0) }
      pool.trim()
      #expect(pool.count == 1000)
    }
  }
}

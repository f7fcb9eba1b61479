// The index, against a dictionary.

import Simulation
import Testing

@testable import OTLP
@testable import Sampling

@Suite struct HashIndexTests {
  /// Few distinct hashes, so that runs of buckets grow long, wrap around and are cut by deletions.
  @Test(arguments: [1, 7, 60, 100_000]) func agreesWithADictionary(distinctHashes: Int) {
    var random = RandomSource(seed: UInt64(distinctHashes))
    var index = HashIndex()
    var model: [Int: UInt32] = [:]
    for _ in 0..<20_000 {
      let slot = random.number(in: 0...400)
      if let hash = model[slot] {
        index.remove(hash, slot: slot)
        model[slot] = nil
      } else {
        // Hashes near the top make the runs wrap around the end of the buckets.
        let hash = UInt32.max - UInt32(random.number(in: 0...distinctHashes - 1))
        index.insert(hash, slot: slot)
        model[slot] = hash
      }
      #expect(index.count == model.count)
      let probe = random.number(in: 0...400)
      let hash = model[probe] ?? 5
      let found = index.find(hash) { $0 == probe }
      #expect(found == (model[probe] == nil ? nil : probe))
    }
    for (slot, hash) in model { #expect(index.find(hash) { $0 == slot } == slot) }
  }

  @Test func offersOnlySlotsOfTheWholeHash() {
    var index = HashIndex()
    index.insert(0x10, slot: 1)
    index.insert(0x20, slot: 2)  // The same bucket of 16.
    var offered: [Int] = []
    _ = index.find(0x20) { slot in
      offered.append(slot)
      return false
    }
    #expect(offered == [2])
  }

  @Test func staysAtMostThreeQuartersFull() {
    var index = HashIndex(capacity: 12)
    let bytes = index.byteCount
    for slot in 0..<12 { index.insert(UInt32(slot), slot: slot) }
    #expect(index.byteCount == bytes)
    index.insert(12, slot: 12)
    #expect(index.byteCount == 2 * bytes)
  }

  @Test func seedsSpreadIdentifiersDifferently() {
    let ids = (0..<1000).map { TraceID(high: 1, low: UInt64($0)) }
    let first = Set(ids.map { HashSeed(value: 1).hash(high: $0.high, low: $0.low) })
    let second = Set(ids.map { HashSeed(value: 2).hash(high: $0.high, low: $0.low) })
    #expect(first.count > 990)
    #expect(second.count > 990)
    #expect(first.intersection(second).count < 10)
  }
}

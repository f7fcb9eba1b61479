// The heap of records waiting to be published, compared with a sorted array.

import Testing

@testable import Simulation

@Suite struct RecordHeapTests {
  @Test(arguments: 0..<20)
  func itGivesWhatASortedArrayWould(_ seed: Int) {
    var random = RandomSource(seed: UInt64(seed))
    var heap = RecordHeap()
    var model: [PendingRecord] = []
    for sequence in 0..<500 {
      if random.chance(0.6) {
        // Few distinct times, so that many records share one.
        let record = pending(at: Int64(random.number(in: 0...40)), sequence)
        heap.insert(record)
        model.append(record)
        model.sort { ($0.publishedAt, $0.sequence) < ($1.publishedAt, $1.sequence) }
      } else {
        #expect(heap.removeFirst()?.sequence == (model.isEmpty ? nil : model.removeFirst().sequence))
      }
      #expect(heap.first?.sequence == model.first?.sequence)
    }
    while let record = heap.removeFirst() { #expect(record.sequence == model.removeFirst().sequence) }
    #expect(model.isEmpty)
  }

  @Test func anEmptyHeapHasNothing() {
    var heap = RecordHeap()
    #expect(heap.first == nil)
    #expect(heap.removeFirst() == nil)
  }

  private func pending(at time: Int64, _ sequence: Int) -> PendingRecord {
    let record = WorkloadRecord(
      publishedAt: time, key: [], bytes: [], spanCount: 1, traceIDHigh: 0, traceIDLow: 1)
    return PendingRecord(record: record, trace: sequence, sequence: sequence)
  }
}

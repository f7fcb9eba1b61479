// Our own bugs stop the process: each of these would have continued with broken state.

import Testing

@testable import OTLP
@testable import Sampling

@Suite struct InvariantTests {
  @Test func aRecordIsReadOnce() async throws {
    let result = try await #require(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      let world = World()
      try world.send(.root(), at: 0)
      world.offset = 0
      try world.send(.child(2), at: 0)
    }
    #expect(result.says("record 0 was read before"))
  }

  @Test func aSkippedRecordIsReadOnceToo() async throws {
    let result = try await #require(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      let world = World()
      try world.send(.root(), at: 0)
      world.sampler.skip(offset: Offset(0), timestamp: nil, into: &world.effects)
    }
    #expect(result.says("record 0 was read before"))
  }

  @Test func whatIsNotInTheIndexCannotLeaveIt() async throws {
    let result = try await #require(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      var index = HashIndex()
      index.insert(5, slot: 1)
      index.remove(5, slot: 2)
    }
    #expect(result.says("slot 2 is not in the index"))
  }

  @Test func aSlotIsQueuedOnce() async throws {
    let result = try await #require(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      var traces = SlotPool<OpenTrace>()
      _ = traces.take(
        OpenTrace(id: TraceID(high: 1, low: 1), firstOffset: Offset(0), openedAt: Instant(nanoseconds: 0)))
      var queue = SlotQueue(.opened)
      queue.append(0, in: &traces)
      queue.append(0, in: &traces)
    }
    #expect(result.says("slot 0 is queued already"))
  }

  @Test func aNameIsReleasedAsOftenAsItWasTaken() async throws {
    let result = try await #require(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      var names = NameTable(seed: HashSeed(value: 1), capacity: 4, bytesMax: 8)
      let name = [0x61].withRawBytes { names.intern($0) }
      names.release(name)
      names.release(name)
    }
    #expect(result.says("released once too often"))
  }

  @Test func moreThan64PoliciesAreTooMany() async throws {
    let result = try await #require(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      _ = PolicySet(Array(repeating: Policy(name: "all", rule: .alwaysSample), count: 65))
    }
    #expect(result.says("65 policies"))
  }
}

extension ExitTest.Result {
  /// Whether the process ended with `reason`.
  fileprivate func says(_ reason: String) -> Bool {
    String(decoding: standardErrorContent, as: UTF8.self).contains("invariant broken: ")
      && String(decoding: standardErrorContent, as: UTF8.self).contains(reason)
  }
}

// Counters of several samplers are added up: every one of them.

import Testing

@testable import Sampling

@Suite struct CounterTests {
  /// A counter that `add` forgets would stay at zero in every metric.
  @Test func everyCounterIsAdded() throws {
    var one = SamplerCounters()
    let scalars = Mirror(reflecting: one).children.count { $0.value is UInt64 }
    // Two dictionaries and two lists come last.
    #expect(MemoryLayout<SamplerCounters>.size == (scalars + 4) * 8)
    // Sound: the struct begins with that many integers.
    unsafe withUnsafeMutableBytes(of: &one) { bytes in
      for index in 0..<scalars {
        unsafe bytes.storeBytes(of: UInt64(index + 1), toByteOffset: index * 8, as: UInt64.self)
      }
    }
    one.keptByReason = ["errors": 3]
    one.missedByPolicy = ["slow": 4]
    one.shadow = [ShadowCounts(policy: "dark")]
    one.shadow[0].count(isMatch: true, isKept: false)
    var sum = one
    sum.add(one)
    for (both, single) in zip(Mirror(reflecting: sum).children, Mirror(reflecting: one).children) {
      guard let single = single.value as? UInt64 else { continue }
      #expect(both.value as? UInt64 == 2 * single, "\(both.label ?? "")")
    }
    #expect(sum.shadow.map(\.droppedMatching) == [2])
    #expect(sum.keptByReason == ["errors": 6] && sum.missedByPolicy == ["slow": 8])
  }
}

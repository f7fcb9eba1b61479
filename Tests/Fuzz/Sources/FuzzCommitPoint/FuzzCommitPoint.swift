// Any text as the metadata of a committed offset, and the result as the place where a partition resumes.

import Expectation
import Sampling

/// libFuzzer's entry point.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzCommitPoint(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  // Sound: libFuzzer lends `count` bytes for the duration of the call.
  let input = unsafe [UInt8](UnsafeBufferPointer(start: start, count: count))
  // The offset comes first: one byte, spread over all numbers.
  guard let first = input.first else { return 0 }
  let safeOffset = Int64(Int8(bitPattern: first)) << (first & 1 == 0 ? 0 : 56)
  let text = String(decoding: input.dropFirst(), as: UTF8.self)
  guard let point = CommitPoint(safeOffset: Offset(safeOffset), metadata: text) else { return 0 }
  expect(CommitPoint(safeOffset: point.safeOffset, metadata: point.metadata) == point, "it has changed")
  expect(point.highWater.value - point.safeOffset.value >= 0, "the high water is below the safe offset")
  takeUp(point)
  return 0
}

/// The largest possible limits, so that levels may be anything.
private func policies() -> [Policy] {
  let composite = Composite(
    spansPerSecondMax: .max,
    parts: [.init(rule: .alwaysSample, spansPerSecond: .max), .init(rule: .alwaysSample, spansPerSecond: 2)])
  return [
    Policy(name: "spans", rule: .rateLimiting(RateLimit(perSecond: .max, burst: .max))),
    Policy(name: "few", rule: .rateLimiting(RateLimit(perSecond: 3, burst: 7))),
    Policy(name: "parts", rule: .composite(composite)),
  ]
}

/// The partition resumes there and reads on; what it would commit next is read back too.
private func takeUp(_ point: CommitPoint) {
  var configuration = SamplerConfiguration()
  configuration.limits.segmentBytes = 256
  configuration.policies = policies()
  configuration.shadow = policies()
  var sampler = Sampler(partition: PartitionID(0), configuration: configuration)
  sampler.restore(point, past: [])
  var effects = Effects()
  var offset = point.safeOffset
  for step in 0..<3 as Range<Int64> {
    if step == 2 { offset = max(offset, point.highWater) }
    sampler.skip(
      offset: offset, timestamp: point.clockAtSafeOffset + .seconds(step),
      into: &effects)
    check(sampler)
    offset = offset.next
  }
  sampler.advance(to: point.clock + .seconds(60), into: &effects)
  check(sampler)
}

private func check(_ sampler: borrowing Sampler) {
  sampler.checkInvariants()
  guard let next = sampler.commitPoint else { return expect(false, "there is no commit point") }
  expect(
    CommitPoint(safeOffset: next.safeOffset, metadata: next.metadata) == next, "the next has changed")
}

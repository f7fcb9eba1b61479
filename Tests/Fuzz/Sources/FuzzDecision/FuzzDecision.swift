// Any bytes as a record of `decisions`, and the result as the past of a partition.

import Expectation
import OTLP
import Sampling

/// libFuzzer's entry point.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzDecision(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  // Sound: libFuzzer lends `count` bytes for the duration of the call.
  let input = unsafe [UInt8](UnsafeBufferPointer(start: start, count: count))
  let verdict: RestoredVerdict
  do throws(MalformedInput) {
    verdict = try RestoredVerdict(record: input)
  } catch {
    expect((0...input.count).contains(error.offset), "\(error) of \(input.count)")
    return 0
  }
  checkTime(verdict.decidedAt)
  restore(verdict)
  return 0
}

private func checkTime(_ time: Instant) {
  var text: [UInt8] = []
  time.appendRFC3339(to: &text)
  expect(Instant(rfc3339: text) == time, "a time changed when read back")
}

/// Compiled once: compiling takes longer than reading.
private let workspace = Workspace()

/// A fuzzer has one thread.
private final class Workspace: @unchecked Sendable {
  let shared = SamplerWorkspace()
}

/// A partition is adopted and continues, whatever the last owner has written.
private func restore(_ verdict: RestoredVerdict) {
  var configuration = SamplerConfiguration()
  configuration.windows.lateWindow = .seconds(60)
  configuration.limits.segmentBytes = 256
  configuration.links = LinksConfiguration()
  let clock = Instant(nanoseconds: 1_700_000_000_000_000_000)
  let point = CommitPoint(
    safeOffset: Offset(10), clockAtSafeOffset: clock, highWater: Offset(12), clock: clock + .seconds(1))
  var sampler = Sampler(
    partition: PartitionID(0), configuration: configuration, workspace: workspace.shared)
  sampler.restore(point, past: [verdict, verdict])
  var effects = Effects()
  for offset in 10...12 as ClosedRange<Int64> {
    sampler.skip(
      offset: Offset(offset), timestamp: clock + .seconds(offset),
      into: &effects)
  }
  expect(!sampler.isRecovering, "recovery does not end")
  sampler.advance(to: clock + .seconds(3_600), into: &effects)
  sampler.checkInvariants()
  expect(sampler.usage.pastVerdicts == 0, "a verdict is never forgotten")
  expect(effects.outputs.isEmpty, "a decision about a trace that never arrived")
}

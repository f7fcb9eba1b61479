// Any bytes as a page of the ledger: an error with its place or entries, and these as a partition's past.

import Expectation
import OTLP
import Sampling

/// libFuzzer's entry point.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzLedger(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  // Sound: libFuzzer lends `count` bytes for the duration of the call.
  let input = unsafe [UInt8](UnsafeBufferPointer(start: start, count: count))
  var verdicts: [RestoredVerdict] = []
  do throws(VerdictRecordError) {
    try input.withRawBytes { (input) throws(VerdictRecordError) in
      try RestoredVerdict.read(input) { verdicts.append($0) }
    }
    checkEntries(input)
  } catch {
    switch error {
    case .page(let error): expect((3...input.count).contains(error.offset), "\(error) of \(input.count)")
    case .foreign(let error): expect((0...input.count).contains(error.offset), "\(error) of \(input.count)")
    }
  }
  // Sixteen bytes of id and six more for each.
  expect(verdicts.count <= max(1, input.count / 22), "\(verdicts.count) verdicts in \(input.count) bytes")
  restore(verdicts)
  return 0
}

/// The entries of a page are as many as it says, and their verdicts are theirs.
private func checkEntries(_ input: [UInt8]) {
  do {
    try input.withRawBytes { input in
      guard var reader = try LedgerReader(page: input) else { return }
      var count: UInt32 = 0
      while let entry = try reader.next(in: input) {
        count += 1
        let verdict = RestoredVerdict(entry)
        let isLate = entry.trigger == .late
        expect(!verdict.isKept && verdict.isFinal != isLate && verdict.isLate == isLate, "a kept trace")
        expect(
          entry.earliestStart <= UInt64(clamping: entry.decidedAt.nanoseconds), "decided before it began")
      }
      expect(count == reader.traceCount, "\(count) entries of \(reader.traceCount)")
    }
  } catch {
    expect(false, "a page can't be read twice: \(error)")
  }
}

/// Compiled once: compiling takes longer than reading.
private let workspace = Workspace()

/// A fuzzer has one thread.
private final class Workspace: @unchecked Sendable {
  let shared = SamplerWorkspace()
}

/// A partition is adopted and continues, whatever the last owner has written.
private func restore(_ past: [RestoredVerdict]) {
  var configuration = SamplerConfiguration()
  configuration.windows.lateWindow = .seconds(60)
  configuration.limits.segmentBytes = 256
  configuration.links = LinksConfiguration()
  let clock = Instant(nanoseconds: 1_700_000_000_000_000_000)
  let point = CommitPoint(
    safeOffset: Offset(10), clockAtSafeOffset: clock, highWater: Offset(12), clock: clock + .seconds(1))
  var sampler = Sampler(
    partition: PartitionID(0), configuration: configuration, workspace: workspace.shared)
  sampler.restore(point, past: past + past)
  var effects = Effects()
  for offset in 10...12 as ClosedRange<Int64> {
    sampler.skip(offset: Offset(offset), timestamp: clock + .seconds(offset), into: &effects)
  }
  expect(!sampler.isRecovering, "recovery does not end")
  sampler.advance(to: clock + .seconds(3_600), into: &effects)
  sampler.checkInvariants()
  expect(sampler.usage.pastVerdicts == 0, "a verdict is never forgotten")
  expect(effects.outputs.isEmpty && !sampler.hasLedgerEntries, "a decision about a trace that never arrived")
}

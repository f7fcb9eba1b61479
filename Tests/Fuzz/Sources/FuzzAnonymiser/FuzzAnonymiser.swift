// Any bytes as a record to make anonymous: rejected unchanged, or rewritten in place without losing what a
// sampler reads.

import Expectation
import OTLP
import Pipeline

/// libFuzzer's entry point.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzAnonymiser(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  // Sound: libFuzzer lends `count` bytes for the duration of the call.
  let input = unsafe [UInt8](UnsafeBufferPointer(start: start, count: count))
  let hidden = anonymous(input, [])
  let named = anonymous(input, Set(Anonymiser.Name.allCases))
  expect((hidden == nil) == (named == nil), "names decide whether a record can be read")
  guard let hidden, let named else { return 0 }
  check(input, hidden)
  check(input, named)
  return 0
}

/// The anonymous record; nil if it is rejected, and then it must be unchanged.
private func anonymous(_ input: [UInt8], _ kept: Set<Anonymiser.Name>) -> [UInt8]? {
  var record = input
  do throws(MalformedInput) {
    try Anonymiser(key: (1, 2), keptNames: kept).anonymise(&record)
  } catch {
    expect(record == input, "a rejected record has changed")
    expect((0...input.count).contains(error.offset), "\(error) of \(input.count)")
    return nil
  }
  var again = input
  do throws(MalformedInput) {
    try Anonymiser(key: (1, 2), keptNames: kept).anonymise(&again)
  } catch {
    fatalError("accepted, then rejected: \(error)")
  }
  expect(again == record, "the same record was made anonymous in two ways")
  return record
}

/// The same messages of the same sizes, with the same times; and what could be read can be.
private func check(_ before: [UInt8], _ after: [UInt8]) {
  expect(before.count == after.count, "\(before.count) bytes became \(after.count)")
  guard let old = scan(before) else { return }
  guard let new = scan(after) else { fatalError("it can't be read any more") }
  expect(old.spans.count == new.spans.count, "\(old.spans.count) spans became \(new.spans.count)")
  for (first, second) in zip(old.spans, new.spans) {
    expect(first.content == second.content, "a span has moved")
    expect(first.start == second.start && first.end == second.end, "a time has changed")
    expect(first.isRoot == second.isRoot, "a root has changed")
  }
}

private func scan(_ bytes: [UInt8]) -> ScannedRecord? {
  var record = ScannedRecord()
  do throws(MalformedInput) {
    try bytes.withRawBytes { (raw) throws(MalformedInput) in try record.scan(raw) }
  } catch { return nil }
  return record
}

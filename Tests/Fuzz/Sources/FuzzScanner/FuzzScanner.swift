// Any bytes as a record, and as a request of logs: rejected with an error inside them, or read, split and
// rewritten without loss.

import Expectation
import OTLP

/// libFuzzer's entry point.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzScanner(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  // Sound: libFuzzer lends `count` bytes for the duration of the call.
  let input = unsafe [UInt8](UnsafeBufferPointer(start: start, count: count))
  checkLogs(input)
  guard let record = scan(input) else { return 0 }
  checkPieces(of: record, input)
  if record.isWhole { checkKept(input, record) }
  checkRejected(of: record, input)
  if input.count == 16 || input.count == 32 { checkKey(input) }
  return 0
}

/// Reads `bytes`; nil if they are rejected. The error must be located in them.
private func scan(_ bytes: [UInt8]) -> ScannedRecord? {
  var record = ScannedRecord()
  do throws(MalformedInput) {
    try bytes.withRawBytes { (raw) throws(MalformedInput) in try record.scan(raw) }
  } catch {
    expect((0...bytes.count).contains(error.offset), "\(error) of \(bytes.count)")
    return nil
  }
  expect(!record.spans.isEmpty, "a record without spans was accepted")
  expect(Set(record.rejected.map(\.error.reason)).count == record.rejected.count, "a reason appears twice")
  var end = 0
  for span in record.spans {
    expect(!span.traceID.isZero && span.spanID != 0, "a span without an id was accepted")
    for range in [span.content, span.name, span.traceState] where range.count > 0 {
      expect(
        range.indices.lowerBound >= span.field.indices.lowerBound
          && range.indices.upperBound <= span.field.indices.upperBound, "a part of a span lies outside it")
    }
    expect(Int(span.resource) < record.resources.count, "a span in no resource")
    expect(span.field.indices.upperBound <= bytes.count, "a span past the record")
    expect(span.field.indices.lowerBound >= end, "spans overlap or are out of order")
    end = span.field.indices.upperBound
  }
  return record
}

/// What must be the same of a span before and after.
private struct Facts: Equatable {
  var span: [UInt8]
  var service: [UInt8]

  init(_ span: SpanView, _ record: ScannedRecord, _ bytes: [UInt8]) {
    self.span = Array(bytes[span.content.indices])
    service = Array(bytes[record.resources[Int(span.resource)].serviceName.indices])
  }
}

private func checkPieces(of scanned: ScannedRecord, _ bytes: [UInt8]) {
  let bytesMax = 1 << 20
  var record = scanned
  var groups = TraceGroups()
  do throws(MalformedInput) {
    try groups.group(&record, bytesMax: bytesMax)
  } catch {
    expect(error == MalformedInput(.splitTooLarge, at: 0), "\(error) from taking a record apart")
    return
  }
  var seen = 0
  var size = 0
  for group in groups.groups {
    var writer = WireWriter()
    bytes.withRawBytes { writer.appendPiece(group.spans, of: record, bytes: $0) }
    let piece = writer.bytes
    size += piece.count
    guard let again = scan(piece) else { fatalError("a piece is rejected") }
    seen += group.spans.count
    expect(again.isSingleTrace, "a piece of several traces")
    expect(again.spans[0].traceID == group.traceID, "a piece of another trace")
    let before = group.spans.map { Facts(record.spans[$0], record, bytes) }
    expect(again.spans.map { Facts($0, again, piece) } == before, "a piece has other spans than its group")
  }
  expect(seen == record.spans.count, "spans were lost or duplicated")
  expect(record.isSingleTrace || size <= bytesMax, "pieces of \(size) bytes")
}

/// The pieces of unusable spans hold these, and no others.
private func checkRejected(of record: ScannedRecord, _ bytes: [UInt8]) {
  for rejected in record.rejected {
    var writer = WireWriter()
    bytes.withRawBytes { writer.appendRejected(rejected.error.reason, of: record, bytes: $0) }
    var again = ScannedRecord()
    do throws(MalformedInput) {
      try writer.bytes.withRawBytes { (raw) throws(MalformedInput) in try again.scan(raw) }
      fatalError("unusable spans were read")
    } catch {
      expect(error.reason == rejected.error.reason, "\(error) instead of \(rejected.error)")
      expect(again.spans.isEmpty && again.rejected.map(\.count) == [rejected.count], "others were set aside")
    }
  }
}

private func checkKept(_ bytes: [UInt8], _ record: ScannedRecord) {
  let threshold = SamplingThreshold(probability: 0.01)
  var kept = WireWriter()
  var counts = RewriteCounts()
  keep(bytes, threshold, &kept, &counts)
  expect(counts.spans == record.spans.count, "\(counts.spans) of \(record.spans.count) spans were written")
  guard let again = scan(kept.bytes) else { fatalError("a kept record is rejected") }
  expect(again.spans.count == record.spans.count, "keeping lost spans")
  var leftAlone = 0
  for (before, after) in zip(record.spans, again.spans) {
    expect(
      before.traceID == after.traceID && before.spanID == after.spanID && before.parentID == after.parentID
        && before.start == after.start && before.end == after.end && before.flags == after.flags
        && before.status == after.status && before.kind == after.kind
        && bytes[before.name.indices] == kept.bytes[after.name.indices], "keeping changed a span")
    let old = bytes.withRawBytes { TraceStateSampling(before.traceState, of: $0) }
    let new = kept.bytes.withRawBytes { TraceStateSampling(after.traceState, of: $0) }
    if new.threshold == max(threshold, old.threshold ?? .always) {
      expect(new.randomness == old.randomness, "keeping changed the randomness")
    } else {
      expect(bytes[before.traceState.indices] == kept.bytes[after.traceState.indices], "a wrong threshold")
      leftAlone += 1
    }
  }
  expect(leftAlone == counts.tracestatesLeftAlone, "\(leftAlone) tracestates were left alone")
  var twice = WireWriter()
  var ignored = RewriteCounts()
  keep(kept.bytes, threshold, &twice, &ignored)
  expect(scan(twice.bytes)?.spans.count == record.spans.count, "keeping twice lost spans")
}

private func keep(
  _ bytes: [UInt8], _ threshold: SamplingThreshold, _ writer: inout WireWriter, _ counts: inout RewriteCounts
) {
  do throws(MalformedInput) {
    try bytes.withRawBytes { (raw) throws(MalformedInput) in
      try writer.appendKept(raw, threshold: threshold, counts: &counts)
    }
  } catch {
    fatalError("an accepted record can't be kept: \(error)")
  }
}

private func checkKey(_ key: [UInt8]) {
  guard let id = key.withRawBytes({ TraceID(key: $0) }) else { return }
  let text = Array(id.description.utf8)
  expect(text.withRawBytes { TraceID(key: $0) } == id, "a trace id changed when read back")
}

/// The pieces of a request of logs hold all its log records, byte for byte.
private func checkLogs(_ bytes: [UInt8]) {
  guard var record = scanLogs(bytes), !record.spans.isEmpty else { return }
  var groups = TraceGroups()
  do throws(MalformedInput) {
    try groups.group(&record, bytesMax: 1 << 20)
  } catch {
    return expect(error == MalformedInput(.splitTooLarge, at: 0), "\(error) from taking a request apart")
  }
  var seen = 0
  for group in groups.groups {
    var writer = WireWriter()
    bytes.withRawBytes { writer.appendPiece(group.spans, of: record, bytes: $0) }
    let piece = writer.bytes
    guard let again = scanLogs(piece) else { fatalError("a piece of logs is rejected") }
    let before = group.spans.flatMap { bytes[record.spans[$0].field.indices] }
    expect(again.spans.flatMap { piece[$0.field.indices] } == before, "a piece has other log records")
    expect(again.spans.allSatisfy { $0.traceID == group.traceID }, "a piece has other traces")
    let count = group.spans.reduce(0) { $0 + record.spans[$1].logCount }
    expect(again.spans.reduce(0) { $0 + $1.logCount } == count, "log records are counted in two ways")
    seen += group.spans.count
  }
  expect(seen == record.spans.count, "log records were lost or duplicated")
}

private func scanLogs(_ bytes: [UInt8]) -> ScannedRecord? {
  var record = ScannedRecord()
  do throws(MalformedInput) {
    try bytes.withRawBytes { (raw) throws(MalformedInput) in try record.scanLogs(raw) }
  } catch {
    expect((0...bytes.count).contains(error.offset), "\(error) of \(bytes.count)")
    return nil
  }
  return record
}

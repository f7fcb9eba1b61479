// Any bytes as OTLP/JSON: rejected with an error inside them, or converted to well-formed protobuf.

import Expectation
import OTLP

/// libFuzzer's entry point.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzJSON(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  // Sound: libFuzzer lends `count` bytes for the duration of the call.
  let input = unsafe [UInt8](UnsafeBufferPointer(start: start, count: count))
  guard let record = convert(input) else { return 0 }
  expect(convert(input) == record, "the same document was converted in two ways")
  checkRecord(record)
  return 0
}

/// Converts `json`, appending to existing bytes; nil if it is rejected. The error must be located in it.
private func convert(_ json: [UInt8]) -> [UInt8]? {
  let before: [UInt8] = [0x18, 0x01]
  var writer = WireWriter()
  writer.appendBytes { $0 += before }
  do throws(MalformedInput) {
    try json.withRawBytes { (raw) throws(MalformedInput) in try OTLPJSON.convert(raw, into: &writer) }
  } catch {
    expect((0...json.count).contains(error.offset), "\(error) of \(json.count)")
    return nil
  }
  expect(writer.bytes.starts(with: before), "existing bytes have changed")
  return Array(writer.bytes.dropFirst(before.count))
}

/// Spans and ids may be missing from a document, but nothing else can be wrong with the result.
private func checkRecord(_ bytes: [UInt8]) {
  var record = ScannedRecord()
  do throws(MalformedInput) {
    try bytes.withRawBytes { (raw) throws(MalformedInput) in try record.scan(raw) }
  } catch {
    expect(
      [.empty, .noSpans, .identifierMissing].contains(error.reason), "converted, then rejected: \(error)")
    return
  }
  var kept = WireWriter()
  var counts = RewriteCounts()
  do throws(MalformedInput) {
    try bytes.withRawBytes { (raw) throws(MalformedInput) in
      try kept.appendKept(raw, threshold: .always, counts: &counts)
    }
  } catch {
    fatalError("a converted record can't be kept: \(error)")
  }
  // Unusable ones are still included: a sampler removes them by splitting the record.
  let spans = record.spans.count + record.rejected.reduce(0) { $0 + $1.count }
  expect(counts.spans == spans, "\(counts.spans) of \(spans) spans were written")
}

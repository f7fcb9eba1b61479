// Any bytes as OTLP/JSON: refused with an error inside them, or converted to protobuf that is well-formed.

import Expectation
import OTLP

/// libFuzzer's entry.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzJSON(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  // Sound: libFuzzer lends `count` bytes for the length of the call.
  let input = unsafe [UInt8](UnsafeBufferPointer(start: start, count: count))
  guard let record = convert(input) else { return 0 }
  expect(convert(input) == record, "the same document was converted in two ways")
  checkRecord(record)
  return 0
}

/// Converts `json` behind bytes that are there already; nil if it is refused. The error's place must be in
/// it.
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
  expect(writer.bytes.starts(with: before), "bytes that were there have changed")
  return Array(writer.bytes.dropFirst(before.count))
}

/// Spans and ids may be missing from a document, but nothing else can be wrong with what was written.
private func checkRecord(_ bytes: [UInt8]) {
  var record = ScannedRecord()
  do throws(MalformedInput) {
    try bytes.withRawBytes { (raw) throws(MalformedInput) in try record.scan(raw) }
  } catch {
    expect(
      [.empty, .noSpans, .identifierMissing].contains(error.reason), "converted to what is refused: \(error)")
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
  // Those that can't be used are still there: a sampler takes them out by splitting the record.
  let spans = record.spans.count + record.rejected.reduce(0) { $0 + $1.count }
  expect(counts.spans == spans, "\(counts.spans) of \(spans) spans were written")
}

// Any bytes as spans of Jaeger or Zipkin: rejected with an error inside them, or converted to OTLP.

import Encodings
import Expectation
import OTLP

/// libFuzzer's entry point. The first byte tells the encoding.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzEncodings(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  // Sound: libFuzzer lends `count` bytes for the duration of the call.
  let input = unsafe [UInt8](UnsafeBufferPointer(start: start, count: count))
  guard let first = input.first else { return 0 }
  let encoding = ForeignEncoding.allCases[Int(first) % ForeignEncoding.allCases.count]
  let record = Array(input.dropFirst())
  var converter = SpanConverter(encoding)
  guard let converted = convert(record, &converter) else { return 0 }
  // The converter keeps nothing of a record.
  expect(convert(record, &converter) == converted, "the same record was converted in two ways")
  let rejected = converter.rejected
  for group in rejected.groups {
    var part = WireWriter()
    record.withRawBytes {
      rejected.append(group.error.reason, of: $0, isJSON: encoding.isJSON, to: &part)
    }
    expect(part.count <= record.count + 2, "a part is larger than its record")
  }
  checkRecord(converted)
  return 0
}

/// Converts `record`, appending to existing bytes; nil if it is rejected. The error must be located in it.
private func convert(_ record: [UInt8], _ converter: inout SpanConverter) -> [UInt8]? {
  let before: [UInt8] = [0x18, 0x01]
  var writer = WireWriter()
  writer.appendBytes { $0 += before }
  do throws(MalformedInput) {
    try record.withRawBytes { (raw) throws(MalformedInput) in try converter.convert(raw, into: &writer) }
  } catch {
    expect((0...record.count).contains(error.offset), "\(error) of \(record.count)")
    expect(writer.bytes == before, "a rejected record has left bytes")
    return nil
  }
  expect(writer.bytes.starts(with: before), "existing bytes have changed")
  return Array(writer.bytes.dropFirst(before.count))
}

/// All that is converted is usable.
private func checkRecord(_ bytes: [UInt8]) {
  guard !bytes.isEmpty else { return }
  var record = ScannedRecord()
  do throws(MalformedInput) {
    try bytes.withRawBytes { (raw) throws(MalformedInput) in try record.scan(raw) }
  } catch {
    fatalError("converted, then rejected: \(error)")
  }
  expect(record.rejected.isEmpty && !record.spans.isEmpty, "an unusable span was converted")
}

// Any bytes as a recording: each byte belongs to one record or one damage, and memory is bounded.

import Expectation
import Pipeline

/// libFuzzer's entry point.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzRecording(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  // Sound: libFuzzer lends `count` bytes for the duration of the call.
  let input = unsafe [UInt8](UnsafeBufferPointer(start: start, count: count))
  let isSkippable =
    input.first.map { $0 & 0xf0 == 0x50 } == true && input.dropFirst().starts(with: [0x2a, 0x4d, 0x18])
  let isCompressed = isSkippable || input.starts(with: [0x28, 0xb5, 0x2f, 0xfd])
  do {
    let reader = try RecordingReader(bytes: input)
    var place = 0
    var items = 0
    // A frame of a few bytes may hold gigabytes: read as much as there is time for.
    while items < 10_000, let item = try reader.next() {
      items += 1
      switch item {
      case .record(let record):
        expect(record.spanCount > 0, "a record without spans")
        // Blanks are allowed between lines.
        expect(record.offset == place || reader.form == .collectorLines && record.offset > place, "a gap")
        place = record.offset + record.byteCount
      case .damaged(let offset, let count, let reason):
        expect(
          offset == place || reader.form == .collectorLines && offset > place,
          "damage at \(offset), not at \(place)")
        expect(count >= 0 && !reason.isEmpty, "damage without a reason")
        place = offset + count
        if isCompressed, place > 16 << 20 { return 0 }
      }
      expect(isCompressed || place <= input.count, "more was read than there is")
    }
    expect(
      isCompressed || reader.form == .collectorLines || place == input.count,
      "\(place) of \(input.count) bytes were read")
  } catch {
    fatalError("\(error)")
  }
  return 0
}

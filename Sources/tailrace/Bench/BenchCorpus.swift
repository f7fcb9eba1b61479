// The benchmark's records, reused under new trace ids.

import OTLP
import Pipeline
import Simulation

/// Records in one block of memory, and the places of their trace ids.
///
/// A second pass under the same ids would find every trace decided already. So between passes the ids are
/// changed in place, outside the measured time.
struct BenchCorpus {
  private(set) var bytes: [UInt8] = []
  private(set) var records: [Range<Int>] = []
  /// The keys of the records: 32 hexadecimal characters each.
  private(set) var keys: [UInt8] = []
  /// Where each span's trace id begins.
  private var identifiers: [Int] = []
  /// The index of each record's first one.
  private var firstIdentifiers: [Int] = []
  private(set) var traceCount = 0
  private(set) var spanCount = 0
  /// Approximate spans of a measured pass.
  var spansPerPass = 500_000
  /// How often the records are repeated for them.
  var roundsPerPass: Int { max(1, spansPerPass / spanCount) }
  private var pass: UInt64 = 0

  /// Whether the records are Jaeger's protobuf.
  private(set) var isJaeger = false

  /// Generates about `traces` traces: `spansPerTrace` spans each on average, five spans per record.
  ///
  /// - Parameter isJaeger: whether to write each span as a record of Jaeger's protobuf.
  init(generating options: WorkloadOptions, traces: Int, isJaeger: Bool = false) throws {
    self.isJaeger = isJaeger
    var workload = Workload(options)
    var identifiersSeen: Set<TraceID> = []
    while let record = workload.next() {
      if isJaeger { try appendJaeger(record.bytes) } else { try append(record.bytes) }
      identifiersSeen.insert(TraceID(high: record.traceIDHigh, low: record.traceIDLow))
      _ = workload.takeFinishedTruths()
      if identifiersSeen.count >= traces { workload.finish() }
    }
    traceCount = identifiersSeen.count
  }

  /// A few compressed bytes may hold gigabytes, and the whole corpus is in memory.
  private static let bytesMax = 1 << 30

  /// Reads the recording at `path`, or its first GiB; damaged records are left out.
  init(recording path: String) throws {
    let reader = try RecordingReader(path: path)
    var identifiersSeen: Set<TraceID> = []
    while bytes.count < BenchCorpus.bytesMax, let item = try reader.next() {
      guard case .record(let record) = item else { continue }
      try append(record.bytes)
      identifiersSeen.insert(record.traceID)
    }
    traceCount = identifiersSeen.count
    guard !records.isEmpty else { throw CommandFailure.failed("\(path): no records to measure with") }
  }

  private mutating func append(_ record: [UInt8]) throws {
    let start = bytes.count
    bytes.append(contentsOf: record)
    records.append(start..<bytes.count)
    keys.append(contentsOf: repeatElement(0, count: BenchCorpus.keyBytes))
    var scanned = ScannedRecord()
    try record.withRawBytes { (raw) throws(MalformedInput) in try scanned.scan(raw) }
    spanCount += scanned.spans.count
    let first = identifiers.count
    for span in scanned.spans {
      guard let place = record.find(span.traceID, in: span.content.indices) else { continue }
      identifiers.append(start + place)
    }
    firstIdentifiers.append(first < identifiers.count ? identifiers[first] : start)
    writeKey(records.count - 1, digits: BenchCorpus.keyBytes)
  }

  private mutating func appendJaeger(_ record: [UInt8]) throws {
    var scanned = ScannedRecord()
    try record.withRawBytes { (raw) throws(MalformedInput) in try scanned.scan(raw) }
    for (span, record) in zip(scanned.spans, try JaegerRecords.make(of: record)) {
      let start = bytes.count
      guard let place = record.find(span.traceID, in: record.indices) else { continue }
      bytes.append(contentsOf: record)
      records.append(start..<bytes.count)
      keys.append(contentsOf: repeatElement(0, count: BenchCorpus.keyBytes))
      spanCount += 1
      identifiers.append(start + place)
      firstIdentifiers.append(start + place)
      writeKey(records.count - 1, digits: BenchCorpus.keyBytes)
    }
  }

  /// The bytes of a key.
  private static let keyBytes = 32

  /// Where the key of a record is in `keys`.
  static func key(_ number: Int) -> Range<Int> { number * keyBytes..<(number + 1) * keyBytes }

  /// Gives every trace a new id, and the records their keys: the old one with the pass's number mixed into
  /// its first eight bytes.
  mutating func renameTraces() {
    let before = pass &* 0x9e37_79b9_7f4a_7c15
    pass += 1
    let mask = before ^ (pass &* 0x9e37_79b9_7f4a_7c15)
    let identifiers = identifiers
    var elements = bytes.mutableSpan
    // Sound: UInt8 has no padding.
    var raw = unsafe elements.mutableBytes
    for place in identifiers {
      // Sound: the load checks its bounds and needs no alignment, and every bit pattern is a UInt64.
      let half = unsafe raw.unsafeLoadUnaligned(fromByteOffset: place, as: UInt64.self)
      raw.storeBytes(of: half ^ mask.littleEndian, toByteOffset: place, as: UInt64.self)
    }
    for number in records.indices { writeKey(number, digits: 16) }
  }

  /// Writes the first digits of a record's key: those of its first span's trace.
  private mutating func writeKey(_ number: Int, digits: Int) {
    let (start, identifier) = (BenchCorpus.key(number).lowerBound, firstIdentifiers[number])
    for first in stride(from: 0, to: digits, by: 16) {
      let half = bytes.withRawBytes { $0.word(at: identifier + first / 2) }.bigEndian
      let characters = Hexadecimal.characters(of: half)
      var elements = keys.mutableSpan
      // Sound: UInt8 has no padding.
      var target = unsafe elements.mutableBytes
      target.storeBytes(of: characters[0].littleEndian, toByteOffset: start + first, as: UInt64.self)
      target.storeBytes(of: characters[1].littleEndian, toByteOffset: start + first + 8, as: UInt64.self)
    }
  }
}

extension [UInt8] {
  /// Where the 16 bytes of `id` follow the tag and length of field 1, within `range`.
  fileprivate func find(_ id: TraceID, in range: Range<Int>) -> Int? {
    var field = WireWriter()
    field.bytesField(
      SpanField.traceID,
      [id.high, id.low].flatMap { half in
        (0..<8).map { UInt8(truncatingIfNeeded: half >> UInt64(56 - 8 * $0)) }
      })
    let wanted = field.bytes
    guard range.count >= wanted.count else { return nil }
    for start in range.lowerBound...range.upperBound - wanted.count
    where self[start..<start + wanted.count].elementsEqual(wanted) {
      return start + 2
    }
    return nil
  }
}

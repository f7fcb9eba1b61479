// `stats` records as bytes. Binary, because ten thousand keys as JSON exceed Kafka's usual record limit.
//
// Version 1, every number a minimal varint (base 128, least significant group first):
//
//     record = 1 (one byte) partition interval interval-ms covered-ms traffic-of-other key-count entry*
//     entry  = name-length name flags traffic          flags: 1 if the key was known, else 0
//     traffic = seen failed present decided forced offered kept          each of the last five:
//     tally  = traces spans bytes
//
// Names are in strictly ascending order, so a record has one encoding and no name appears twice.
//
// Version 2 is written if the partition tells shapes: it begins with 2, and after the last entry come
//
//     shape-count shape*          shape: eight bytes, least significant first, in strictly ascending order

import OTLP

/// Why a `stats` record can't be read.
public enum TrafficRecordError: Error, Equatable, Sendable {
  /// The version byte is missing, or neither 1 nor 2.
  case version
  /// The bytes end in the middle of a number or name.
  case truncated
  /// A number is not in its shortest form, or exceeds its limit.
  case number
  /// There are too many keys, or a name is too long.
  case tooLarge
  /// Names or shapes are not in ascending order, a flag is unknown, or version 2 has no shapes.
  case entry
  /// A part is larger than its whole.
  case inconsistent
  /// Bytes follow the last entry.
  case trailingBytes
}

extension TrafficRecord {
  /// The largest count in a record: 2^48, enough for ten seconds at 28 TB per second.
  static let countMax: UInt64 = 1 << 48
  /// The largest number of keys in a record.
  static let entriesMax = 200_000
  /// The largest number of shapes in a record.
  static let shapesMax = 16_384

  /// The record's bytes.
  ///
  /// An entry takes its name and 19 to 120 bytes, typically about 40: a thousand services are 40 kB.
  public func encoded() -> [UInt8] {
    var writer = WireWriter(capacity: 1024)
    writer.varint(shapes.isEmpty ? 1 : 2)
    writer.varint(UInt64(clamping: partition.value))
    writer.varint(UInt64(clamping: interval.value))
    writer.varint(UInt64(clamping: intervalMilliseconds))
    writer.varint(UInt64(clamping: coveredMilliseconds))
    writer.appendBytes { other.append(to: &$0) }
    writer.varint(UInt64(entries.count))
    for entry in entries { writer.appendBytes { entry.append(to: &$0) } }
    guard !shapes.isEmpty else { return writer.bytes }
    writer.varint(UInt64(shapes.count))
    writer.appendBytes { bytes in
      for shape in shapes {
        for shift in stride(from: UInt64(0), to: 64, by: 8) {
          bytes.append(UInt8(truncatingIfNeeded: shape >> shift))
        }
      }
    }
    return writer.bytes
  }

  /// Counts the keys with the fewest traces as `other` if the record would exceed `bytesMax` bytes, which is
  /// at least 300. Returns how many keys that were.
  ///
  /// Shapes take a quarter of the bytes at most; those left out are told when it is their turn again, if then
  /// there are fewer.
  public mutating func shorten(toBytes bytesMax: Int) -> Int {
    if shapes.count > bytesMax / 32 { shapes.removeSubrange((bytesMax / 32)...) }
    let bytesMax = bytesMax - (shapes.isEmpty ? 0 : 8 * shapes.count + 3)
    // With the largest possible entries: most records evidently fit.
    let most = entries.reduce(TrafficRecord.headBytesMax) { $0 + $1.name.count + Entry.bytesMaxBesideName }
    guard most > bytesMax else { return 0 }
    let sizes = entries.map { entry in
      var bytes: [UInt8] = []
      entry.append(to: &bytes)
      return bytes.count
    }
    var size = sizes.reduce(TrafficRecord.headBytesMax, +)
    var left: Set<Int> = []
    let smallestFirst = entries.indices.sorted { left, right in
      (entries[left].traffic.seen, left) < (entries[right].traffic.seen, right)
    }
    for index in smallestFirst where size > bytesMax {
      size -= sizes[index]
      other.add(entries[index].traffic)
      left.insert(index)
    }
    guard !left.isEmpty else { return 0 }
    entries = entries.indices.filter { !left.contains($0) }.map { entries[$0] }
    return left.count
  }

  /// The version, the four numbers of the head and the key count, at most ten bytes each, and `other`.
  private static var headBytesMax: Int { 6 * 10 + KeyTraffic.encodedBytesMax }

  /// Reads a record. Its bytes are untrusted, and memory use is at most a small multiple of their number.
  public init(decoding bytes: [UInt8]) throws(TrafficRecordError) {
    var reader = TrafficReader(bytes: bytes)
    guard let version = bytes.first, version == 1 || version == 2 else { throw .version }
    _ = try reader.number(atMost: 2)
    let partition = try reader.number(atMost: UInt64(Int32.max))
    let interval = try reader.number(atMost: TrafficRecord.countMax)
    let length = try reader.number(atMost: 600_000)
    let covered = try reader.number(atMost: length)
    guard covered > 0 else { throw .number }
    self.init(
      partition: PartitionID(Int32(truncatingIfNeeded: partition)),
      interval: IntervalNumber(Int64(truncatingIfNeeded: interval)),
      intervalMilliseconds: Int64(truncatingIfNeeded: length),
      coveredMilliseconds: Int64(truncatingIfNeeded: covered))
    other = try reader.traffic()
    let count = try reader.number(atMost: UInt64.max)
    guard count <= UInt64(TrafficRecord.entriesMax) else { throw .tooLarge }
    // An entry has at least 19 bytes: reserve no more than can follow.
    entries.reserveCapacity(min(Int(count), reader.bytesLeft / 19))
    for _ in 0..<count {
      let name = try reader.name()
      if let last = entries.last?.name, !last.precedes(name) { throw .entry }
      guard let flags = reader.byte() else { throw .truncated }
      guard flags <= 1 else { throw .entry }
      entries.append(Entry(name: name, isKnown: flags == 1, traffic: try reader.traffic()))
    }
    if version == 2 { shapes = try reader.shapes() }
    guard reader.bytesLeft == 0 else { throw .trailingBytes }
  }
}

extension TrafficRecord.Entry {
  /// The length of the name, the flags and the traffic.
  fileprivate static var bytesMaxBesideName: Int { 3 + KeyTraffic.encodedBytesMax }

  fileprivate func append(to bytes: inout [UInt8]) {
    var length = WireWriter(capacity: 2)
    length.varint(UInt64(name.count))
    bytes += length.bytes
    bytes += name
    bytes.append(isKnown ? 1 : 0)
    traffic.append(to: &bytes)
  }
}

extension KeyTraffic {
  /// 17 numbers of at most 7 bytes each: 2^48 has 49 bits.
  static let encodedBytesMax = 17 * 7

  fileprivate func append(to bytes: inout [UInt8]) {
    var writer = WireWriter(capacity: KeyTraffic.encodedBytesMax)
    func append(_ count: UInt64) { writer.varint(min(count, TrafficRecord.countMax)) }
    append(seen)
    append(failed)
    // Even when numbers are cut, parts must not exceed their whole.
    func cut(_ part: UInt64, besides other: UInt64) -> UInt64 {
      min(part, TrafficRecord.countMax - min(other, TrafficRecord.countMax))
    }
    let keptBesides = TrafficTally(
      traces: cut(kept.traces, besides: forced.traces), spans: cut(kept.spans, besides: forced.spans),
      bytes: cut(kept.bytes, besides: forced.bytes))
    for tally in [present, decided, forced, offered, keptBesides] {
      append(tally.traces)
      append(tally.spans)
      append(tally.bytes)
    }
    bytes += writer.bytes
  }
}

/// A position in a record's bytes.
struct TrafficReader {
  private let bytes: [UInt8]
  private var offset = 0

  init(bytes: [UInt8]) {
    self.bytes = bytes
  }

  var bytesLeft: Int { bytes.count - offset }

  mutating func byte() -> UInt8? {
    guard offset < bytes.count else { return nil }
    offset += 1
    return bytes[offset - 1]
  }

  mutating func number(atMost most: UInt64) throws(TrafficRecordError) -> UInt64 {
    var value: UInt64 = 0
    for shift in stride(from: UInt64(0), to: 63, by: 7) {
      guard let byte = byte() else { throw .truncated }
      value |= UInt64(byte & 0x7f) << shift
      guard byte < 0x80 else { continue }
      // A last group of zeros is redundant: the number has a shorter form.
      guard byte != 0 || shift == 0, value <= most else { throw .number }
      return value
    }
    throw .number
  }

  fileprivate mutating func name() throws(TrafficRecordError) -> [UInt8] {
    let count = try number(atMost: UInt64.max)
    guard count <= UInt64(TrafficName.bytesMax) else { throw .tooLarge }
    guard Int(count) <= bytesLeft else { throw .truncated }
    let start = offset
    offset += Int(count)
    return Array(bytes[start..<offset])
  }

  mutating func shapes() throws(TrafficRecordError) -> [UInt64] {
    let count = try number(atMost: UInt64.max)
    guard count > 0 else { throw .entry }
    guard count <= UInt64(TrafficRecord.shapesMax) else { throw .tooLarge }
    guard Int(count) * 8 <= bytesLeft else { throw .truncated }
    var shapes: [UInt64] = []
    shapes.reserveCapacity(Int(count))
    for _ in 0..<count {
      var shape: UInt64 = 0
      for shift in stride(from: UInt64(0), to: 64, by: 8) { shape |= UInt64(byte() ?? 0) << shift }
      if let last = shapes.last, last >= shape { throw .entry }
      shapes.append(shape)
    }
    return shapes
  }

  fileprivate mutating func traffic() throws(TrafficRecordError) -> KeyTraffic {
    var traffic = KeyTraffic()
    traffic.seen = try number(atMost: TrafficRecord.countMax)
    traffic.failed = try number(atMost: TrafficRecord.countMax)
    traffic.present = try tally()
    traffic.decided = try tally()
    traffic.forced = try tally()
    traffic.offered = try tally()
    traffic.kept = try tally()
    guard traffic.isConsistent else { throw .inconsistent }
    return traffic
  }

  private mutating func tally() throws(TrafficRecordError) -> TrafficTally {
    TrafficTally(
      traces: try number(atMost: TrafficRecord.countMax), spans: try number(atMost: TrafficRecord.countMax),
      bytes: try number(atMost: TrafficRecord.countMax))
  }
}

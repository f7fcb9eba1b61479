// Which partition a record with a key is in, by the partitioners that producers usually have.

/// The partitioners that producers usually have.
enum KeyPartitions {
  /// The partitions in which a key can be, of so many. Producers pick by different hashes of the key:
  /// librdkafka by CRC-32, Java by Murmur 2, Sarama (the Collector's until 2025) by FNV-1a.
  static func candidates(of key: [UInt8], count: Int32) -> [Int32] {
    guard count > 1 else { return [0] }
    let hashes = [crc32(key), murmur2(key) & 0x7fff_ffff]
    var found = hashes.map { Int32($0 % UInt32(count)) }
    let signed = Int32(bitPattern: fnv1a(key)) % count
    found.append(abs(signed))
    return Array(Set(found)).sorted()
  }

  /// Source: librdkafka, `rd_crc32`: the CRC-32 of zlib.
  static func crc32(_ bytes: [UInt8]) -> UInt32 {
    var crc: UInt32 = .max
    for byte in bytes {
      crc ^= UInt32(byte)
      for _ in 0..<8 { crc = crc & 1 == 1 ? crc >> 1 ^ 0xedb8_8320 : crc >> 1 }
    }
    return ~crc
  }

  /// Source: Kafka, `Utils.murmur2`.
  static func murmur2(_ bytes: [UInt8]) -> UInt32 {
    let m: UInt32 = 0x5bd1_e995
    var hash: UInt32 = 0x9747_b28c ^ UInt32(truncatingIfNeeded: bytes.count)
    var place = 0
    while bytes.count - place >= 4 {
      var word = bytes[place..<place + 4].reversed().reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
      word = word &* m
      word ^= word >> 24
      hash = hash &* m ^ word &* m
      place += 4
    }
    let rest = bytes[place...]
    if !rest.isEmpty {
      for (number, byte) in rest.enumerated() { hash ^= UInt32(byte) << UInt32(8 * number) }
      hash = hash &* m
    }
    hash ^= hash >> 13
    hash = hash &* m
    return hash ^ hash >> 15
  }

  /// Source: RFC 9923.
  static func fnv1a(_ bytes: [UInt8]) -> UInt32 {
    bytes.reduce(0x811c_9dc5) { ($0 ^ UInt32($1)) &* 0x0100_0193 }
  }
}

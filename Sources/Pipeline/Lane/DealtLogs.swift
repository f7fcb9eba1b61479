// Which requests of logs were dealt with last, in case that brokers lose the end of the log.
//
// Then reading starts again somewhat earlier, by time, and comes to some that have been dealt with. Offsets
// do not tell them apart: those that were lost are given out again.

internal import OTLP
internal import Sampling

/// The requests of a partition that were dealt with last.
struct DealtLogs {
  private struct Entry {
    var offset: Offset
    var digest: UInt64
  }

  private var entries: [Entry] = []
  /// The oldest of them, once there are as many as there may be.
  private var oldest = 0

  /// How many are known: those of a second of busy logs. They take 16 bytes each.
  static var countMax: Int { 1024 }

  var byteCount: Int { entries.capacity * MemoryLayout<Entry>.stride }

  /// Notes a request that is dealt with.
  mutating func note(_ offset: Offset, _ key: RawSpan?, _ value: RawSpan?) {
    let entry = Entry(offset: offset, digest: Self.digest(key, value))
    guard entries.count == Self.countMax else { return entries.append(entry) }
    entries[oldest] = entry
    oldest = (oldest + 1) % Self.countMax
  }

  /// Whether this request was dealt with: it has the offset and the bytes of one that was.
  func contains(_ offset: Offset, _ key: RawSpan?, _ value: RawSpan?) -> Bool {
    guard entries.contains(where: { $0.offset == offset }) else { return false }
    let digest = Self.digest(key, value)
    return entries.contains { $0.offset == offset && $0.digest == digest }
  }

  /// Words are folded as in wyhash (public domain, Wang Yi). Without a seed, a writer could make two requests
  /// look alike; all it could gain is that one of its own is left out.
  private static func digest(_ key: RawSpan?, _ value: RawSpan?) -> UInt64 {
    var digest: UInt64 = 0xa076_1d64_78bd_642f
    func fold(_ word: UInt64) {
      let product = (digest ^ word).multipliedFullWidth(by: 0xe703_7ed1_a0b4_28db)
      digest = product.high ^ product.low
    }
    func fold(_ bytes: RawSpan?) {
      guard let bytes else { return fold(.max as UInt64) }
      fold(UInt64(bytes.byteCount))
      var offset = 0
      while bytes.byteCount - offset >= 8 {
        fold(bytes.word(at: offset))
        offset += 8
      }
      fold(bytes.lastWord(from: offset))
    }
    fold(key)
    fold(value)
    return digest
  }
}

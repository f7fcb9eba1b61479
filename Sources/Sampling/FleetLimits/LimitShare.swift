// The shares that one partition has of limits that the fleet shares.

/// A share of a limit, in units of 2^-32.
public struct LimitShare: Equatable, Comparable, Sendable {
  static let bits: Int128 = 32
  /// At most 2^32; never zero, so that every bucket fills up in the end.
  let scaled: Int128

  /// All of it.
  public static let whole = LimitShare(scaled: 1 << LimitShare.bits)

  private init(scaled: Int128) {
    self.scaled = scaled
  }

  /// Rounds a share down, so that shares of all partitions are together at most the limit.
  init(_ share: Double) {
    scaled = share >= 1 ? 1 << LimitShare.bits : max(1, Int128(max(share, 0) * 0x1p32))
  }

  /// The share as a number, above 0 and up to 1.
  public var value: Double { Double(scaled) * 0x1p-32 }

  /// Orders by size.
  public static func < (left: LimitShare, right: LimitShare) -> Bool { left.scaled < right.scaled }
}

/// The shares of one partition.
public struct PartitionShares: Equatable, Sendable {
  /// Those of limits that the fleet has counted.
  var known: [LimitID: LimitShare] = [:]
  /// That of all others.
  var other: LimitShare

  /// Equal shares for `partitions` partitions: nothing is known of what they ask for.
  public init(equalAmong partitions: Int) {
    other = LimitShare(1 / Double(max(1, partitions)))
  }

  /// The share of a limit.
  public subscript(limit: LimitID) -> LimitShare { known[limit] ?? other }
}

/// Tells the limits of a fleet apart: the same on all workers with the same policies.
///
/// 56 bits of FNV-1a (draft-eastlake-fnv) over the policy's name, whether it is a shadow policy, the limit's
/// place in the policy, and its unit. Not the rate: what asks for a limit's tokens does not depend on it.
public struct LimitID: Hashable, Comparable, Sendable {
  /// Below 2^56.
  let value: UInt64

  static let valueMax: UInt64 = 1 << 56 - 1

  init(value: UInt64) {
    self.value = value & LimitID.valueMax
  }

  /// The limit at `place` among those of a policy.
  public init(policy: String, isShadow: Bool = false, place: Int, paysBytes: Bool) {
    let kind: UInt8 = (isShadow ? 2 : 0) + (paysBytes ? 1 : 0)
    let bytes = Array(policy.utf8) + [0, kind, UInt8(clamping: place)]
    let hash = bytes.reduce(0xcbf2_9ce4_8422_2325 as UInt64) { hash, byte in
      (hash ^ UInt64(byte)) &* 0x100_0000_01b3
    }
    self.init(value: hash ^ hash >> 56)
  }

  /// Orders by number, which means nothing.
  public static func < (left: LimitID, right: LimitID) -> Bool { left.value < right.value }
}

// The ledger's form: the verdicts of dropped traces in bulk, some 25 bytes each instead of a JSON record.
//
// A page is one record of topic `verdicts`. docs/ledger.md describes it byte by byte:
//
//     page  = "TRL" version traces partition configuration time offset entry*
//     entry = trace-id flags offset length elapsed age spans [errors] [links]
//
// `version` is one byte; `traces` is a little-endian 32-bit number, since it is known last. All other numbers
// are varints, and those that may be negative are zigzag-coded. Offsets and times are differences to the
// entry before: traces that are decided one after another began at about the same time.

public import OTLP

/// What the ledger says of a dropped trace.
public struct LedgerEntry: Equatable, Sendable {
  /// The trace.
  public var traceID: TraceID
  /// Why its window closed then.
  public var trigger: Decision.Trigger
  /// Whether a root span had arrived.
  public var hasRoot: Bool
  /// Whether a policy vetoed it.
  public var isVetoed: Bool
  /// The stream clock at the verdict.
  public var decidedAt: Instant
  /// The start of its earliest span in nanoseconds since 1970, up to 1.05 ms late; `decidedAt` if it was
  /// later.
  public var earliestStart: UInt64
  /// Offset of the record with its first span.
  public var firstOffset: Offset
  /// Offset of the record with its last span.
  public var lastOffset: Offset
  /// Spans seen.
  public var spanCount: UInt64
  /// Spans with status ERROR seen.
  public var errorCount: UInt64
  /// The traces that its spans link to, where verdicts spread along links.
  public var links: [TraceID] = []
}

/// Why a page of the ledger, or of links, can't be read, and where.
public struct LedgerError: Error, Equatable, Sendable, CustomStringConvertible {
  /// What is wrong.
  public enum Reason: Equatable, Sendable {
    /// A version that this program does not know.
    case version(UInt8)
    /// The bytes end inside the page.
    case truncated
    /// A number is wider than its field.
    case number
    /// A flag or a trigger that this version does not have.
    case flags
    /// Bytes follow the last entry.
    case trailingBytes
  }

  /// What is wrong.
  public let reason: Reason
  /// The offset of the first byte that can't be accepted, from the start of the page.
  public let offset: Int

  /// Human-readable: "truncated at byte 17".
  public var description: String {
    switch reason {
    case .version(let version): "unknown version \(version) at byte \(offset)"
    case .truncated: "truncated at byte \(offset)"
    case .number: "number out of range at byte \(offset)"
    case .flags: "unknown flags at byte \(offset)"
    case .trailingBytes: "bytes after the last entry, at byte \(offset)"
    }
  }
}

/// The constants of a page.
enum LedgerPage {
  /// What every page begins with.
  static let magic: [UInt8] = Array("TRL".utf8)
  static let version: UInt8 = 1
  /// The version of pages in which some entry has links.
  static let versionWithLinks: UInt8 = 2
  /// Where the number of traces is: four bytes.
  static let countOffset = 4
  /// Versions of configurations are cut to this many bytes.
  static let configurationBytesMax = 255
  /// The fixed part of the head, four numbers of at most ten bytes and the configuration.
  static let headBytesMax = 8 + 4 * 10 + configurationBytesMax
  /// The id, the flags, six numbers of at most ten bytes, and room to store the last word whole.
  static let entryBytesMax = 16 + 1 + 6 * 10 + 8
  /// The same of an entry with links.
  static let linkBytesMax = 1 + 16 * LinksConfiguration.linksPerTrace

  static let rootFlag: UInt8 = 1 << 0
  static let vetoFlag: UInt8 = 1 << 1
  /// The number of error spans follows; without it there are none.
  static let errorsFlag: UInt8 = 1 << 2
  /// The time since the entry before is in nanoseconds instead of milliseconds.
  static let nanosecondsFlag: UInt8 = 1 << 3
  /// The number of links and their traces follow; only in version 2.
  static let linksFlag: UInt8 = 1 << 7
  /// Bits 4 to 6.
  static let triggerShift: UInt8 = 4

  /// Ages count units of 2^20 ns, as the cache of verdicts does: what is restored is what was remembered.
  static let ageShift: UInt64 = 20
  static let nanosecondsPerMillisecond: Int64 = 1_000_000
}

extension Decision.Trigger {
  /// Its number in the ledger.
  var ledgerNumber: UInt8 {
    switch self {
    case .root: 0
    case .wait: 1
    case .limit: 2
    case .memory: 3
    case .eager: 4
    case .late: 5
    case .recall: 6
    case .linked: 7
    }
  }

  /// Reads `ledgerNumber` back.
  init?(ledgerNumber: UInt8) {
    guard let trigger = Decision.Trigger.allCases.first(where: { $0.ledgerNumber == ledgerNumber }) else {
      return nil
    }
    self = trigger
  }
}

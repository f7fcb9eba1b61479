// A stretch of a topic, as people name it; StretchReader.swift reads it.

internal import OTLP
public import Sampling
public import Topology

/// A stretch of a topic.
public struct TopicStretch: Sendable {
  /// Where a stretch begins or ends in each partition.
  public enum Bound: Equatable, Sendable {
    /// At an offset; one outside of the log stands for its nearer end.
    case offset(Int64)
    /// At the first record with this timestamp or a later one.
    case time(Instant)
  }

  /// The topic's name.
  public var topic: String
  /// The partitions; nil for all.
  public var partitions: [Int32]?
  /// Where to begin; nil for the beginning of the log.
  public var from: Bound?
  /// Where to end: the record there is not part of the stretch. Nil for the log's end as it is now.
  public var to: Bound?
  /// Whether to wait for new records at the end.
  public var follows = false
  /// How long a partition may give nothing before it is given up.
  public var patience = Duration.seconds(60)

  /// Names a whole topic.
  public init(topic: String) {
    self.topic = topic
  }
}

extension TopicStretch {
  /// Reads partitions such as `0,3-5`; nil if the text is anything else.
  public static func partitions(_ text: String) -> [Int32]? {
    var numbers: [Int32] = []
    for part in text.split(separator: ",", omittingEmptySubsequences: false) {
      let ends = part.split(separator: "-", omittingEmptySubsequences: false).map { Int32($0) }
      guard ends.count <= 2, let first = ends[0], let last = ends[ends.count - 1], first >= 0, first <= last,
        numbers.count + Int(last - first) < partitionsMax
      else { return nil }
      numbers += first...last
    }
    return numbers
  }

  private static let partitionsMax = 100_000
}

extension TopicStretch.Bound {
  /// Reads a time by RFC 3339, with a fraction of up to nine digits; an age such as `-15m`; or an offset. Nil
  /// if the text is anything else.
  ///
  /// - Parameter now: what ages are counted from.
  public init?(_ text: String, now: Instant) {
    if text.hasPrefix("-") {
      guard let age = DurationText.parse(String(text.dropFirst())) else { return nil }
      self = .time(now - Interval(age))
    } else if let offset = Int64(text), !text.hasPrefix("+") {
      self = .offset(offset)
    } else if let time = Self.time(text) {
      self = .time(time)
    } else {
      return nil
    }
  }

  private static func time(_ text: String) -> Instant? {
    let form =
      #/([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9:]{8})(?:\.([0-9]{1,9}))?(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))/#
    guard let parts = text.wholeMatch(of: form)?.output else { return nil }
    let digits = String(parts.3 ?? "")
    let fraction = digits + String(repeating: "0", count: 9 - digits.count)
    guard let local = Instant(rfc3339: Array("\(parts.1)T\(parts.2).\(fraction)Z".utf8)) else { return nil }
    guard let sign = parts.4, let hours = Int64(parts.5 ?? ""), let minutes = Int64(parts.6 ?? "") else {
      return local
    }
    guard hours < 24, minutes < 60 else { return nil }
    let ahead = Interval.seconds(hours * 3600 + minutes * 60)
    return sign == "+" ? local - ahead : local + ahead
  }
}

/// A record of a topic.
public struct TopicRecord: Sendable {
  /// Its partition.
  public var partition: Int32
  /// Its place in the partition.
  public var offset: Int64
  /// Its timestamp, if it has one.
  public var timestamp: Instant?
  /// Its key.
  public var key: [UInt8]?
  /// Its value; nil for a tombstone.
  public var value: [UInt8]?
}

extension Topology {
  /// The topic that it reads, and how its records are encoded.
  public var input: SpanSource {
    switch self {
    case .tailSampling(let topology): topology.topics.spans
    case .repartition(let topology): topology.topics.rawSpans
    case .export(let topology): SpanSource(name: topology.topics.sampled)
    }
  }
}

/// Records of a stretch that are not there to read.
public struct StretchGap: Equatable, Sendable, CustomStringConvertible {
  /// Why they are not.
  public enum Cause: Equatable, Sendable {
    /// They were deleted before the first one was read.
    case deletedBefore
    /// They were deleted after others before them had been read.
    case deletedAmid
    /// Their partition had no leader for too long, or the brokers gave an error that does not pass.
    case unreadable
  }

  /// Why they are missing.
  public var cause: Cause
  /// Their partition.
  public var partition: Int32
  /// The first offset; nil if the stretch begins at a time and nobody knows any more which that was.
  public var from: Int64?
  /// The offset after the last one; nil if the stretch has no end.
  public var to: Int64?

  /// Whether what was read is not the whole stretch as it was when the reading began.
  public var isFailure: Bool { cause != .deletedBefore }

  /// In words.
  public var description: String {
    switch (cause, from, to) {
    case (.deletedBefore, let from?, let to?):
      "partition \(partition): the first \(to - from) offsets of the stretch, \(from) to \(to - 1), were "
        + "deleted"
    case (.deletedBefore, _, _):
      "partition \(partition) begins at offset \(to ?? 0): older records may have been deleted"
    case (.deletedAmid, let from, let to):
      "partition \(partition): offsets \(from ?? 0) to \((to ?? 0) - 1) were deleted before they could be "
        + "read"
    case (.unreadable, let from, let to?):
      "partition \(partition): offsets \(from ?? 0) to \(to - 1) could not be read"
    case (.unreadable, let from, nil):
      "partition \(partition): nothing from offset \(from ?? 0) on could be read"
    }
  }
}

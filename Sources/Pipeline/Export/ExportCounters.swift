// What an exporting lane counts.

/// What an exporting lane has sent.
public struct ExportCounters: Equatable, Sendable {
  /// Requests that the store has taken,
  public var requests: UInt64 = 0
  /// their records,
  public var records: UInt64 = 0
  /// and the spans in these, those included that the store has rejected.
  public var spans: UInt64 = 0
  /// Bytes of bodies sent, those of failed attempts included.
  public var bytes: UInt64 = 0
  /// Spans that the store has rejected in requests that it has taken.
  public var rejectedSpans: UInt64 = 0
  /// Requests that the store has refused for good: they are halved,
  public var refusedRequests: UInt64 = 0
  /// until the records are found that it refuses.
  public var refusedRecords: UInt64 = 0
  /// Attempts that failed and were or will be repeated, by reason.
  public var retries: [String: UInt64] = [:]
  /// How often reading stopped because too much waited.
  public var pauses: UInt64 = 0

  /// Nothing yet.
  public init() {}

  mutating func add(_ other: ExportCounters) {
    requests += other.requests
    records += other.records
    spans += other.spans
    bytes += other.bytes
    rejectedSpans += other.rejectedSpans
    refusedRequests += other.refusedRequests
    refusedRecords += other.refusedRecords
    retries.merge(other.retries, uniquingKeysWith: +)
    pauses += other.pauses
  }
}

// Logs that were read before their traces: their topics are read side by side.

internal import OTLP

/// Places of logs that were read before their traces: the topics are read side by side. The oldest are
/// forgotten.
struct EarlyLogs: Sendable {
  private var positions: [TraceID: [RecordPosition]] = [:]
  private var order: [TraceID] = []
  private var count = 0

  /// Some 200 KiB,
  private static let countMax = 4096
  /// of which no trace may take more.
  private static let placesMax = 1024

  mutating func add(_ position: RecordPosition, of id: TraceID) {
    guard positions[id]?.count ?? 0 < EarlyLogs.placesMax else { return }
    if positions[id] == nil { order.append(id) }
    positions[id, default: []].append(position)
    count += 1
    guard count > EarlyLogs.countMax || order.count > 2 * EarlyLogs.countMax else { return }
    // Half at a time, so that each is moved once. What was taken is in the order still.
    for oldest in order.prefix(order.count / 2) { count -= positions.removeValue(forKey: oldest)?.count ?? 0 }
    order.removeFirst(order.count / 2)
    if order.isEmpty || positions.isEmpty { self = EarlyLogs() }
  }

  mutating func take(_ id: TraceID) -> [RecordPosition] {
    guard !positions.isEmpty, let found = positions.removeValue(forKey: id) else { return [] }
    count -= found.count
    return found
  }
}

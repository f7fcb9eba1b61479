// How many traces of each service were kept and dropped, for monitoring.

/// Verdicts on the traces of one service.
public struct ServiceVerdicts: Equatable, Sendable {
  /// Traces kept, recalled ones included.
  public var kept: UInt64 = 0
  /// Traces dropped.
  public var dropped: UInt64 = 0

  /// Nothing counted yet.
  public init() {}

  /// Adds other verdicts on the same service.
  public mutating func add(_ other: ServiceVerdicts) {
    kept += other.kept
    dropped += other.dropped
  }
}

/// Final verdicts by the service of the root span. Services are numbered in the order of their first span, so
/// a count never moves to another name.
struct ServiceVerdictCounts {
  /// Indexed by the number of the service's name. The first is the name shared by all services beyond a
  /// limit.
  private var byService: [ServiceVerdicts] = [ServiceVerdicts()]
  private var rootless = ServiceVerdicts()

  /// - Parameter most: names with a greater number share the first count.
  mutating func count(_ service: NameID, isKept: Bool, most: Int) {
    guard service != .none else { return rootless.count(isKept) }
    let slot = Int(service.slot) <= most ? Int(service.slot) : 0
    while byService.count <= slot { byService.append(ServiceVerdicts()) }
    byService[slot].count(isKept)
  }

  fileprivate func forEach(in names: NameTable, _ body: ([UInt8], ServiceVerdicts) -> Void) {
    for (slot, verdicts) in byService.enumerated() where verdicts.kept + verdicts.dropped > 0 {
      body(names.bytes(of: NameID(slot: UInt32(truncatingIfNeeded: slot))), verdicts)
    }
    if rootless.kept + rootless.dropped > 0 { body(Array(Sampler.rootlessName.utf8), rootless) }
  }
}

extension ServiceVerdicts {
  fileprivate mutating func count(_ isKept: Bool) {
    if isKept { kept += 1 } else { dropped += 1 }
  }
}

extension Sampler {
  /// The name shared by all services beyond a limit.
  public static var otherServicesName: String { "(other services)" }
  /// Replaces the service of traces without a root span.
  public static var rootlessName: String { "(no root)" }

  /// Calls `body` with the name of each service whose traces were decided, by their roots, and the verdicts.
  public func forEachServiceVerdicts(_ body: ([UInt8], ServiceVerdicts) -> Void) {
    serviceVerdicts.forEach(in: services, body)
  }
}

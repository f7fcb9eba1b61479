// Finds out which service calls which: the services of spans and of their parents, whichever arrives first.

/// A span that waits for its parent.
struct WaitingCall {
  var service: UInt32
  var weight: Double
  /// How many spans of its kind its trace has had before.
  var before: Double
  var duration: UInt64
  var isError: Bool
}

/// The services of the spans read last, and the spans whose parents have not arrived. Both are bounded; the
/// oldest are forgotten.
struct CallLinker {
  private var services: [UInt64: UInt32] = [:]
  private var order = Chunks<UInt64>()
  private var waiting: [UInt64: [WaitingCall]] = [:]
  private var waitingOrder = Chunks<UInt64>()
  private var waitingCount = 0
  private let countMax: Int

  private static let spanBytes = 40
  private static let waitingBytes = 112

  init(bytesMax: Int) {
    countMax = max(16, bytesMax / (CallLinker.spanBytes + CallLinker.waitingBytes / 4))
  }

  var byteCount: Int {
    services.count * CallLinker.spanBytes + waitingCount * CallLinker.waitingBytes
  }

  /// A span's key: what others call it is unknown here, so its trace is part of it.
  static func key(trace: UInt64, span: UInt64) -> UInt64 {
    var hash = trace &* 0x9e37_79b9_7f4a_7c15 ^ span
    hash ^= hash >> 32
    hash = hash &* 0xd6e8_feb8_6659_fd93
    return hash ^ hash >> 32
  }

  /// Notes a span's service, which the caller has retained for it. Returns the calls that waited for it.
  mutating func note(
    _ key: UInt64, service: UInt32, _ names: inout NamePool
  ) -> [WaitingCall] {
    if let old = services.updateValue(service, forKey: key) {
      names.release(old)
    } else {
      order.append(key)
      if services.count > countMax { forgetOldest(&names) }
    }
    guard let calls = waiting.removeValue(forKey: key) else { return [] }
    waitingCount -= calls.count
    return calls
  }

  private mutating func forgetOldest(_ names: inout NamePool) {
    guard order.count > 0 else { return }
    if let service = services.removeValue(forKey: order[order.start]) { names.release(service) }
    order.removeFirst()
  }

  /// The service of a span that was read.
  func service(of key: UInt64) -> UInt32? { services[key] }

  /// Keeps a call until its parent arrives. The caller has retained its service.
  mutating func wait(for parent: UInt64, _ call: WaitingCall, _ names: inout NamePool) {
    // What has been answered leaves its place in the order, which must not grow without bound either.
    while waitingOrder.count > 0, waitingCount >= countMax / 4 || waitingOrder.count > countMax {
      let oldest = waitingOrder[waitingOrder.start]
      waitingOrder.removeFirst()
      let calls = waiting.removeValue(forKey: oldest) ?? []
      waitingCount -= calls.count
      for call in calls { names.release(call.service) }
    }
    if waiting[parent] == nil { waitingOrder.append(parent) }
    waiting[parent, default: []].append(call)
    waitingCount += 1
  }
}

// Finds out which service calls which, and which is linked to which: the services of spans, of their parents
// and of the spans that they link to, whichever arrives first.

internal import OTLP

/// A span that waits for its parent, or for the span that it links to.
struct WaitingCall {
  var trace: TraceID
  /// Whether it is counted as one by which calls enter its service.
  var isEntry: Bool
  /// The trace of the span that it links to; nil if the other one is its parent.
  var linked: TraceID?
  var service: UInt32
  var weight: Double
  /// How many spans of its kind its trace has had before.
  var before: Double
  var duration: UInt64
  var isError: Bool
}

/// Where a span was read: its service, and how many traces its own stands for.
struct CallOrigin {
  var service: UInt32
  var weight: Float
}

/// Calls by the spans that they wait for. They are bounded; the oldest are forgotten.
private struct WaitingCalls {
  private var calls: [UInt64: [WaitingCall]] = [:]
  private var order = Chunks<UInt64>()
  private(set) var count = 0
  let countMax: Int

  init(countMax: Int) {
    self.countMax = countMax
  }

  /// Adds one whose service the caller has retained.
  mutating func add(_ call: WaitingCall, for key: UInt64, _ names: inout NamePool) {
    // What has been answered leaves its place in the order, which must not grow without bound either.
    while order.count > 0, count >= countMax || order.count > 4 * countMax {
      let oldest = order[order.start]
      order.removeFirst()
      for call in take(oldest) { names.release(call.service) }
    }
    if calls[key] == nil { order.append(key) }
    calls[key, default: []].append(call)
    count += 1
  }

  mutating func take(_ key: UInt64) -> [WaitingCall] {
    guard let found = calls.removeValue(forKey: key) else { return [] }
    count -= found.count
    return found
  }
}

/// The services of the spans read last, and the spans whose parents have not arrived, or those that they link
/// to. All are bounded; the oldest are forgotten. Links may be many and lead to traces that were never kept:
/// they have a list of their own, so as not to crowd out what waits for parents.
struct CallLinker {
  private var origins: [UInt64: CallOrigin] = [:]
  private var order = Chunks<UInt64>()
  private var ofParents: WaitingCalls
  private var ofLinks: WaitingCalls
  private let countMax: Int

  private static let spanBytes = 48
  private static let waitingBytes = 160

  init(bytesMax: Int) {
    countMax = max(16, bytesMax / (CallLinker.spanBytes + CallLinker.waitingBytes / 4))
    ofParents = WaitingCalls(countMax: countMax / 8)
    ofLinks = WaitingCalls(countMax: countMax / 8)
  }

  var byteCount: Int {
    origins.count * CallLinker.spanBytes + (ofParents.count + ofLinks.count) * CallLinker.waitingBytes
  }

  /// A span's key: what others call it is unknown here, so its trace is part of it.
  static func key(_ trace: TraceID, _ span: UInt64) -> UInt64 {
    var hash = (trace.high ^ trace.low) &* 0x9e37_79b9_7f4a_7c15 ^ span
    hash ^= hash >> 32
    hash = hash &* 0xd6e8_feb8_6659_fd93
    return hash ^ hash >> 32
  }

  /// Notes a span's service, which the caller has retained for it. Returns the calls that waited for it.
  mutating func note(
    _ key: UInt64, _ origin: CallOrigin, _ names: inout NamePool
  ) -> [WaitingCall] {
    if let old = origins.updateValue(origin, forKey: key) {
      names.release(old.service)
    } else {
      order.append(key)
      if origins.count > countMax { forgetOldest(&names) }
    }
    return ofParents.take(key) + ofLinks.take(key)
  }

  private mutating func forgetOldest(_ names: inout NamePool) {
    guard order.count > 0 else { return }
    if let old = origins.removeValue(forKey: order[order.start]) { names.release(old.service) }
    order.removeFirst()
  }

  /// Where a span was read.
  func origin(of key: UInt64) -> CallOrigin? { origins[key] }

  /// Keeps a call until its other span arrives. The caller has retained its service.
  mutating func wait(for other: UInt64, _ call: WaitingCall, _ names: inout NamePool) {
    if call.linked == nil {
      ofParents.add(call, for: other, &names)
    } else {
      ofLinks.add(call, for: other, &names)
    }
  }
}

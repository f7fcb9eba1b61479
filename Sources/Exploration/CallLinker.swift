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
  var kind: UInt8
  /// Whether it is half of a call of which nobody has said yet that the other half is missing.
  var isPending = false
}

/// Where a span was read: its service, how many traces its own stands for, and what it says as the client of
/// a call.
struct CallOrigin {
  var service: UInt32
  var weight: Float
  var duration: UInt64
  var kind: UInt8
  var isError: Bool
  /// Whether the server that it calls was read.
  var isAnswered = false

  init(_ brief: SpanBrief, service: UInt32) {
    self.service = service
    weight = Float(brief.weight)
    duration = brief.duration
    kind = brief.kind
    isError = brief.isError
  }

  /// Whether it is a client or a producer.
  var isClient: Bool { kind == 3 || kind == 4 }

  /// Whether it is the same span, read again.
  func isRepeated(by other: CallOrigin) -> Bool {
    service == other.service && duration == other.duration && kind == other.kind && isError == other.isError
  }
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

  /// Adds one whose service the caller has retained. Returns those that leave, whose services the caller has
  /// to release.
  mutating func add(_ call: WaitingCall, for key: UInt64) -> [WaitingCall] {
    var left: [WaitingCall] = []
    // What has been answered leaves its place in the order, which must not grow without bound either.
    while order.count > 0, count >= countMax || order.count > 4 * countMax {
      let oldest = order[order.start]
      order.removeFirst()
      left += take(oldest)
    }
    if calls[key] == nil { order.append(key) }
    calls[key, default: []].append(call)
    count += 1
    return left
  }

  /// Those that wait for a span and are pending, which they are no longer then.
  mutating func settle(_ key: UInt64) -> [WaitingCall] {
    guard let found = calls[key], found.contains(where: \.isPending) else { return [] }
    calls[key] = found.map { call in
      var settled = call
      settled.isPending = false
      return settled
    }
    return found.filter(\.isPending)
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

  private static let spanBytes = 80
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

  /// Notes a span, whose service the caller has retained for it. Returns the calls that waited for it.
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

  /// The place among the spans read last that the next one takes, and the one that is forgotten for it; -1
  /// while there is room.
  var places: (next: Int, leaving: Int) { (order.end, origins.count >= countMax ? order.start : -1) }

  /// Notes that the server was read that a client calls.
  mutating func answer(_ key: UInt64) { origins[key]?.isAnswered = true }

  /// Servers that wait for this client: each is named once.
  mutating func settle(_ key: UInt64) -> [WaitingCall] { ofParents.settle(key) }

  /// Keeps a call until its other span arrives. The caller has retained its service. Returns those that leave
  /// for it, whose services the caller has to release.
  mutating func wait(for other: UInt64, _ call: WaitingCall) -> [WaitingCall] {
    call.linked == nil ? ofParents.add(call, for: other) : ofLinks.add(call, for: other)
  }
}

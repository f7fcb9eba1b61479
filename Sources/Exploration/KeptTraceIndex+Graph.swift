// The service graph: which calls of kept traces count in it, once both of their spans have been read, or one
// if there is no other.

internal import OTLP

extension KeptTraceIndex {
  /// The calls between services since the first record that was not of the past.
  public var serviceGraph: ServiceGraph { graph }

  /// Counts a call of which both spans are known. Within a service only a client and a server are a call.
  mutating func countInGraph(_ call: WaitingCall, from origin: CallOrigin, _ key: UInt64) {
    let isServer = call.kind == 2 || call.kind == 5
    guard graph.isCounting, origin.service != call.service || origin.isClient && isServer else { return }
    linker.answer(key)
    let isMessage = origin.kind == 4 || call.kind == 5
    graph.count(
      ServiceGraph.Call(
        edge: ServiceGraph.Edge(
          client: names[origin.service], server: names[call.service],
          connection: isMessage ? .messaging : .call),
        isFailed: call.isError || origin.isClient && origin.isError, weight: call.weight,
        before: call.before,
        // Another kind of span lasts longer than the call.
        clientDuration: origin.isClient ? origin.duration : nil, serverDuration: call.duration))
  }

  /// Counts calls to what has no spans, and from users; notes a client whose server may come.
  mutating func noteInGraph(_ call: WaitingCall, _ key: UInt64, isRoot: Bool, _ peer: CalledPeer?) {
    var edge = ServiceGraph.Edge(connection: .virtualNode)
    if isRoot, call.kind == 2 {
      (edge.client, edge.server) = (KeptTraceIndex.user, names[call.service])
      graph.count(
        ServiceGraph.Call(
          edge: edge, isFailed: call.isError, weight: call.weight, before: call.before,
          clientDuration: nil, serverDuration: call.duration))
    }
    guard let peer, let origin = linker.origin(of: key), origin.isClient else { return }
    if let database = peer.database, call.kind == 3 {
      linker.answer(key)
      edge = ServiceGraph.Edge(client: names[call.service], server: database, connection: .database)
      graph.count(
        ServiceGraph.Call(
          edge: edge, isFailed: call.isError, weight: call.weight, before: listExit(call),
          clientDuration: call.duration, serverDuration: call.duration))
    } else if !origin.isAnswered {
      // The span itself is in the last place.
      var half = CallHalf(key: key, since: clock, place: linker.places.next - 1)
      if let service = peer.service {
        half.peer = names.take(service)
        half.before = listExit(call)
      }
      halves.add(half)
    }
  }

  /// In place of the client of a root.
  private static let user = "user"

  /// Lists a span that calls what has no spans; returns how many its trace had before of its service.
  private mutating func listExit(_ call: WaitingCall) -> Double {
    guard let number = numbers[call.trace] else { return 0 }
    let pair = pairs.take(PairPool.Pair(first: call.service, second: PairPool.exit), &names)
    let info = PairInfo(count: 1, hasError: call.isError, duration: call.duration)
    return Double(list(pair, info, in: number))
  }

  // MARK: Halves

  /// Counts spans whose other half has not come in time, or for which there is no room any more.
  mutating func settleHalves() {
    while let (half, isDropped) = halves.next(at: clock, leaving: linker.places.leaving) {
      if half.place == nil {
        for call in linker.settle(half.key) { countUnpaired(call, isDropped: isDropped) }
      } else if let origin = linker.origin(of: half.key), origin.isClient, !origin.isAnswered {
        settle(half, origin, isDropped)
      }
      if let peer = half.peer { names.release(peer) }
    }
  }

  private mutating func settle(_ half: CallHalf, _ origin: CallOrigin, _ isDropped: Bool) {
    let (client, weight) = (names[origin.service], Double(origin.weight))
    guard !isDropped, let peer = half.peer else {
      graph.countUnpaired(
        client: client, server: nil, origin.kind == 4 ? .messaging : .call, weight: weight,
        isDropped: isDropped)
      return
    }
    graph.count(
      ServiceGraph.Call(
        edge: ServiceGraph.Edge(client: client, server: names[peer], connection: .virtualNode),
        isFailed: origin.isError, weight: weight, before: half.before, clientDuration: origin.duration,
        serverDuration: nil))
  }

  /// Counts a server whose client has not come.
  mutating func countUnpaired(_ call: WaitingCall, isDropped: Bool) {
    graph.countUnpaired(
      client: nil, server: names[call.service], call.kind == 5 ? .messaging : .call, weight: call.weight,
      isDropped: isDropped)
  }
}

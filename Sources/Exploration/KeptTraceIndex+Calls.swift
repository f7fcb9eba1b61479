// Calls between services, and links: counted once both of their spans have been read.

internal import OTLP

extension KeptTraceIndex {
  /// Notes where a span was read, counts what waited for it, and its own call and links.
  mutating func link(
    _ brief: SpanBrief, _ call: WaitingCall, _ links: Set<LinkedSpan>, _ peer: CalledPeer?, _ minute: Int64
  ) {
    names.retain(call.service)
    let key = CallLinker.key(brief.traceID, brief.spanID)
    var origin = CallOrigin(brief, service: call.service)
    // Zipkin's client and server may share an id: the other one has been read then.
    origin.isAnswered = linker.origin(of: key) != nil
    for waiting in linker.note(key, origin, &names) {
      count(waiting, from: origin, key, minute)
      names.release(waiting.service)
    }
    if brief.parentID != 0 { join(CallLinker.key(brief.traceID, brief.parentID), call, minute) }
    // The links of a span are seen together or not at all.
    var linking = call
    linking.before = call.before * Double(links.count)
    for link in links {
      linking.linked = link.traceID
      join(CallLinker.key(link.traceID, link.spanID), linking, minute)
      linking.before += 1
    }
    guard graph.isCounting else { return }
    noteInGraph(call, key, isRoot: brief.parentID == 0 && !origin.isAnswered, peer)
    settleHalves()
  }

  private mutating func join(_ key: UInt64, _ call: WaitingCall, _ minute: Int64) {
    if let origin = linker.origin(of: key) { return count(call, from: origin, key, minute) }
    var waiting = call
    waiting.isPending = graph.isCounting && call.linked == nil && (call.kind == 2 || call.kind == 5)
    if waiting.isPending { halves.add(CallHalf(key: key, since: clock)) }
    names.retain(call.service)
    for left in linker.wait(for: key, waiting) {
      if left.isPending { countUnpaired(left, isDropped: true) }
      names.release(left.service)
    }
  }

  /// Counts a span by which a call enters its service; returns how many its trace had before.
  mutating func countEntry(_ call: WaitingCall, _ minute: Int64) -> Double {
    let entry = pairs.take(PairPool.Pair(first: call.service, second: PairPool.entry), &names)
    pairs.retain(entry)
    let info = PairInfo(count: 1, hasError: call.isError, duration: call.duration)
    var before = call.before
    // A trace that has left the index has no list any more.
    if let number = numbers[call.trace] {
      before = Double(list(entry, info, in: number))
    } else {
      pairs.release(entry, &names)
    }
    count(
      entry, weight: call.weight, before: before, duration: call.duration, isError: call.isError, minute)
    pairs.release(entry, &names)
    return before
  }

  /// What a link between two traces stands for. Both must have been kept for it to be seen: the probability
  /// is the product of theirs or, where they share their randomness, the lesser of the two.
  private func linkWeight(_ one: Double, _ other: Double) -> Double {
    sharesRandomness ? max(one, other) : one * other
  }

  /// A call or a link from the service of `origin`, which was read at last.
  private mutating func count(
    _ call: WaitingCall, from origin: CallOrigin, _ key: UInt64, _ minute: Int64
  ) {
    var call = call
    // Whatever its kind is: some SDKs set none, and a job that continues a trace has an internal one.
    if origin.service != call.service, call.linked == nil, !call.isEntry {
      call.before = countEntry(call, minute)
    }
    if call.linked == nil { countInGraph(call, from: origin, key) }
    guard origin.service != call.service else { return }
    let number = calls.take(PairPool.Pair(first: origin.service, second: call.service), &names)
    var step = steps.removeValue(forKey: minute) ?? TrafficStep()
    let cell = UInt64(number) << 8 | UInt64(LatencyScale.number(of: call.duration))
    if let linked = call.linked {
      let weight = linked == call.trace ? call.weight : linkWeight(call.weight, Double(origin.weight))
      // The step has one use of it.
      if step.links[number] != nil { calls.release(number, &names) }
      step.links[number, default: Tally()].add(
        weight: weight, count: 1, before: call.before, isError: call.isError)
      step.linkCells[cell, default: LatencyCell()].add(
        LatencyCell(weight: weight, samples: 1, errors: call.isError ? 1 : 0))
    } else {
      if step.calls[number] != nil { calls.release(number, &names) }
      step.calls[number, default: Tally()].add(
        weight: call.weight, count: 1, before: call.before, isError: call.isError)
      step.callCells[cell, default: LatencyCell()].add(
        LatencyCell(weight: call.weight, samples: 1, errors: call.isError ? 1 : 0))
    }
    steps[minute] = step
  }
}

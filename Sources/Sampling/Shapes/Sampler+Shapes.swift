// Shapes of traces inside a sampler: noted as spans arrive, found when the window closes.

import OTLP

/// The digest of the service of a resource that the scanner recognises.
struct ShapeService {
  /// The resource's number; 0 for none.
  var resource: UInt64 = 0
  var digest: UInt64 = 0
}

extension Sampler {
  /// Notes the spans of an open trace's share for its shape.
  mutating func noteShape(_ share: Share, of record: inout ScannedRecord, _ bytes: RawSpan, in slot: Int) {
    // A shape of a part of the trace would be another one.
    guard !tableAccount.isOverdrawn || shapeNotes.hasRoom(for: share.spans.count) else {
      return shapeNotes.giveUp(slot)
    }
    var resource = UInt32.max
    var service: UInt64 = 0
    for index in share.spans {
      if record.spans[index].resource != resource {
        resource = record.spans[index].resource
        service = shapeDigest(of: record.resources[Int(resource)], in: bytes)
      }
      let name = bytes.extracting(record.spans[index].name.indices)
      shapeNotes.add(
        ShapeNotes.Note(
          spanID: record.spans[index].spanID, parentID: record.spans[index].parentID,
          node: TraceShape.node(service: service, name: name)),
        to: slot)
    }
  }

  /// The digest of a resource's service.
  @inline(__always)
  private mutating func shapeDigest(of resource: ResourceView, in bytes: RawSpan) -> UInt64 {
    let place = Int(truncatingIfNeeded: resource.number & 0xff)
    if resource.number != 0, place < shapeServices.count, shapeServices[place].resource == resource.number {
      return shapeServices[place].digest
    }
    let digest = TraceShape.digest(bytes.extracting(resource.serviceName.indices))
    guard resource.number != 0 else { return digest }
    if shapeServices.isEmpty { shapeServices = Array(repeating: ShapeService(), count: 256) }
    shapeServices[place] = ShapeService(resource: resource.number, digest: digest)
    return digest
  }

  /// The shape of the trace in `slot`, as far as its spans have arrived.
  mutating func shape(of slot: Int) -> TraceShape {
    if let shape = shapeNotes.shape(of: slot) { return shape }
    counters.shapesOfLarge += 1
    let service = services.withBytes(of: table[slot].rootService) { TraceShape.digest($0) }
    return operations.withBytes(of: table[slot].rootOperation) {
      TraceShape.large(root: TraceShape.node(service: service, name: $0))
    }
  }

  /// Notes that a trace of this shape is being decided. If it is to be kept for its shape, it gets the rate
  /// of what is kept whole; not if it was `wasKept` already.
  mutating func seeShape(
    _ shape: TraceShape, of slot: Int, wasKept: Bool, _ rate: inout BaselineRate?
  ) -> PartitionBaseline.FirstOfShape {
    guard let key = rate?.key else { return .init() }
    let amount = budgetAmount(of: slot)
    guard let first = baseline?.see(shape, amount: amount) else { return .init() }
    if first.isNew { counters.shapesNew += 1 }
    if first.isWanted, !wasKept { rate = BaselineRate(threshold: .always, key: key) }
    return first
  }

  /// Notes what became of it.
  mutating func settleShape(
    _ shape: TraceShape, of slot: Int, _ first: PartitionBaseline.FirstOfShape, _ outcome: PolicyOutcome,
    wasKept: Bool
  ) {
    guard wasKept || outcome.isKept else {
      if first.isRefused, !outcome.isVetoed { counters.firstsRefused += 1 }
      return
    }
    let isFirst = first.isWanted && !wasKept && !outcome.isCertain
    table[slot].isFirstOfShape = isFirst
    let amount = budgetAmount(of: slot)
    baseline?.keep(shape, amount: amount, isFirst: isFirst)
  }

  /// What the trace in `slot` counts for in the budget's unit.
  private mutating func budgetAmount(of slot: Int) -> UInt64 {
    let tally = TrafficTally(
      traces: 1, spans: UInt64(table[slot].spanCount), bytes: UInt64(table[slot].byteCount))
    return baseline?.configuration.budget.amount(tally) ?? 1
  }
}

// The consumer group of the simulated cluster: members, heartbeats, cooperative rebalancing.

import Pipeline
import Sampling

/// Assigns partitions to members, evenly, moving as few as possible. A partition that moves is first revoked
/// and released, then assigned.
final class SimulatedGroup {
  private struct Member {
    var seenAt: Instant
    var owned: Set<PartitionID> = []
    var leaving: Set<PartitionID> = []
    var events: [GroupEvent] = []
  }

  private let partitions: [PartitionID]
  private var members: [Int: Member] = [:]
  private var nextMember = 0
  /// How often the assignment has changed.
  private(set) var rebalances = 0

  static let sessionTimeout = Interval.seconds(6)

  init(partitions: [PartitionID]) {
    self.partitions = partitions
  }

  func isMember(_ member: Int) -> Bool { members[member] != nil }

  func owns(_ partition: PartitionID, _ member: Int) -> Bool {
    members[member]?.owned.contains(partition) ?? false
  }

  /// Adds a member; it gets its partitions once members that have too many have released them.
  func join(at now: Instant) -> Int {
    nextMember += 1
    members[nextMember] = Member(seenAt: now)
    rebalance()
    return nextMember
  }

  /// A member leaves voluntarily; its partitions are free at once.
  func leave(_ member: Int) {
    guard members.removeValue(forKey: member) != nil else { return }
    rebalance()
  }

  /// A heartbeat from a member's background thread: its process is alive.
  func heartbeat(_ member: Int, at now: Instant) {
    members[member]?.seenAt = now
  }

  /// What has happened to a member since its last call.
  func takeEvents(of member: Int) -> [GroupEvent] {
    defer { members[member]?.events = [] }
    return members[member]?.events ?? []
  }

  /// Time that a member did not have: it stood still while another waited.
  func shift(by time: Interval, except member: Int?) {
    for (other, state) in members where other != member {
      members[other]?.seenAt = state.seenAt + time
    }
  }

  /// A member has finished with partitions.
  func release(_ released: [PartitionID], by member: Int) {
    guard members[member] != nil else { return }
    members[member]?.owned.subtract(released)
    members[member]?.leaving.subtract(released)
    rebalance()
  }

  /// Evicts members that have been silent for too long.
  func expire(at now: Instant) {
    let silent = members.filter { $0.value.seenAt + SimulatedGroup.sessionTimeout <= now }.map(\.key)
    guard !silent.isEmpty else { return }
    for member in silent { members[member] = nil }
    rebalance()
  }

  private func rebalance() {
    let order = members.keys.sorted()
    guard !order.isEmpty else { return }
    let (share, extra) = partitions.count.quotientAndRemainder(dividingBy: order.count)
    var wanted: [Int: Int] = [:]
    // The members with most partitions may keep one more.
    let byOwned = order.sorted { (members[$0]?.owned.count ?? 0, $1) > (members[$1]?.owned.count ?? 0, $0) }
    for (place, member) in byOwned.enumerated() { wanted[member] = share + (place < extra ? 1 : 0) }
    revokeExcess(order, wanted)
    giveFree(order, wanted)
  }

  private func revokeExcess(_ order: [Int], _ wanted: [Int: Int]) {
    for member in order {
      guard var state = members[member] else { continue }
      let kept = state.owned.subtracting(state.leaving).sorted()
      let excess = kept.count - (wanted[member] ?? 0)
      guard excess > 0 else { continue }
      let leaving = Array(kept.suffix(excess))
      state.leaving.formUnion(leaving)
      state.events.append(.revoked(leaving))
      members[member] = state
      rebalances += 1
    }
  }

  private func giveFree(_ order: [Int], _ wanted: [Int: Int]) {
    let owned = members.values.reduce(into: Set<PartitionID>()) { $0.formUnion($1.owned) }
    var free = partitions.filter { !owned.contains($0) }
    for member in order {
      guard var state = members[member] else { continue }
      let room = (wanted[member] ?? 0) - state.owned.subtracting(state.leaving).count
      guard room > 0, !free.isEmpty else { continue }
      let given = Array(free.prefix(room))
      free.removeFirst(given.count)
      state.owned.formUnion(given)
      state.events.append(.assigned(given))
      members[member] = state
      rebalances += 1
    }
  }
}

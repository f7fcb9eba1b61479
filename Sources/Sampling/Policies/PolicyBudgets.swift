// What the rate limits and composites of one partition have left: the only state that policies have.

/// The budgets of one partition's policies, in the order of the program.
struct PolicyBudgets: Sendable {
  /// One for each rate limit.
  var buckets: [TokenBucket] = []
  /// One for each composite.
  var composites: [SecondBudgets] = []

  /// Changes the partition's shares of `limits` at `now`.
  mutating func adopt(_ shares: PartitionShares, of limits: [FleetBucket], at now: Instant) {
    for limit in limits { buckets[limit.bucket].adopt(shares[limit.id], at: now) }
  }

  /// What is left, or spent, at `now`: not negative, at most two numbers for each of
  /// `PolicyCompiler.budgetsMax`. Empty if there are no budgets.
  func levels(at now: Instant) -> [Int64] {
    guard !buckets.isEmpty || !composites.isEmpty else { return [] }
    return buckets.flatMap { $0.level(at: now) } + composites.flatMap { $0.spent(at: now) }
  }

  /// Restores what `levels` returned at `now`. Ignores levels that evidently belong to other policies.
  mutating func restore(_ levels: [Int64], at now: Instant) {
    let parts = composites.map(\.partCount)
    guard levels.count == 2 * buckets.count + parts.reduce(0, +) else { return }
    var rest = levels[...]
    for number in buckets.indices {
      buckets[number].restore(rest.prefix(2), at: now)
      rest = rest.dropFirst(2)
    }
    for number in composites.indices {
      composites[number].restore(rest.prefix(parts[number]), at: now)
      rest = rest.dropFirst(parts[number])
    }
  }
}

/// The bucket of a limit that the fleet shares.
struct FleetBucket: Sendable {
  /// Its place among the buckets.
  let bucket: Int
  let id: LimitID
  /// The name of its policy.
  let policy: String
  /// Its place among the limits of the policy that the fleet shares.
  let place: Int

  /// Those of `policies`, as `compiled`.
  static func all(of policies: [Policy], _ compiled: PolicyCompiler, isShadow: Bool) -> [FleetBucket] {
    var all: [FleetBucket] = []
    for (bucket, paysBytes) in compiled.fleetBuckets {
      // The buckets of a policy are adjacent.
      let number = compiled.firstBudgets.lastIndex { $0.bucket <= bucket } ?? 0
      let policy = policies[number].name
      let place = all.reversed().prefix { $0.policy == policy }.count
      let id = LimitID(policy: policy, isShadow: isShadow, place: place, paysBytes: paysBytes)
      all.append(FleetBucket(bucket: bucket, id: id, policy: policy, place: place))
    }
    return all
  }
}

extension PolicyProgram {
  /// The limits that the fleet shares, with what `budgets` say of them.
  func states(_ budgets: PolicyBudgets) -> [FleetLimitState] {
    fleetBuckets.map { limit in
      FleetLimitState(
        policy: limit.policy, place: limit.place, id: limit.id, share: budgets.buckets[limit.bucket].share)
    }
  }

  /// What has asked them for tokens since the last call.
  func takeTallies(_ budgets: inout PolicyBudgets) -> [LimitTally] {
    var tallies: [LimitTally] = []
    for limit in fleetBuckets { tallies.append(budgets.buckets[limit.bucket].takeTally()) }
    return tallies
  }
}

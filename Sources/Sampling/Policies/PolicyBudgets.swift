// What the rate limits and composites of one partition have left: the only state that policies have.

/// The budgets of one partition's policies, in the order of the program.
struct PolicyBudgets: Sendable {
  /// One for each rate limit.
  var buckets: [TokenBucket] = []
  /// One for each composite.
  var composites: [SecondBudgets] = []

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

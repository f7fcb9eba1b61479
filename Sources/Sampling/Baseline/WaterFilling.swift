// Max-min fairness: all get the same share, except that those who need less get what they need.

/// One key's demand on the budget. Loads are per interval, in the budget's unit.
struct KeyDemand: Equatable, Sendable {
  /// Weighted load of the traces that have the key: what its share is spread over.
  var present: Double
  /// Weighted load of the traces whose rate the key sets: what its rate costs.
  var offered: Double
  /// The unweighted load of the same traces: the rate can't cost more.
  var costMax: Double
  /// How many shares it gets.
  var shares: Double
  /// The smallest rate it must have.
  var floor: Double

  /// What a rate of the key costs.
  func cost(at rate: Double) -> Double {
    min(rate * offered, costMax)
  }

  /// The rate at a water level, on the grid. The floor is rounded up because it is a guarantee.
  func rate(at level: Double, ceiling: Double) -> Double {
    let share = present > 0 ? level * shares / present : .infinity
    return RateGrid.rounded(min(ceiling, max(share, floor * RateGrid.step)))
  }
}

/// Finds the water level.
struct WaterFilling {
  let demands: [KeyDemand]
  let ceiling: Double

  /// What all rates together cost at a level, summed in the order of the demands.
  func cost(at level: Double) -> Double {
    var sum = 0.0
    for demand in demands { sum += demand.cost(at: demand.rate(at: level, ceiling: ceiling)) }
    return sum
  }

  /// The largest level that costs at most `budget`: infinite if everything may be kept, zero if the floors by
  /// themselves cost that much.
  ///
  /// Costs are those of rates on the grid, so the sum includes rounding and is not biased by it. At most one
  /// key's step, 4.4 % of its cost, is left unspent.
  func level(for budget: Double) -> Double {
    guard cost(at: .infinity) > budget else { return .infinity }
    guard cost(at: 0) <= budget else { return 0 }
    // At twice the `budget`, a key that sets the rate of all its traces costs more than the budget, or is
    // kept whole.
    var (low, high) = (0.0, 1.0)
    while cost(at: high) <= budget { (low, high) = (high, high * 2) }
    if low == 0 {
      while high > 0x1p-60, cost(at: high / 2) > budget { high /= 2 }
      low = high / 2
    }
    // From a factor of two down to a millionth of a grid step.
    for _ in 0..<24 {
      let middle = (low + high) / 2
      if cost(at: middle) <= budget { low = middle } else { high = middle }
    }
    return low
  }
}

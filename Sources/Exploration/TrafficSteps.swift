// Weighted counts and latencies of operations and calls, minute by minute.
//
// A kept trace stands for w = 1/p traces, so a sum over all traffic is estimated by the sum over kept spans
// of w, and its variance by the sum over kept traces of w (w - 1) n^2, where n is how many spans of the trace
// are counted: they are kept or dropped together. The intervals are the normal ones at 99 %.
//
// Source: D. Horvitz, D. Thompson, "A Generalization of Sampling Without Replacement From a Finite Universe",
// JASA 47 (1952), with inclusions independent between traces (Poisson sampling).

/// A weighted count.
struct Tally {
  var weight = 0.0
  var variance = 0.0
  var errorWeight = 0.0
  var samples = 0.0

  /// Adds spans of one trace of which `before` were counted already.
  mutating func add(weight each: Double, count: Double, before: Double, isError: Bool) {
    weight += each * count
    variance += each * max(0, each - 1) * count * (2 * before + count)
    if isError { errorWeight += each * count }
    samples += count
  }

  mutating func add(_ other: Tally) {
    weight += other.weight
    variance += other.variance
    errorWeight += other.errorWeight
    samples += other.samples
  }

  /// The quantile of the normal distribution that leaves half a percent on either side.
  private static let quantile = 2.5758

  /// The 99 % interval. There were at least as many as are kept.
  var interval: (low: Double, high: Double) {
    let reach = Tally.quantile * variance.squareRoot()
    return (max(samples, weight - reach), weight + reach)
  }
}

/// Durations in classes of a quarter of an octave: neighbours differ by 19 %.
struct LatencyCell {
  var weight = 0.0
  var samples: UInt32 = 0
  var errors: UInt32 = 0

  mutating func add(_ other: LatencyCell) {
    weight += other.weight
    samples &+= other.samples
    errors &+= other.errors
  }
}

/// The classes of durations.
enum LatencyScale {
  static let perOctave = 4
  static let classMax = 63 * perOctave + perOctave - 1
  /// 2^(i/4).
  private static let steps = [1.0, 1.189207115002721, 1.4142135623730951, 1.681792830507429]

  static func number(of duration: UInt64) -> Int {
    guard duration > 0 else { return 0 }
    let value = Double(duration)
    let significand = value.significand
    let part = (1..<perOctave).count { steps[$0] <= significand }
    return min(classMax, Int(value.exponent) * perOctave + part)
  }

  /// Where a class begins, in nanoseconds.
  static func low(of number: Int) -> Double {
    Double(sign: .plus, exponent: number / perOctave, significand: steps[number % perOctave])
  }
}

/// The counts of one minute.
struct TrafficStep {
  /// By the number of the pair of service and operation.
  var operations: [UInt32: Tally] = [:]
  /// By the number of the pair of calling and called service.
  var calls: [UInt32: Tally] = [:]
  /// By the pair's number and, in the low eight bits, the class.
  var operationCells: [UInt64: LatencyCell] = [:]
  var callCells: [UInt64: LatencyCell] = [:]
  /// The same of links, from the service that is linked to.
  var links: [UInt32: Tally] = [:]
  var linkCells: [UInt64: LatencyCell] = [:]

  /// A dictionary's entry with its share of empty room.
  private static let tallyBytes = 64
  private static let cellBytes = 44

  var byteCount: Int {
    (operations.count + calls.count + links.count) * TrafficStep.tallyBytes
      + (operationCells.count + callCells.count + linkCells.count) * TrafficStep.cellBytes
  }
}

/// A latency distribution.
struct Latencies {
  private(set) var cells = [LatencyCell](repeating: LatencyCell(), count: LatencyScale.classMax + 1)

  mutating func add(_ cell: LatencyCell, class number: Int) { cells[number].add(cell) }

  var weight: Double { cells.reduce(0) { $0 + $1.weight } }

  /// The duration below which this share of the weight lies, interpolated within its class; nil if empty.
  func quantile(_ share: Double) -> Double? {
    let wanted = weight * share
    guard wanted > 0 else { return nil }
    var before = 0.0
    for (number, cell) in cells.enumerated() where cell.weight > 0 {
      if before + cell.weight >= wanted {
        let (low, high) = (LatencyScale.low(of: number), LatencyScale.low(of: number + 1))
        return low + (high - low) * (wanted - before) / cell.weight
      }
      before += cell.weight
    }
    return nil
  }

  /// The classes with something in them and those between, at most `countMax`: neighbours are joined.
  func buckets(_ countMax: Int) -> [(low: Double, high: Double, cell: LatencyCell)] {
    guard let first = cells.firstIndex(where: { $0.samples > 0 }),
      let last = cells.lastIndex(where: { $0.samples > 0 })
    else { return [] }
    var width = 1
    while (last / width - first / width + 1) > countMax { width *= 2 }
    return (first / width...last / width).map { group in
      var sum = LatencyCell()
      for number in group * width..<min((group + 1) * width, cells.count) { sum.add(cells[number]) }
      return (
        LatencyScale.low(of: group * width), LatencyScale.low(of: (group + 1) * width), sum
      )
    }
  }
}

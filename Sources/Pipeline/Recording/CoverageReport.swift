// What topologies keep of a recording: figures to choose by.

/// What a recording has, and what each candidate keeps of it.
public struct CoverageReport: Sendable {
  /// The ways in which traces can look alike.
  public enum ShapeKind: Int, CaseIterable, Sendable {
    /// The set of calls between operations.
    case edges
    /// The tree of calls without repetitions.
    case trees
    /// The tree of calls with repetitions.
    case calls
  }

  /// Kinds of something, and how many of them are seen in what is kept.
  public struct Coverage: Equatable, Sendable {
    /// Kinds that the recording has.
    public var total = 0
    /// Those with a kept trace, by candidate.
    public var seen: [Int]

    init(candidates: Int) { seen = Array(repeating: 0, count: candidates) }

    mutating func add(_ kept: [Int]) {
      total += 1
      for (place, count) in kept.enumerated() where count > 0 { seen[place] += 1 }
    }
  }

  /// One service: traces that it is in.
  public struct Service: Sendable {
    /// Its name.
    public var name: String
    /// The truth.
    public var traces: Int
    /// The estimates, by candidate.
    public var estimates: [ScaledCount]
  }

  /// What one candidate keeps.
  public struct Candidate: Sendable {
    /// Its replay.
    public var replay = ReplayReport()
    /// Kept traces, of those that are reported.
    public var traces = 0
    /// Their kept spans.
    public var spans = 0
    /// All traces, estimated from the kept ones.
    public var estimate = ScaledCount()
    /// Services whose truth is inside the 99 % interval.
    public var servicesInside = 0

    /// The largest weight of a sampled trace; 1 if there is none.
    public var heaviest: Double { max(estimate.heaviest, 1) }
  }

  /// Traces that all candidates have decided.
  public internal(set) var traces = 0
  /// Their spans.
  public internal(set) var spans = 0
  /// Traces that not all candidates have decided, and parts of traces that came after they were counted.
  public internal(set) var uncounted = 0
  /// Whether traces were counted before the recording's end, for want of memory.
  public internal(set) var hasTurned = false
  /// Whether there were more services, operations or shapes than are told apart.
  public internal(set) var isCut = false
  /// A shape is rare if it has less than this share of traces.
  public let rareShare: Double
  /// Shapes, in the order of `ShapeKind`,
  public internal(set) var shapes: [Coverage]
  /// and the rare ones of them.
  public internal(set) var rareShapes: [Coverage]
  /// Services.
  public internal(set) var serviceCoverage: Coverage
  /// Operations: names of spans, each of one service.
  public internal(set) var operations: Coverage
  /// Operations of roots.
  public internal(set) var roots: Coverage
  /// The services, those with the most traces first.
  public internal(set) var services: [Service] = []
  /// The candidates, in their order.
  public internal(set) var candidates: [Candidate]

  init(candidates count: Int, rareShare: Double) {
    self.rareShare = rareShare
    let none = Coverage(candidates: count)
    shapes = ShapeKind.allCases.map { _ in none }
    rareShapes = shapes
    (serviceCoverage, operations, roots) = (none, none, none)
    candidates = Array(repeating: Candidate(), count: count)
  }
}

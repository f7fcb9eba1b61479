// The `baseline` section: a budget for the fleet, shared over services by their traffic.

public import Sampling

/// How the adaptive baseline finds its rates.
public struct BaselineSettings: Equatable, Sendable {
  /// The name that decisions give as their reason.
  public static let policyName = "baseline"

  /// How much may be kept. Shares are in percent.
  public enum Budget: Equatable, Sendable {
    case traces(percentage: Double)
    case spans(percentage: Double)
    case bytes(percentage: Double)
    case spansPerSecond(Double)
  }

  /// How much may be kept.
  public var budget: Budget
  /// What gets its own rate.
  public var key: BaselineKey
  /// Whether traces that other policies keep count against the budget.
  public var includesOtherPolicies: Bool
  /// Traces a minute that each service with traffic keeps, on average, whatever the budget is; nil for one a
  /// minute as long as that is within the budget.
  public var floor: Double?
  /// The largest rate of any service, in percent.
  public var ceilingPercentage: Double
  /// The factor on the share of a service whose error rate rises; 1 is off.
  public var boost: Double
  /// How often rates are computed.
  public var interval: Duration
  /// How many services have their own rate.
  public var services: Int
  /// The share of the budget, in percent, that the first traces of shapes may take.
  public var firstOfShapePercentage: Double
  /// After how much silence a shape is new again.
  public var shapeSilence: Duration

  /// Makes settings; the defaults are those of a topology file.
  public init(
    budget: Budget = .traces(percentage: 1), key: BaselineKey = .service, includesOtherPolicies: Bool = true,
    floor: Double? = nil, ceilingPercentage: Double = 100, boost: Double = 4,
    interval: Duration = .seconds(10),
    services: Int = 10_000, firstOfShapePercentage: Double = 0, shapeSilence: Duration = .seconds(24 * 3600)
  ) {
    self.budget = budget
    self.key = key
    self.includesOtherPolicies = includesOtherPolicies
    self.floor = floor
    self.ceilingPercentage = ceilingPercentage
    self.boost = boost
    self.interval = interval
    self.services = services
    self.firstOfShapePercentage = firstOfShapePercentage
    self.shapeSilence = shapeSilence
  }

  /// The default share of first traces, for a key with shapes in it.
  static let firstOfShapeUsually = 96.0

  /// Whether shapes of traces are needed.
  var readsShapes: Bool { firstOfShapePercentage > 0 || key.parts.contains(.traceShape) }
}

extension BaselineConfiguration {
  init(_ settings: BaselineSettings) {
    self.init()
    budget =
      switch settings.budget {
      case .traces(let percentage): .shareOfTraces(percentage / 100)
      case .spans(let percentage): .shareOfSpans(percentage / 100)
      case .bytes(let percentage): .shareOfBytes(percentage / 100)
      case .spansPerSecond(let spans): .spansPerSecond(spans)
      }
    key = settings.key
    includesForced = settings.includesOtherPolicies
    floor = settings.floor ?? floor
    isWithinBudget = settings.floor == nil
    firstOfShapeShare = settings.firstOfShapePercentage / 100
    shapeSilence = Interval(settings.shapeSilence)
    ceiling = settings.ceilingPercentage / 100
    boost = settings.boost
    interval = Interval(settings.interval)
    servicesMax = settings.services
  }
}

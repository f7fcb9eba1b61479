// How verdicts spread along span links.

public import OTLP

/// Which way a kept trace's verdict spreads along links.
public enum LinkDirection: String, Sendable, CaseIterable {
  /// Both ways.
  case both
  /// To the traces that its spans link to: from a consumer to its producers.
  case toLinked = "to_linked"
  /// To the traces whose spans link to it: from a producer to its consumers.
  case toLinking = "to_linking"

  /// Whether a trace is kept because a kept one links to it.
  public var reachesLinked: Bool { self != .toLinking }
  /// Whether a trace is kept because it links to a kept one.
  public var reachesLinking: Bool { self != .toLinked }
}

/// How verdicts spread along span links.
public struct LinksConfiguration: Equatable, Sendable {
  /// Which way they do.
  public var direction = LinkDirection.both
  /// Over how many links, counted from a trace that policies keep: 1 to `hopsMax`.
  public var maxHops = 3
  /// How many traces a second of log time a partition may keep, or request to recall, because of links; at
  /// least 1. As many as in two seconds may come at once.
  public var tracesPerSecond = 100
  /// For how long links and kept traces are remembered, in log time.
  public var remember = Interval.seconds(3600)
  /// How many kept traces and traces that they link to a lane remembers, and of how many traces with links a
  /// partition does, which have no more than `linksPerTraceMean` links each on average. Beyond this the
  /// oldest are forgotten, counted.
  public var tracesMax = 100_000
  /// Whether traces that link to others take these others' randomness: then probabilities keep a story as a
  /// whole, or not at all.
  public var sharesRandomness = true

  /// The most hops.
  public static let hopsMax = 15
  /// Of a trace with more links than this, the others are left out.
  public static let linksPerTrace = 32
  /// A partition remembers this many links for each trace that it may remember: its memory is bounded
  /// whatever is sent. Most traces with links have one.
  public static let linksPerTraceMean = 4
  /// Of a trace that more traces than this link to, the others are not known.
  public static let linkingPerTrace = 1000

  /// The default configuration.
  public init() {}
}

/// Why links reach a trace.
public struct LinkReach: Equatable, Sendable {
  /// The kept trace at the other end of the link.
  public var from: TraceID
  /// How many links away a trace is that policies keep; at least 1.
  public var hops: Int
}

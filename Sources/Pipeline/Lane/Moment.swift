// The time by two clocks: one can be set, the other can't.

internal import Foundation
public import Sampling

/// A moment by two clocks.
public struct Moment: Sendable {
  /// The wall clock. It may be wrong and may jump; it is only compared with timestamps.
  public var wall: Instant
  /// Time elapsed since some start. It never jumps: all waiting goes by it.
  public var steady: Instant

  /// Makes a moment.
  public init(wall: Instant, steady: Instant) {
    self.wall = wall
    self.steady = steady
  }

  private static let start = ContinuousClock.now

  /// This moment.
  public static var now: Moment {
    Moment(
      wall: Instant(secondsSince1970: Date().timeIntervalSince1970),
      steady: Instant(nanoseconds: (ContinuousClock.now - start).nanoseconds))
  }
}

extension Instant {
  /// The time that a host's clock shows, clamped: a clock may be set to any year.
  init(secondsSince1970 seconds: Double) {
    let nanoseconds = (seconds * 1e9).rounded(.towardZero)
    self.init(nanoseconds: Int64(exactly: nanoseconds) ?? (seconds < 0 ? .min : .max))
  }
}

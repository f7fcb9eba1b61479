// What time it is, twice: one clock can be set, the other can't.

internal import Foundation
public import Sampling

/// A moment by two clocks.
public struct Moment: Sendable {
  /// The time of day. It may be wrong, and it may jump; only timestamps are held against it.
  public var wall: Instant
  /// Time that has passed since some start. It never jumps: everything that waits, waits by it.
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
  /// The point in time that a host's clock shows; one that does not fit is clamped, for a clock may be set to
  /// any year.
  init(secondsSince1970 seconds: Double) {
    let nanoseconds = (seconds * 1e9).rounded(.towardZero)
    self.init(nanoseconds: Int64(exactly: nanoseconds) ?? (seconds < 0 ? .min : .max))
  }
}

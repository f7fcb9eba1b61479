// The progress of long work: one line on standard error, for a person watching.

import ArgumentParser
import Foundation

/// Whether progress is shown.
struct ProgressOptions: ParsableArguments {
  @Flag(help: "Show no progress; it is shown on a terminal only.")
  var quiet = false
}

/// One line on standard error that is rewritten in place, and cleared when the work is done or has failed.
/// Nothing is written if standard error is not a terminal.
final class Progress {
  private let unit: String
  private let total: Int?
  private let isShown: Bool
  private let start = ContinuousClock.now
  private var shownAt: ContinuousClock.Instant?

  private static let pause = Duration.milliseconds(200)

  /// - Parameters:
  ///   - unit: what is counted, such as "records".
  ///   - total: how many there will be, if known.
  ///   - isHidden: whether it would mix with the command's output.
  init(_ unit: String, total: Int? = nil, _ options: ProgressOptions, isHidden: Bool = false) {
    self.unit = unit
    self.total = total
    isShown = StandardError.isTerminal && !options.quiet && !isHidden
  }

  deinit { end() }

  /// Shows how many are done.
  ///
  /// - Parameters:
  ///   - share: how much of the work that is, from 0 to 1, if there is no total.
  ///   - details: further text.
  func show(_ done: Int, share: Double? = nil, _ details: @autoclosure () -> String = "") {
    guard isShown else { return }
    let now = ContinuousClock.now
    guard shownAt.map({ now - $0 >= Progress.pause }) ?? true else { return }
    shownAt = now
    let seconds = (now - start).inSeconds
    let part = share ?? total.map { $0 == 0 ? 1 : min(1, Double(done) / Double($0)) }
    StandardError.write("\r\u{1b}[2K" + Progress.line(done, unit, part, seconds, details()))
  }

  /// Clears the line.
  func end() {
    if shownAt != nil { StandardError.write("\r\u{1b}[2K") }
    shownAt = nil
  }

  /// The line's text: a bar and a percentage if the total is known, the count and its rate.
  static func line(
    _ done: Int, _ unit: String, _ share: Double?, _ seconds: Double, _ details: String
  ) -> String {
    var parts: [String] = []
    if let share {
      let bar = String(repeating: "#", count: Int(25 * share))
      parts.append(
        "[\(bar.padding(toLength: 25, withPad: ".", startingAt: 0))] \(Int(100 * share)) %")
    }
    parts.append("\(done) \(unit)")
    if !details.isEmpty { parts.append(details) }
    if seconds >= 1 {
      let rate = Double(done) / seconds
      parts.append(String(format: rate < 10 ? "%.1f/s" : "%.0f/s", rate))
      if let share, share > 0.01, share < 1 {
        parts.append("\(Int(min(seconds / share * (1 - share), 1e9))) s left")
      } else {
        parts.append("\(Int(seconds)) s")
      }
    }
    return parts.joined(separator: "  ")
  }
}

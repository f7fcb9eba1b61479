// Signal handling of long commands.

import Dispatch
import Foundation

/// Calls an action on signals, instead of their default, until cancelled.
final class Signals {
  private let numbers: [Int32]
  private var sources: [any DispatchSourceSignal] = []
  /// Whether a signal was caught that the next one does not wait for.
  private var asked: StopFlag?

  /// Returns once the signals are caught: until then they have their default action, so that none is lost.
  ///
  /// Dispatch registers sources on a thread of its own, and installs a handler. A signal that was ignored
  /// in the meantime, as is usual elsewhere, would be gone.
  ///
  /// - Parameter action: gets the signal's number, on its own thread.
  init(_ numbers: [Int32], _ action: @escaping @Sendable (Int32) -> Void) {
    self.numbers = numbers
    let queue = DispatchQueue(label: "tailrace.signals")
    let areCaught = DispatchGroup()
    for number in numbers {
      let source = DispatchSource.makeSignalSource(signal: number, queue: queue)
      source.setEventHandler { action(number) }
      areCaught.enter()
      source.setRegistrationHandler { areCaught.leave() }
      source.resume()
      sources.append(source)
    }
    areCaught.wait()
  }

  /// SIGINT and SIGTERM: the first asks the command to stop and tells the user so; the second ends the
  /// process at once.
  ///
  /// - Parameters:
  ///   - say: tells the user.
  ///   - stop: makes the command stop gracefully.
  static func stopping(
    _ say: @escaping @Sendable (String) -> Void, _ stop: @escaping @Sendable () -> Void
  ) -> Signals {
    let isAsked = StopFlag()
    let signals = Signals([SIGINT, SIGTERM]) { number in
      guard !isAsked.isSet else { _exit(128 + number) }
      isAsked.set()
      say("stopping; a second signal ends it at once")
      stop()
    }
    signals.asked = isAsked
    return signals
  }

  /// Takes the next signal for a first one: what the last one ended is over, and the command goes on.
  func startOver() { asked?.clear() }

  func cancel() {
    for source in sources { source.cancel() }
    for number in numbers { signal(number, SIG_DFL) }
  }
}

// Signal handling of long commands.

import Dispatch
import Foundation

/// Calls an action on signals, instead of their default, until cancelled.
final class Signals {
  private let numbers: [Int32]
  private var sources: [any DispatchSourceSignal] = []
  /// Counts the sources that are gone.
  private let gone = DispatchSemaphore(value: 0)

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
      source.setCancelHandler { [gone] in gone.signal() }
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
    return Signals([SIGINT, SIGTERM]) { number in
      guard !isAsked.isSet else { _exit(128 + number) }
      isAsked.set()
      say("stopping; a second signal ends it at once")
      stop()
    }
  }

  /// Returns once Dispatch has let go of the signals: catching them again before that would go unnoticed,
  /// and leave them with their default action.
  func cancel() {
    for source in sources { source.cancel() }
    for _ in sources { gone.wait() }
    sources = []
    for number in numbers { signal(number, SIG_DFL) }
  }
}

// Follows a topology file while a worker runs by it.

internal import Foundation
internal import Synchronization

/// Takes over what changes in a worker's topology file, and the level of the log.
///
/// The file's text is looked at, not its time or its place: a Kubernetes ConfigMap is a symbolic link that
/// comes to lead elsewhere. Variables of the environment keep the values that they had.
public final class TopologyWatch: Sendable {
  private let file: String
  private let environment: [String: String]
  private let worker: Worker
  private let level: LogLevel
  private let state: Mutex<State>
  private let queue = DispatchQueue(label: "tailrace.topology")

  private struct State {
    var isCancelled = false
    /// The text that was last taken over or refused. At first none: the file may have changed since the
    /// worker was made, and to take over what is in effect changes nothing.
    var settled: String?
    /// What was there at the last look: a text counts once it was there twice, so that no half of a file that
    /// is being written does.
    var seen: String?
  }

  /// Whether it is a pipe or standard input: what was in it has been read.
  private var isReadOnce: Bool { InputFile.isReadOnce(file) }

  /// How often the file is looked at.
  private static let pause = DispatchTimeInterval.seconds(1)

  /// Follows `file`, from which `worker` was made, until `cancel`.
  ///
  /// - Parameters:
  ///   - environment: the variables that the file may refer to.
  ///   - level: follows the file's log level.
  public init(_ file: String, environment: [String: String], worker: Worker, level: LogLevel) {
    self.file = file
    self.environment = environment
    self.worker = worker
    self.level = level
    state = Mutex(State())
    if !isReadOnce { lookLater() }
  }

  /// Takes the file over as it is now, changed or not: files that it refers to may have changed.
  public func reload() {
    if !isReadOnce { queue.async { [self] in takeOver() } }
  }

  /// Follows it no longer.
  public func cancel() {
    state.withLock { $0.isCancelled = true }
  }

  private func lookLater() {
    queue.asyncAfter(deadline: .now() + TopologyWatch.pause) { [weak self] in
      guard let self, !state.withLock(\.isCancelled) else { return }
      look()
      lookLater()
    }
  }

  private func look() {
    // A file that can't be read is about to be replaced, or is said to be missing when somebody reloads it.
    guard let text = try? Topology.text(ofFile: file) else { return }
    let isDue = state.withLock { state in
      defer { state.seen = text }
      return text == state.seen && text != state.settled
    }
    if isDue { takeOver() }
  }

  private func takeOver() {
    do {
      let text = try Topology.text(ofFile: file)
      state.withLock { $0.settled = text }
      let topology = try Topology.parse(text, fileName: file, environment: environment)
      level.follow(topology.worker.log)
      worker.adopt(topology)
    } catch {
      worker.refuse(error)
    }
  }
}

// Follows the topology file of a running worker.

import Files
internal import Foundation
internal import Synchronization
import Topology

/// Applies changes of a worker's topology file, log level included.
///
/// It compares the file's text, not its time or inode: a Kubernetes ConfigMap is a symbolic link whose target
/// changes. Environment variables keep their values.
public final class TopologyWatch: Sendable {
  private let file: String
  private let environment: [String: String]
  private let worker: Worker
  private let level: LogLevel
  private let state: Mutex<State>
  private let queue = DispatchQueue(label: "tailrace.topology")

  private struct State {
    var isCancelled = false
    /// What was last applied or refused. None at first: the file may have changed since the worker was made,
    /// and applying what is in effect changes nothing.
    var settled: Contents?
    /// The contents at the last look: they count once seen twice, so that a half-written file, or one just
    /// being replaced, doesn't.
    var seen: Contents?
    /// Why `settled` was refused; nil if it was applied.
    var refusal: TopologyError?
  }

  /// A file's text, or why it can't be read.
  private typealias Contents = Result<String, TopologyError>

  private var contents: Contents {
    do { return .success(try Topology.text(ofFile: file)) } catch { return .failure(error) }
  }

  /// Whether it is a pipe or standard input, which can't be read again.
  private var isReadOnce: Bool { InputFile.isReadOnce(file) }

  /// How often the file is read.
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

  /// Applies the file as it is now, changed or not: files that it refers to may have changed.
  public func reload() {
    if !isReadOnce { queue.async { [self] in takeOver(contents) } }
  }

  /// Stops following it.
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
    let contents = contents
    let (isDue, refusal) = state.withLock { state in
      defer { state.seen = contents }
      let isSettled = contents == state.settled
      return (contents == state.seen && !isSettled, isSettled ? state.refusal : nil)
    }
    if isDue {
      takeOver(contents)
    } else if let refusal, refusal != problem(of: contents) {
      // The file is the same, but what it refers to changed: a missing secret exists now.
      takeOver(contents)
    }
  }

  /// What is wrong with the file; nil if it can be applied.
  private func problem(of contents: Contents) -> TopologyError? {
    do {
      _ = try topology(of: contents)
      return nil
    } catch { return error }
  }

  private func topology(of contents: Contents) throws(TopologyError) -> Topology {
    try Topology.parse(try contents.get(), fileName: file, environment: environment)
  }

  private func takeOver(_ contents: Contents) {
    var refusal: TopologyError?
    do {
      let topology = try topology(of: contents)
      level.follow(topology.worker.log)
      worker.adopt(topology)
    } catch {
      refusal = error
      worker.refuse(error)
    }
    state.withLock { state in
      state.settled = contents
      state.refusal = refusal
    }
  }
}

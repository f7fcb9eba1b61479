// Loading topology files for commands: an invalid file is a configuration error, one line per problem.

import Foundation
import Pipeline
import Topology

extension Topology {
  /// Reads the file with the process's environment.
  ///
  /// - Parameters:
  ///   - files: whether to read the files that it refers to.
  ///   - withClients: whether its clients are made on this host; if files are read, the clients' files must
  ///     exist here.
  /// - Throws: `CommandFailure` with exit code 2.
  static func loaded(
    from path: String, files: FileReferences = .read, withClients: Bool = false
  ) throws -> Topology {
    let topology: Topology
    do {
      topology = try Topology.load(
        file: path, environment: ProcessInfo.processInfo.environment, files: files)
    } catch {
      throw CommandFailure.misconfigured(error.description)
    }
    let problems = withClients ? topology.clientProblems(files: files) : []
    guard problems.isEmpty else {
      throw CommandFailure.misconfigured(problems.map { "\(path): kafka: \($0)" }.joined(separator: "\n"))
    }
    return topology
  }
}

extension TailSamplingTopology {
  /// Reads the file, which must be of kind `tail-sampling`; the shipped defaults if no file is named.
  static func loaded(from path: String?) throws -> TailSamplingTopology {
    guard let path else { return try .defaults }
    guard case .tailSampling(let topology) = try Topology.loaded(from: path) else {
      throw CommandFailure.misconfigured("\(path): this command needs a topology of kind tail-sampling")
    }
    return topology
  }

  /// The topology of a file that consists of `kind: tail-sampling`.
  static var defaults: TailSamplingTopology {
    get throws {
      guard
        case .tailSampling(let topology) = try Topology.parse(
          "kind: tail-sampling\n", fileName: "defaults", environment: [:])
      else { throw CommandFailure.failed("the default topology is of another kind") }
      return topology
    }
  }
}

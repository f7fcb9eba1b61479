// The built program, run as a user runs it: arguments in; exit code, output and files out.

import Foundation
import Testing

/// The result of a run of `tailrace`.
struct CommandRun {
  var exitCode: Int32
  var output: String
  var errors: String

  /// Runs `tailrace` to its end.
  ///
  /// - Parameter environment: variables in addition to those of the tests.
  init(_ arguments: [String], environment: [String: String] = [:]) throws {
    try self.init(CommandRun.executable(), arguments, environment)
  }

  /// Runs a shell script in which `$TAILRACE` is the program.
  init(shell script: String) throws {
    let program = try CommandRun.executable().path
    try self.init(URL(filePath: "/bin/sh"), ["-c", script], ["TAILRACE": program])
  }

  private init(_ program: URL, _ arguments: [String], _ environment: [String: String]) throws {
    let process = Process()
    process.executableURL = program
    process.arguments = arguments
    process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
    // Files, not pipes: reading one can't block while the other fills up.
    let directory = try WorkingDirectory()
    let (output, errors) = (try directory.create("output"), try directory.create("errors"))
    process.standardInput = FileHandle.nullDevice
    process.standardOutput = output
    process.standardError = errors
    try process.run()
    process.waitUntilExit()
    exitCode = process.terminationReason == .exit ? process.terminationStatus : -process.terminationStatus
    self.output = try directory.text("output")
    self.errors = try directory.text("errors")
  }

  init(_ arguments: String...) throws {
    try self.init(arguments)
  }

  /// The output as a JSON object.
  func json() throws -> [String: Any] {
    try #require(try JSONSerialization.jsonObject(with: Data(output.utf8)) as? [String: Any], "\(output)")
  }

  /// The program is next to the test bundle, which is this process or one of its arguments.
  static func executable() throws -> URL {
    let process = URL(filePath: "/proc/self/exe").resolvingSymlinksInPath()
    let bundles = ProcessInfo.processInfo.arguments.filter { $0.contains(".xctest") }.map {
      URL(filePath: $0)
    }
    for start in bundles + [process] {
      var directory = start.deletingLastPathComponent()
      // A bundle may be a directory with the test binary inside.
      for _ in 0..<4 {
        let candidate = directory.appending(path: "tailrace")
        let attributes = try? FileManager.default.attributesOfItem(atPath: candidate.path)
        if attributes?[.type] as? FileAttributeType == .typeRegular { return candidate }
        directory.deleteLastPathComponent()
      }
    }
    throw MissingExecutable()
  }
}

struct MissingExecutable: Error {}

/// A directory that is deleted after the test.
final class WorkingDirectory {
  private let url = FileManager.default.temporaryDirectory.appending(path: "tailrace-\(UUID().uuidString)")

  init() throws {
    try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
  }

  deinit {
    try? FileManager.default.removeItem(at: url)
  }

  func path(_ name: String) -> String { url.appending(path: name).path }

  func data(_ name: String) throws -> Data { try Data(contentsOf: URL(filePath: path(name))) }

  func text(_ name: String) throws -> String { String(decoding: try data(name), as: UTF8.self) }

  func write(_ data: Data, to name: String) throws -> String {
    try data.write(to: URL(filePath: path(name)))
    return path(name)
  }

  func write(_ text: String, to name: String) throws -> String { try write(Data(text.utf8), to: name) }

  func create(_ name: String) throws -> FileHandle {
    try Data().write(to: URL(filePath: path(name)))
    return try FileHandle(forWritingTo: URL(filePath: path(name)))
  }
}

/// The path of a topology file that the project ships.
func shippedTopology(_ name: String) -> String { repositoryFile("Topologies/\(name).yaml").path }

/// A file of the repository.
func repositoryFile(_ path: String) -> URL {
  URL(fileURLWithPath: #filePath)
    .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
    .appending(path: path)
}

// A file that can't be read or written: which one, and why.

internal import Foundation

/// Why a file can't be read or written.
public struct FileFailure: Error, Equatable, Sendable, CustomStringConvertible {
  /// The file, as it was named.
  public let name: String
  /// The reason, in the system's words.
  public let reason: String
  /// Whether it is a pipe that nobody reads any more.
  public let isClosedPipe: Bool

  /// Makes a failure from its parts.
  public init(_ name: String, _ reason: String) {
    self.name = name
    self.reason = reason
    isClosedPipe = false
  }

  /// The system call that failed last has set `code`.
  init(_ name: String, code: CInt) {
    self.name = name
    // Sound: the call returns a terminated string, which is copied at once.
    reason = unsafe String(cString: strerror(code))
    isClosedPipe = code == EPIPE
  }

  /// `file: reason`, one line.
  public var description: String { "\(MessageText.oneLine(name)): \(reason)" }
}

/// Files that a process has open already, by the names that a command line has for them.
enum OpenFile {
  /// The descriptor that `path` stands for: `-`, `/dev/stdout`, `/dev/fd/3` and the like. Nil for other
  /// paths.
  static func descriptor(_ path: String, isInput: Bool) -> CInt? {
    switch path {
    case "-": return isInput ? STDIN_FILENO : STDOUT_FILENO
    case "/dev/stdin": return STDIN_FILENO
    case "/dev/stdout": return STDOUT_FILENO
    case "/dev/stderr": return STDERR_FILENO
    default:
      for folder in ["/dev/fd/", "/proc/self/fd/"] where path.hasPrefix(folder) {
        return CInt(path.dropFirst(folder.count))
      }
      return nil
    }
  }

  /// What messages call it.
  static func name(_ path: String, isInput: Bool) -> String {
    path == "-" ? (isInput ? "standard input" : "standard output") : path
  }
}

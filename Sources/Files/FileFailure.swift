// A file that can't be read or written: which one, and why.

internal import Foundation

/// Why a file can't be read or written.
public struct FileFailure: Error, Equatable, Sendable, CustomStringConvertible {
  /// The file, as it was named.
  public let name: String
  /// The reason, as the system words it.
  public let reason: String
  /// Whether it is a pipe that no longer has a reader.
  public let isClosedPipe: Bool

  /// Makes a failure from its parts.
  public init(_ name: String, _ reason: String) {
    self.name = name
    self.reason = reason
    isClosedPipe = false
  }

  /// Makes a failure from the `errno` of a system call.
  init(_ name: String, code: CInt) {
    self.name = name
    // Sound: the call returns a terminated string, which is copied at once.
    reason = unsafe String(cString: strerror(code))
    isClosedPipe = code == EPIPE
  }

  /// `file: reason`, one line.
  public var description: String { "\(MessageText.oneLine(name)): \(reason)" }
}

/// Files that the process already has open, by their names on a command line.
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

  /// Its name in messages.
  static func name(_ path: String, isInput: Bool) -> String {
    path == "-" ? (isInput ? "standard input" : "standard output") : path
  }
}

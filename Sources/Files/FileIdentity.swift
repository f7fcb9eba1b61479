// Identifies the file at a path, so that a command does not overwrite its own input or output.

internal import Foundation

/// The file that a path leads to, also through links or `/dev/stdout`.
public struct FileIdentity: Hashable, Sendable {
  private var device: UInt64
  private var number: UInt64
  /// For a file that does not exist yet: its name in the folder that `device` and `number` identify.
  private var name: String?
  private var kind: UInt32

  /// The file read at `path`. Nil if it does not exist.
  public init?(input path: String) {
    var status = stat()
    guard FileIdentity.look(at: path, isInput: true, &status) else { return nil }
    self.init(status)
  }

  /// The file written at `path`. Nil if it can't be written, or is the null device.
  public init?(output path: String) {
    var status = stat()
    if FileIdentity.look(at: path, isInput: false, &status) {
      guard status.st_mode & S_IFMT != S_IFCHR || status.st_rdev != FileIdentity.nullDevice else {
        return nil
      }
      self.init(status)
      return
    }
    // Resolves dangling links, and folders reached through links.
    let target = URL(filePath: path).resolvingSymlinksInPath().path(percentEncoded: false)
    guard FileIdentity.look(at: OutputFile.folder(of: target), isInput: false, &status) else { return nil }
    self.init(status)
    name = URL(filePath: target).lastPathComponent
  }

  private init(_ status: stat) {
    device = UInt64(status.st_dev)
    number = UInt64(status.st_ino)
    kind = UInt32(status.st_mode & S_IFMT)
  }

  /// Whether bytes written to it can be read back from it. Terminals and sockets have two directions, so
  /// theirs can't.
  public var isOneWay: Bool { kind != S_IFCHR && kind != S_IFSOCK }

  private static let nullDevice: dev_t = 0x103

  private static func look(at path: String, isInput: Bool, _ status: inout stat) -> Bool {
    if let descriptor = OpenFile.descriptor(path, isInput: isInput) {
      // Sound: the call writes only to `status`.
      return unsafe fstat(descriptor, &status) == 0
    }
    // Sound: the call writes only to `status`.
    return unsafe stat(path, &status) == 0
  }
}

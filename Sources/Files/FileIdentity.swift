// Which file a path leads to, so that a command does not write over what it reads, or over itself.

internal import Foundation

/// The file that a path leads to, whatever it is called: through links, or through `/dev/stdout`.
public struct FileIdentity: Hashable, Sendable {
  private var device: UInt64
  private var number: UInt64
  /// Of a file that is not there yet: its name in the folder that `device` and `number` stand for.
  private var name: String?
  private var kind: UInt32

  /// What is read at `path`. Nil if it is not there.
  public init?(input path: String) {
    var status = stat()
    guard FileIdentity.look(at: path, isInput: true, &status) else { return nil }
    self.init(status)
  }

  /// What is written at `path`. Nil if it can't be written there, or if it is the null device.
  public init?(output path: String) {
    var status = stat()
    if FileIdentity.look(at: path, isInput: false, &status) {
      guard status.st_mode & S_IFMT != S_IFCHR || status.st_rdev != FileIdentity.nullDevice else {
        return nil
      }
      self.init(status)
      return
    }
    // What a link leads to that leads nowhere, and a folder that is reached through links.
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

  /// Whether what is written there may come out again where it is read: not of a terminal or a socket, which
  /// have two directions.
  public var isOneWay: Bool { kind != S_IFCHR && kind != S_IFSOCK }

  private static let nullDevice: dev_t = 0x103

  private static func look(at path: String, isInput: Bool, _ status: inout stat) -> Bool {
    if let descriptor = OpenFile.descriptor(path, isInput: isInput) {
      // Sound: the call writes to `status` alone.
      return unsafe fstat(descriptor, &status) == 0
    }
    // Sound: the call writes to `status` alone.
    return unsafe stat(path, &status) == 0
  }
}

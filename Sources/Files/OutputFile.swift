// A file that appears whole or not at all: written next to its target, and moved there when complete.

internal import Foundation

/// A file being written.
///
/// A regular file is written without a name, or under a temporary one if the file system can't do that, and
/// moved to its target when it is complete. So readers never see half of it, and a command that fails leaves
/// the old file in place. Pipes, devices and standard output are written to directly.
///
/// Sound: the system calls take paths as terminated strings, which outlive the calls.
public final class OutputFile {
  /// Its name in messages.
  public let name: String
  private let descriptor: CInt
  private let place: Place
  private var isOpen = true

  /// Where the bytes are until the file is complete.
  private enum Place {
    /// At the target itself.
    case direct
    /// In a file without a name, which will be linked to `target`.
    case unnamed(target: String)
    /// In the file at `path`, which will be renamed to `target`.
    case beside(path: String, target: String)
  }

  /// Opens the file at `path`; `-` is standard output.
  public init(path: String) throws(FileFailure) {
    name = OpenFile.name(path, isInput: false)
    (descriptor, place) = try OutputFile.place(path, name)
  }

  /// Writes a file as a whole.
  public static func write(_ text: String, to path: String) throws(FileFailure) {
    let file = try OutputFile(path: path)
    try file.write(Array(text.utf8))
    try file.finish()
  }

  deinit {
    guard isOpen else { return }
    close(descriptor)
    if case .beside(let path, _) = place { unsafe unlink(path) }
  }

  /// Appends bytes.
  public func write(_ bytes: [UInt8]) throws(FileFailure) {
    var place = 0
    while place < bytes.count {
      let count = unsafe bytes.withUnsafeBytes { buffer in
        // Sound: reads from `place` to the end of the buffer, which outlives the call.
        unsafe writeSome(descriptor, buffer.baseAddress.map { unsafe $0 + place }, buffer.count - place)
      }
      guard count > 0 else {
        if errno == EINTR { continue }
        // A non-blocking descriptor: another program may have made a terminal so.
        if errno == EAGAIN, waitUntilWritable() { continue }
        throw FileFailure(name, code: errno)
      }
      place += count
    }
  }

  /// Closes the file and moves it to its target.
  public func finish() throws(FileFailure) {
    if case .direct = place {} else if fsync(descriptor) != 0 { throw FileFailure(name, code: errno) }
    switch place {
    case .direct: break
    case .unnamed(let target):
      let path = OutputFile.temporaryPath(beside: target)
      guard unsafe linkat(AT_FDCWD, "/proc/self/fd/\(descriptor)", AT_FDCWD, path, AT_SYMLINK_FOLLOW) == 0
      else {
        throw FileFailure(name, code: errno)
      }
      try moveToItsPlace(path, target)
    case .beside(let path, let target): try moveToItsPlace(path, target)
    }
    isOpen = false
    guard close(descriptor) == 0 || errno == EINTR else { throw FileFailure(name, code: errno) }
  }

  private func moveToItsPlace(_ path: String, _ target: String) throws(FileFailure) {
    guard unsafe rename(path, target) == 0 else {
      let failure = FileFailure(name, code: errno)
      unsafe unlink(path)
      throw failure
    }
  }

  private func waitUntilWritable() -> Bool {
    var wanted = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
    // Sound: one structure, as the count says.
    return unsafe poll(&wanted, 1, -1) >= 0 || errno == EINTR
  }

  // MARK: Opening

  private static func place(_ path: String, _ name: String) throws(FileFailure) -> (CInt, Place) {
    if let shared = OpenFile.descriptor(path, isInput: false) {
      return (try checked(fcntl(shared, F_DUPFD_CLOEXEC, 0), name), .direct)
    }
    var status = stat()
    // Sound: the call writes only to `status`.
    guard unsafe stat(path, &status) == 0 else {
      guard errno == ENOENT else { throw FileFailure(name, code: errno) }
      // A dangling link: its target is created.
      // Sound: as above.
      if unsafe lstat(path, &status) == 0 { return (try openDirectly(path, name), .direct) }
      return try openBeside(path, nil, name)
    }
    switch status.st_mode & S_IFMT {
    case S_IFDIR: throw FileFailure(name, code: EISDIR)
    case S_IFREG where !path.hasPrefix("/dev/") && !path.hasPrefix("/proc/"):
      guard unsafe access(path, W_OK) == 0 else { throw FileFailure(name, code: errno) }
      // The target of a symbolic link is replaced, not the link.
      let target = URL(filePath: path).resolvingSymlinksInPath().path(percentEncoded: false)
      // A mounted file can't be replaced, nor one in a read-only folder.
      let folder = folder(of: target)
      var around = stat()
      // Sound: as above.
      guard unsafe stat(folder, &around) == 0, around.st_dev == status.st_dev,
        unsafe access(folder, W_OK) == 0
      else { return (try openDirectly(path, name), .direct) }
      return try openBeside(target, status, name)
    default: return (try openDirectly(path, name), .direct)
    }
  }

  private static func openDirectly(_ path: String, _ name: String) throws(FileFailure) -> CInt {
    try checked(unsafe open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o666), name)
  }

  /// Opens a new file in the folder of `target`, with the owner and permissions of the existing file.
  private static func openBeside(
    _ target: String, _ before: stat?, _ name: String
  ) throws(FileFailure) -> (CInt, Place) {
    guard !target.hasSuffix("/"), !target.isEmpty else {
      throw FileFailure(name, code: target.isEmpty ? ENOENT : EISDIR)
    }
    var descriptor = unsafe open(folder(of: target), O_WRONLY | unnamed | O_CLOEXEC, 0o666)
    var place = Place.unnamed(target: target)
    if descriptor >= 0, unsafe access("/proc/self/fd/\(descriptor)", F_OK) != 0 {
      close(descriptor)
      descriptor = -1
    }
    if descriptor < 0 {
      let path = temporaryPath(beside: target)
      place = .beside(path: path, target: target)
      descriptor = unsafe open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o666)
    }
    _ = try checked(descriptor, name)
    if let before {
      // Without the right to change the owner, it stays.
      _ = fchown(descriptor, before.st_uid, before.st_gid)
      _ = fchmod(descriptor, before.st_mode & 0o7777)
    }
    return (descriptor, place)
  }

  /// Linux's O_TMPFILE: a file in a folder, without a name. It disappears if the process dies.
  private static let unnamed: CInt = 0o20_000_000 | O_DIRECTORY

  static func folder(of path: String) -> String {
    guard let slash = path.lastIndex(of: "/") else { return "." }
    return slash == path.startIndex ? "/" : String(path[..<slash])
  }

  private static func temporaryPath(beside target: String) -> String {
    let number = String(UInt64.random(in: 0 ... .max), radix: 36)
    return "\(folder(of: target))/.tailrace-\(number).partial"
  }

  private static func checked(_ descriptor: CInt, _ name: String) throws(FileFailure) -> CInt {
    guard descriptor >= 0 else { throw FileFailure(name, code: errno) }
    return descriptor
  }
}

/// `write`, which the method of that name hides.
private func writeSome(_ descriptor: CInt, _ source: UnsafeRawPointer?, _ count: Int) -> Int {
  // Sound: the caller passes the size of the memory at `source`.
  unsafe write(descriptor, source, count)
}

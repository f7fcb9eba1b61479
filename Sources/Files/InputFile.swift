// A file, a pipe or standard input, read from its start to its end.

internal import Foundation

/// A file that is read from its start to its end. It is closed when it is deinitialized.
public final class InputFile {
  /// Its name in messages.
  public let name: String
  /// Its size in bytes; nil if that is unknown before the end, as for a pipe.
  public let byteCount: Int?
  private let descriptor: CInt
  private let isShared: Bool

  /// Opens the file at `path`; `-` is standard input.
  public init(path: String) throws(FileFailure) {
    name = OpenFile.name(path, isInput: true)
    if let shared = OpenFile.descriptor(path, isInput: true) {
      descriptor = shared
      isShared = true
    } else {
      // Sound: the path is a terminated string that outlives the call.
      descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
      isShared = false
      guard descriptor >= 0 else { throw FileFailure(name, code: errno) }
    }
    var status = stat()
    // Sound: the call writes only to `status`.
    let isKnown = unsafe fstat(descriptor, &status) == 0
    byteCount = isKnown && status.st_mode & S_IFMT == S_IFREG ? Int(status.st_size) : nil
  }

  /// Whether `path` can be read only once: standard input, a pipe.
  package static func isReadOnce(_ path: String) -> Bool {
    if OpenFile.descriptor(path, isInput: true) != nil { return true }
    var status = stat()
    // Sound: the call writes only to `status`.
    guard unsafe stat(path, &status) == 0 else { return false }
    return [S_IFIFO, S_IFCHR, S_IFSOCK].contains(status.st_mode & S_IFMT)
  }

  deinit {
    if !isShared, descriptor >= 0 { close(descriptor) }
  }

  /// The next bytes, at most `count`; none at the end.
  public func read(upTo count: Int) throws(FileFailure) -> [UInt8] {
    var code: CInt = 0
    let bytes = unsafe [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
      var got = 0
      // Sound: at most as many bytes are written as the buffer holds, and `filled` is how many were.
      repeat { got = unsafe readSome(descriptor, buffer.baseAddress, count) } while got < 0 && errno == EINTR
      code = got < 0 ? errno : 0
      filled = max(0, got)
    }
    guard code == 0 else { throw FileFailure(name, code: code) }
    return bytes
  }

  /// All remaining bytes, but no more than `limit`.
  package func readAll(upTo limit: Int) throws(FileFailure) -> [UInt8] {
    var bytes: [UInt8] = []
    while bytes.count < limit {
      let more = try read(upTo: limit - bytes.count)
      guard !more.isEmpty else { break }
      bytes += more
    }
    return bytes
  }
}

/// `read`, which the method of that name hides.
private func readSome(_ descriptor: CInt, _ target: UnsafeMutableRawPointer?, _ count: Int) -> Int {
  // Sound: the caller passes the size of the memory at `target`.
  unsafe read(descriptor, target, count)
}

// A raw connection, for misbehaving clients.

import Glibc
import Testing

/// A TCP connection to this host. Closed with the value.
final class RawConnection {
  private let descriptor: Int32

  /// - Parameter host: the last part of the address to come from, 127.0.0.1 for 1.
  init(port: Int, from host: UInt32 = 1) throws {
    descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    try #require(descriptor >= 0, "socket: \(errno)")
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = in_port_t(port).bigEndian
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    if host != 1 {
      var source = address
      source.sin_port = 0
      source.sin_addr.s_addr = UInt32(0x7f00_0000 + host).bigEndian
      let bound = unsafe RawConnection.with(source) { unsafe bind(descriptor, $0, $1) }
      try #require(bound == 0, "bind: \(errno)")
    }
    let connected = unsafe RawConnection.with(address) { unsafe connect(descriptor, $0, $1) }
    try #require(connected == 0, "connect: \(errno)")
  }

  private static func with(
    _ address: sockaddr_in, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32
  ) -> Int32 {
    // Sound: the address is a constant of this function, of the given size.
    unsafe withUnsafePointer(to: address) { pointer in
      unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        unsafe body($0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
  }

  deinit {
    close(descriptor)
  }

  /// Sends as much as the kernel takes at once; returns how much, or nil if the peer is gone.
  @discardableResult
  func send(_ text: String) -> Int? {
    let bytes = Array(text.utf8)
    // Sound: the bytes are only read during the call.
    let count = unsafe Glibc.send(
      descriptor, bytes, bytes.count, Int32(MSG_DONTWAIT) | Int32(MSG_NOSIGNAL))
    return count >= 0 ? count : errno == EAGAIN ? 0 : nil
  }

  /// Ends this side's output.
  func endOutput() {
    shutdown(descriptor, Int32(SHUT_WR))
  }

  /// Waits for up to `count` bytes; empty at the end of the peer's output, nil if the connection was reset or
  /// nothing arrived within `seconds`.
  func receive(_ count: Int = 65_536, seconds: Int = 10) -> String? {
    var timeout = timeval(tv_sec: seconds, tv_usec: 0)
    // Sound: the value is a variable of this function, of the given size.
    unsafe setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &timeout, socklen_t(MemoryLayout<timeval>.size))
    var bytes = [UInt8](repeating: 0, count: count)
    // Sound: the array has the given number of bytes.
    let received = unsafe recv(descriptor, &bytes, bytes.count, 0)
    return received < 0 ? nil : String(decoding: bytes[..<received], as: UTF8.self)
  }

  /// Everything until the peer ends its output; nil if it does not.
  func receiveAll() -> String? {
    var text = ""
    while let more = receive() {
      if more.isEmpty { return text }
      text += more
    }
    return nil
  }
}

/// A probe's result: the first line of the answer, and the time it took.
func probe(_ port: Int, _ path: String = "/livez") throws -> (status: String, seconds: Double) {
  let start = ContinuousClock.now
  let connection = try RawConnection(port: port)
  connection.send("GET \(path) HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
  let answer = connection.receiveAll() ?? "no answer"
  return (String(answer.prefix { $0 != "\r" && $0 != "\r\n" }), (ContinuousClock.now - start) / .seconds(1))
}

// Where and how the console answers.

import Foundation
import NIOCore
import NIOPosix
import Pipeline
import Synchronization
import Testing
import Topology

@testable import Console

@Suite struct ConsoleServerTests {
  /// Kubernetes probes over IPv6 where the cluster has it.
  @Test(arguments: ["127.0.0.1", "::1"])
  func everyAddressServesBothFamilies(_ host: String) throws {
    let console = try Console(ConsoleSettings(address: "::", port: 0)) { ConsoleResponse(body: $0) }
    defer { console.stop() }
    let port = try #require(Int(console.place.split(separator: ":").last ?? ""))
    #expect(console.place == "[::]:\(port)")
    let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    defer { try? group.syncShutdownGracefully() }
    let channel = try ClientBootstrap(group: group).connect(host: host, port: port).wait()
    try channel.close().wait()
  }

  @Test func aSingleFamilyCanBeServed() throws {
    let console = try Console(ConsoleSettings(address: "0.0.0.0", port: 0)) { _ in nil }
    defer { console.stop() }
    #expect(console.place.hasPrefix("0.0.0.0:"))
  }

  // MARK: Requests

  /// How often each page was made.
  private final class PageCount: Sendable {
    private let counts = Mutex<[String: Int]>([:])

    func count(_ path: String) { counts.withLock { $0[path, default: 0] += 1 } }

    subscript(path: String) -> Int { counts.withLock { $0[path] ?? 0 } }
  }

  private func serve(
    _ limits: ConsoleLimits = ConsoleLimits(), _ counters: ConsoleCounters = ConsoleCounters(),
    _ pages: PageCount = PageCount()
  ) throws -> (console: Console, port: Int) {
    let settings = ConsoleSettings(address: "127.0.0.1", port: 0)
    let console = try Console(settings, limits: limits, counters: counters) { path in
      pages.count(path)
      return path == "/large"
        ? ConsoleResponse(body: String(repeating: "x", count: 8 << 20))
        : ConsoleResponse(body: "at \(path)\n")
    }
    return (console, try #require(Int(console.place.split(separator: ":").last ?? "")))
  }

  @Test func pipelinedRequestsAreAnsweredInTurn() throws {
    let (console, port) = try serve()
    defer { console.stop() }
    let connection = try RawConnection(port: port)
    let paths = (0..<200).map { "/\($0)" }
    connection.send(paths.map { "GET \($0) HTTP/1.1\r\n\r\n" }.joined() + "GET / HTTP/1.0\r\n\r\n")
    let answer = try #require(connection.receiveAll())
    #expect(answer.matches(of: #/at (.*)/#).map { String($0.1) } == paths + ["/"])
  }

  @Test func aConnectionServesRequestAfterRequest() throws {
    let (console, port) = try serve()
    defer { console.stop() }
    let connection = try RawConnection(port: port)
    for path in ["/livez", "/b", "/c"] {
      connection.send("GET \(path) HTTP/1.1\r\n\r\n")
      #expect(connection.receive()?.contains("at \(path)") == true)
    }
    connection.send("HEAD /d HTTP/1.1\r\nConnection: close\r\n\r\n")
    let answer = connection.receiveAll()
    #expect(answer?.contains("Content-Length: 6\r\n") == true && answer?.hasSuffix("\r\n\r\n") == true)
  }

  @Test(arguments: [
    ("POST /a HTTP/1.1\r\n\r\n", "405 Method Not Allowed"), ("no request\r\n\r\n", "400 Bad Request"),
    ("GET / HTTP/1.1\r\nContent-Length: 9\r\n\r\n", "413 Content Too Large"),
    ("GET / HTTP/3.0\r\n\r\n", "505 HTTP Version Not Supported"),
    ("GET /" + String(repeating: "x", count: 100_000), "414 URI Too Long"),
    ("GET / HTTP/1.1\r\nA: " + String(repeating: "x", count: 100_000), "431 Request Header Fields Too Large"),
  ])
  func unacceptableRequestsGetTheirStatus(_ request: String, _ status: String) throws {
    let (console, port) = try serve()
    defer { console.stop() }
    let connection = try RawConnection(port: port)
    connection.send(request)
    // Even if more arrives than is read.
    #expect(connection.receive()?.hasPrefix("HTTP/1.1 \(status)\r\n") == true)
  }

  // MARK: Limits

  @Test func requestsHaveADeadline() throws {
    var limits = ConsoleLimits()
    limits.headTime = .milliseconds(100)
    let counters = ConsoleCounters()
    let (console, port) = try serve(limits, counters)
    defer { console.stop() }
    for start in ["", "GET /", "\r\n"] {
      let connection = try RawConnection(port: port)
      connection.send(start)
      #expect(connection.receive() == "", "it is closed")
    }
    let second = try RawConnection(port: port)
    second.send("GET / HTTP/1.1\r\n\r\n")
    #expect(second.receive()?.isEmpty == false)
    second.send("GET /")
    #expect(second.receive() == "", "the second request has one, too")
    #expect(counters.byReason["slow_request"] == 4)
  }

  @Test func idleConnectionsAreClosed() throws {
    var limits = ConsoleLimits()
    limits.idleTime = .milliseconds(100)
    let (console, port) = try serve(limits)
    defer { console.stop() }
    let connection = try RawConnection(port: port)
    connection.send("GET / HTTP/1.1\r\n\r\n")
    #expect(connection.receive()?.isEmpty == false)
    #expect(connection.receive() == "")
  }

  @Test func answersHaveADeadline() throws {
    var limits = ConsoleLimits()
    limits.answerTime = .milliseconds(100)
    let counters = ConsoleCounters()
    let (console, port) = try serve(limits, counters)
    defer { console.stop() }
    let connection = try RawConnection(port: port)
    connection.send("GET /large HTTP/1.1\r\n\r\n")
    try wait { counters.byReason["slow_reader"] == 1 }
  }

  @Test func unreadAnswersGiveWay() throws {
    var limits = ConsoleLimits()
    limits.unsentBytes = 20 << 20
    let counters = ConsoleCounters()
    let (console, port) = try serve(limits, counters)
    defer { console.stop() }
    var readers: [RawConnection] = []
    for count in 0..<5 {
      readers.append(try RawConnection(port: port))
      readers[count].send("GET /large HTTP/1.1\r\n\r\n")
      // Two answers fit.
      try wait { counters.byReason["slow_reader"] == UInt64(max(0, count - 1)) }
      #expect(readers[count].receive(100)?.hasPrefix("HTTP/1.1 200 OK") == true)
    }
  }

  /// While an answer is unread, the connection's next requests wait, however many arrive.
  @Test func unreadAnswersHoldUpTheNext() throws {
    let pages = PageCount()
    let (console, port) = try serve(ConsoleLimits(), ConsoleCounters(), pages)
    defer { console.stop() }
    let reader = try RawConnection(port: port)
    reader.send(String(repeating: "GET /large HTTP/1.1\r\n\r\n", count: 20))
    // Pages are made one after the other: these would come after the reader's.
    for _ in 0..<20 { #expect(try probe(port, "/other").status == "HTTP/1.1 200 OK") }
    #expect(pages["/large"] == 1)
  }

  @Test func theOldestGivesWayToTheNext() throws {
    var limits = ConsoleLimits()
    limits.connections = 3
    let counters = ConsoleCounters()
    let (console, port) = try serve(limits, counters)
    defer { console.stop() }
    let silent = try (0..<5).map { _ in try RawConnection(port: port) }
    try wait { counters.byReason["displaced"] == 2 }
    #expect(silent[0].receive() == "" && silent[1].receive() == "")
    #expect(try probe(port, "/").status == "HTTP/1.1 200 OK")
    #expect(silent[2].receive() == "")
    silent[4].send("GET / HTTP/1.1\r\n\r\n")
    #expect(silent[4].receive()?.hasPrefix("HTTP/1.1 200 OK") == true)
  }

  /// However many come, who has had an answer stays, and who comes from another address is not the one that
  /// gives way.
  @Test func newcomersDisplaceEachOther() throws {
    var limits = ConsoleLimits()
    limits.connections = 12
    let counters = ConsoleCounters()
    let (console, port) = try serve(limits, counters)
    defer { console.stop() }
    let known = try (0..<9).map { _ in try RawConnection(port: port) }
    for each in known {
      each.send("GET / HTTP/1.1\r\n\r\n")
      #expect(each.receive()?.hasPrefix("HTTP/1.1 200 OK") == true)
    }
    let other = try RawConnection(port: port, from: 2)
    let silent = try (0..<30).map { _ in try RawConnection(port: port) }
    try wait { counters.byReason["displaced"] == 28 }
    for each in known + [other] {
      each.send("GET / HTTP/1.1\r\n\r\n")
      #expect(each.receive()?.hasPrefix("HTTP/1.1 200 OK") == true)
    }
    #expect(silent[0].receive() == "")
    // Those who have had an answer give way once there are hardly any others: two more are silent.
    var more: [RawConnection] = []
    for number in 0..<4 {
      more.append(try RawConnection(port: port))
      more[number].send("GET / HTTP/1.1\r\n\r\n")
      #expect(more[number].receive()?.hasPrefix("HTTP/1.1 200 OK") == true)
    }
    #expect(known[0].receive() == "" && known[1].receive() == "")
  }

  @Test func aNetworkOfIPv6IsOneSource() throws {
    func source(_ address: String) throws -> PeerSource {
      PeerSource(try SocketAddress(ipAddress: address, port: 1))
    }
    #expect(try source("2001:db8:1:2::1") == source("2001:db8:1:2:ffff::9"))
    #expect(try source("2001:db8:1:2::1") != source("2001:db8:1:3::1"))
    #expect(try source("::ffff:192.0.2.1") == source("192.0.2.1"))
    #expect(try source("::ffff:192.0.2.1") != source("::ffff:192.0.2.2"))
    #expect(try source("192.0.2.1") != PeerSource(nil))
    #expect(try source("2001:db8::1") == source("2001:db8:0:0:5::"))
    #expect(try source("1:2:3:4:5:6:7:8") == source("1:2:3:4::"))
    #expect(try source("::1") == source("::2") && source("::1") != source("1::"))
  }

  /// Pages that wait to be made are bounded, and so are the requests for one of them: who comes then is told
  /// to come again, and who waits gets the page all the same.
  @Test(arguments: [true, false]) func waitingRequestsAreBounded(_ areDifferent: Bool) throws {
    var limits = ConsoleLimits()
    limits.connections = 400
    let isHeld = Mutex(true)
    let begun = Mutex(0)
    let console = try Console(ConsoleSettings(address: "127.0.0.1", port: 0), limits: limits) { path in
      guard path == "/slow" else { return ConsoleResponse(body: "ok\n") }
      begun.withLock { $0 += 1 }
      while isHeld.withLock({ $0 }) { usleep(1000) }
      return ConsoleResponse(body: "made\n")
    }
    defer { console.stop() }
    let port = try #require(Int(console.place.split(separator: ":").last ?? ""))
    defer { isHeld.withLock { $0 = false } }
    func ask(_ query: String) throws -> RawConnection {
      let connection = try RawConnection(port: port)
      connection.send("GET /slow?\(query) HTTP/1.1\r\n\r\n")
      return connection
    }
    let first = try ask("first")
    try wait { begun.withLock { $0 } == 1 }
    let waiting = try (0..<256).map { try ask(areDifferent ? "\($0)" : "same") }
    // A request is read only after all that came before it: one at a time tells that these are waiting.
    for number in 0..<3 {
      let refused = try ask(areDifferent ? "more\(number)" : "same")
      #expect(refused.receive()?.hasPrefix("HTTP/1.1 503 ") == true)
    }
    #expect(try probe(port).status == "HTTP/1.1 200 OK")
    isHeld.withLock { $0 = false }
    for connection in [first] + waiting {
      #expect(connection.receive()?.hasPrefix("HTTP/1.1 200 ") == true)
    }
    #expect(begun.withLock { $0 } == (areDifferent ? 257 : 2))
  }

  private func wait(until isTrue: () -> Bool) throws {
    let deadline = ContinuousClock.now + .seconds(20)
    while !isTrue() {
      try #require(ContinuousClock.now < deadline)
      usleep(5_000)
    }
  }
}

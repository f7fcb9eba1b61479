// Misbehaving connections keep no probe from its answer, and take little memory.

import Foundation
import Pipeline
import Testing
import Topology

@testable import Console

@Suite(.serialized) struct AttackTests {
  /// A page as large as that of a worker with many partitions and services.
  private static let metrics = String(repeating: "tailrace_x{service=\"checkout\"} 1\n", count: 30_000)

  private func console() throws -> (console: Console, port: Int) {
    let console = try Console(ConsoleSettings(address: "127.0.0.1", port: 0)) { path in
      switch path {
      case "/livez": ConsoleResponse(body: "ok\n")
      case "/metrics": ConsoleResponse(body: AttackTests.metrics)
      default: nil
      }
    }
    return (console, try #require(Int(console.place.split(separator: ":").last ?? "")))
  }

  /// Every probe is answered; the machine may be busy, so only the median time is checked.
  private func expectProbes(_ port: Int, _ count: Int = 20, between: () throws -> Void = {}) throws {
    var times: [Double] = []
    for _ in 0..<count {
      try between()
      let (status, seconds) = try probe(port)
      #expect(status == "HTTP/1.1 200 OK")
      times.append(seconds)
    }
    #expect(times.sorted()[count / 2] < 1, "\(times)")
  }

  /// The memory of this process, in MiB.
  private func residentMegabytes() throws -> Int {
    let text = try String(contentsOfFile: "/proc/self/statm", encoding: .utf8)
    let pages = try #require(text.split(separator: " ").dropFirst().first.flatMap { Int($0) })
    return pages * 4096 / 1_048_576
  }

  @Test(arguments: [
    "", "GET /livez HTTP/1.1\r\nHost: x\r\nX-Slow: ", "POST / HTTP/1.1\r\nContent-Length: 99\r\n",
  ])
  func connectionsWithoutRequests(_ start: String) throws {
    let (console, port) = try console()
    defer { console.stop() }
    var attackers: [RawConnection] = []
    try expectProbes(port) {
      for _ in 0..<20 {
        attackers.append(try RawConnection(port: port))
        attackers.last?.send(start)
      }
      for each in attackers { each.send("x") }
    }
  }

  @Test func slowBodies() throws {
    let (console, port) = try console()
    defer { console.stop() }
    let attackers = try (0..<100).map { _ in try RawConnection(port: port) }
    for each in attackers { each.send("POST /livez HTTP/1.1\r\nContent-Length: 1000000000\r\n\r\n") }
    try expectProbes(port) { for each in attackers { each.send("x") } }
    #expect(attackers[99].receive()?.hasPrefix("HTTP/1.1 405 ") == true)
  }

  @Test(arguments: ["/metrics", "/livez", "/nothing"])
  func unreadAnswers(_ path: String) throws {
    let (console, port) = try console()
    defer { console.stop() }
    let before = try residentMegabytes()
    let attackers = try (0..<60).map { _ in try RawConnection(port: port) }
    let requests = String(repeating: "GET \(path) HTTP/1.1\r\nHost: x\r\n\r\n", count: 3_000)
    try expectProbes(port) { for each in attackers { each.send(requests) } }
    #expect(try residentMegabytes() - before < 150)
  }

  @Test func promptlyReadAnswers() throws {
    let (console, port) = try console()
    defer { console.stop() }
    let attackers = try (0..<20).map { _ in try RawConnection(port: port) }
    let requests = String(repeating: "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n", count: 500)
    try expectProbes(port) {
      for each in attackers {
        each.send(requests)
        _ = each.receive(1 << 20)
      }
    }
  }

  @Test(arguments: ["GET /", "GET / HTTP/1.1\r\nX: "])
  func endlessHeads(_ start: String) throws {
    let (console, port) = try console()
    defer { console.stop() }
    let before = try residentMegabytes()
    let attackers = try (0..<100).map { _ in try RawConnection(port: port) }
    let more = String(repeating: "x", count: 1 << 20)
    for each in attackers { each.send(start) }
    try expectProbes(port) { for each in attackers { each.send(more) } }
    #expect(try residentMegabytes() - before < 100)
  }

  @Test func connectionsThatComeAndGo() throws {
    let (console, port) = try console()
    defer { console.stop() }
    try expectProbes(port) { for _ in 0..<300 { _ = try RawConnection(port: port) } }
  }

  @Test func connectionsThatAreHalfClosed() throws {
    let (console, port) = try console()
    defer { console.stop() }
    var attackers: [RawConnection] = []
    try expectProbes(port) {
      for start in ["", "GET /li", "GET /metrics HTTP/1.1\r\n\r\n"] {
        for _ in 0..<10 {
          let attacker = try RawConnection(port: port)
          attacker.send(start)
          attacker.endOutput()
          attackers.append(attacker)
        }
      }
    }
    // A request is still answered, and the connection closed.
    let whole = try RawConnection(port: port)
    whole.send("GET /metrics HTTP/1.1\r\n\r\n")
    whole.endOutput()
    let answer = try #require(whole.receiveAll())
    #expect(answer.utf8.count > AttackTests.metrics.utf8.count)
  }
}

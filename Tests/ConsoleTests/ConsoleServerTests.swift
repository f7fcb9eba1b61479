// Where the console answers.

import Foundation
import NIOCore
import NIOPosix
import Pipeline
import Testing

@testable import Console

@Suite struct ConsoleServerTests {
  /// Kubernetes' probes come over IPv6 where the cluster has it.
  @Test(arguments: ["127.0.0.1", "::1"])
  func everyAddressIsThatOfBothFamilies(_ host: String) throws {
    let console = try Console(ConsoleSettings(address: "::", port: 0)) { ConsoleResponse(body: $0) }
    defer { console.stop() }
    let port = try #require(Int(console.place.split(separator: ":").last ?? ""))
    #expect(console.place == "[::]:\(port)")
    let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    defer { try? group.syncShutdownGracefully() }
    let channel = try ClientBootstrap(group: group).connect(host: host, port: port).wait()
    try channel.close().wait()
  }

  @Test func oneFamilyIsServedWhereItIsAsked() throws {
    let console = try Console(ConsoleSettings(address: "0.0.0.0", port: 0)) { _ in nil }
    defer { console.stop() }
    #expect(console.place.hasPrefix("0.0.0.0:"))
  }
}

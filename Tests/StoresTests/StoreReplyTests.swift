// What answers mean, and what is told of them.

import Foundation
import OTLP
import Pipeline
import Testing

@testable import Stores

@Suite struct StoreReplyTests {
  @Test(arguments: [408, 429, 502, 503, 504])
  func passingFaultsAreRetried(status: Int) {
    #expect(StoreReply(status: status).verdict == .retry)
  }

  @Test(arguments: [301, 302, 401, 403, 404, 405, 407, 411, 414, 415, 417, 431, 501, 505, 511])
  func faultsOfTheSenderLoseNothing(status: Int) {
    #expect(StoreReply(status: status).verdict == .misconfigured)
  }

  @Test(arguments: [400, 409, 413, 422])
  func faultsOfTheRequestAreFinal(status: Int) {
    #expect(StoreReply(status: status).verdict == .final(.refused(status: "\(status)", message: "")))
  }

  @Test(arguments: [500, 506, 599, 999])
  func otherFaultsOfTheStoreAreDoubtful(status: Int) {
    #expect(StoreReply(status: status).verdict == .doubtful(.refused(status: "\(status)", message: "")))
  }

  @Test func aPageIsNoReceiversAnswer() {
    #expect(StoreReply(status: 200, isPage: true).verdict == .misconfigured)
  }

  @Test func partialSuccessIsRead() {
    var writer = WireWriter()
    writer.message(1) { partial in
      partial.varintField(1, 17)
      partial.stringField(2, "too old")
    }
    let reply = StoreReply(status: 200, isProtobuf: true, body: writer.bytes)
    #expect(reply.verdict == .final(.taken(rejectedSpans: 17, message: "too old")))
  }

  /// Whatever a store sends with it, a 200 is a 200.
  @Test(
    arguments: [[], [0x0a], [0x0a, 0xff], [0xff, 0xff, 0xff], Array("{}".utf8), [0x0a, 2, 8, 0x80]]
      as [[UInt8]])
  func damagedBodiesOfSuccessAreSuccess(body: [UInt8]) {
    #expect(
      StoreReply(status: 200, isProtobuf: true, body: body).verdict
        == .final(.taken(rejectedSpans: 0, message: "")))
  }

  @Test func negativeCountsAreNone() {
    var writer = WireWriter()
    writer.message(1) { $0.varintField(1, UInt64(bitPattern: -5)) }
    let reply = StoreReply(status: 200, isProtobuf: true, body: writer.bytes)
    #expect(reply.verdict == .final(.taken(rejectedSpans: 0, message: "")))
  }

  @Test func messagesAreShortAndHarmless() {
    var status = WireWriter()
    status.varintField(1, 3)
    status.stringField(2, "bad \u{1b}[31mspan\nid")
    let reply = StoreReply(status: 400, isProtobuf: true, body: status.bytes)
    #expect(!reply.message.contains("\u{1b}") && !reply.message.contains("\n"))
    #expect(reply.message.hasPrefix("bad "))
    let long = StoreReply(status: 400, body: Array(repeating: UInt8(ascii: "x"), count: 5000))
    #expect(long.message.count <= 201)
  }

  @Test func retryAfterIsSecondsOrADate() throws {
    let now = try #require(StoreReplyTests.date("2026-11-27T01:00:00Z"))
    #expect(StoreReply.retryAfter("7", now: now) == 7)
    #expect(StoreReply.retryAfter("Fri, 27 Nov 2026 01:00:30 GMT", now: now) == 30)
    #expect(StoreReply.retryAfter("Fri, 27 Nov 2026 00:00:00 GMT", now: now) == 0)
    #expect(StoreReply.retryAfter("99999999999", now: now) == StoreReply.retryAfterMax)
    for text in ["-1", "soon", "", "99999999999999999999999"] {
      #expect(StoreReply.retryAfter(text, now: now) == nil)
    }
  }

  private static func date(_ text: String) -> Date? { ISO8601DateFormatter().date(from: text) }
}

// What answers by gRPC mean, and what is read of them.

import Foundation
import NIOHPACK
import NIOHTTP2
import OTLP
import Pipeline
import Simulation
import Testing

@testable import Stores

@Suite struct GRPCReplyTests {
  /// An answer of headers only.
  private func reply(_ status: String?, _ message: String = "", details: String? = nil) -> GRPCReply? {
    var head: HPACKHeaders = [":status": "200", "content-type": "application/grpc+proto"]
    if let status { head.add(name: "grpc-status", value: status) }
    head.add(name: "grpc-message", value: message)
    if let details { head.add(name: "grpc-status-details-bin", value: details) }
    return GRPCReply(head: head)
  }

  /// A `google.rpc.Status` with a detail that means nothing to us, and a `RetryInfo`.
  private func details(seconds: Int64, nanoseconds: UInt64 = 0, padded: Bool = false) -> String {
    var writer = WireWriter()
    writer.varintField(1, 8)
    writer.message(3) { $0.stringField(1, "type.googleapis.com/google.rpc.ErrorInfo") }
    writer.message(3) { entry in
      entry.stringField(1, "type.googleapis.com/google.rpc.RetryInfo")
      entry.message(2) { info in
        info.message(1) { delay in
          delay.varintField(1, UInt64(bitPattern: seconds))
          delay.varintField(2, nanoseconds)
        }
      }
    }
    let text = Data(writer.bytes).base64EncodedString()
    return padded ? text : String(text.prefix { $0 != "=" })
  }

  @Test(arguments: ["1", "4", "10", "11", "14", "15"])
  func codesThatPassAreRetried(code: String) {
    #expect(reply(code)?.reading?.verdict == .retry)
  }

  @Test(arguments: ["5", "7", "12", "16"])
  func faultsOfTheSenderLoseNothing(code: String) {
    #expect(reply(code)?.reading?.verdict == .misconfigured)
  }

  @Test(arguments: [("3", "INVALID_ARGUMENT"), ("6", "ALREADY_EXISTS")])
  func faultsOfTheRequestAreFinal(code: String, name: String) {
    #expect(reply(code, "no")?.reading?.verdict == .final(.refused(status: name, message: "no")))
  }

  @Test(arguments: [
    ("2", "UNKNOWN"), ("8", "RESOURCE_EXHAUSTED"), ("9", "FAILED_PRECONDITION"), ("13", "INTERNAL"),
    ("17", "UNKNOWN"), ("-1", "UNKNOWN"),
  ])
  func otherCodesAreDoubtful(code: String, name: String) {
    #expect(reply(code)?.reading?.verdict == .doubtful(.refused(status: name, message: "")))
  }

  @Test func exhaustionIsRetriedWithADelay() {
    for isPadded in [false, true] {
      let reading = reply("8", details: details(seconds: 2, nanoseconds: 500_000_000, padded: isPadded))?
        .reading
      #expect(reading?.verdict == .retry && reading?.retryAfter == .milliseconds(2500))
    }
  }

  @Test func delaysHaveLimits() {
    #expect(GRPCReply.retryDelay(details(seconds: .max)) == .seconds(3600))
    #expect(GRPCReply.retryDelay(details(seconds: 3600, nanoseconds: .max)) == .seconds(3600))
    #expect(GRPCReply.retryDelay(details(seconds: -1)) == .zero)
    for text in ["", "?", "CA", "////", "CgA="] { #expect(GRPCReply.retryDelay(text) == nil) }
  }

  /// An `ExportTraceServiceResponse`, and the prefix of its message.
  private var partialSuccess: [UInt8] {
    var writer = WireWriter()
    writer.message(1) { partial in
      partial.varintField(1, 7)
      partial.stringField(2, "some were too old, and some were not")
    }
    return [0, 0, 0, 0, UInt8(writer.bytes.count)] + writer.bytes
  }

  /// Whatever a store answers with, it is one short line, and a pause within limits.
  @Test func answersOfAnyBytesStayWithinLimits() throws {
    var random = RandomSource(seed: 11)
    func mutated(_ bytes: [UInt8]) -> [UInt8] {
      var bytes = bytes
      for _ in 0...random.number(in: 0...4) {
        let place = random.number(in: 0...bytes.count - 1)
        switch random.number(in: 0...2) {
        case 0: bytes[place] = UInt8(random.number(in: 0...255))
        case 1 where bytes.count > 1: bytes.remove(at: place)
        default: bytes.insert(UInt8(random.number(in: 0...255)), at: place)
        }
      }
      return bytes
    }
    let info = try #require(Data(base64Encoded: details(seconds: 2, nanoseconds: 5, padded: true)))
    var pauses = 0
    var partial = 0
    for _ in 0..<10_000 {
      let told = String(decoding: mutated(Array("a%20b%0a%e2%80%ae%C3%A4 100%".utf8)), as: UTF8.self)
      let code = String(random.number(in: -1...18))
      var answer = reply(code, told, details: Data(mutated(Array(info))).base64EncodedString())
      answer?.body = mutated(partialSuccess)
      let reading = try #require(answer?.reading)
      var message = reading.message
      if case .final(.taken(let rejected, let why)) = reading.verdict {
        if rejected > 0 { partial += 1 }
        message += why
      }
      if reading.retryAfter ?? .zero > .zero { pauses += 1 }
      #expect(reading.retryAfter.map { $0 >= .zero && $0 <= .seconds(3600) } ?? true)
      let isPrintable = message.unicodeScalars.allSatisfy {
        $0.properties.generalCategory != .control && $0.properties.generalCategory != .format
      }
      #expect(isPrintable && message.count < 500, "\(message.debugDescription)")
    }
    #expect(pauses > 100 && partial > 100, "\(pauses) pauses, \(partial) partial successes: too few")
  }

  /// No pause makes a request smaller.
  @Test(arguments: [
    ("8", "grpc: received message larger than max (5000000 vs. 4194304)"),
    ("8", "gRPC message exceeds maximum size 4194304: 6144592"),
    ("8", "Received message exceeds the maximum configured message size."),
    ("11", "Error, decoded message length too large: found 5000000 bytes, the limit is: 4194304 bytes"),
  ])
  func tooLargeIsFinal(code: String, message: String) {
    guard case .final(.refused) = reply(code, message)?.reading?.verdict else {
      Issue.record("not final")
      return
    }
  }

  @Test func messagesAreDecodedShortAndHarmless() {
    #expect(reply("3", "50%25 of caf%C3%A9%0A%1b[31m")?.reading?.message.hasPrefix("50% of café") == true)
    #expect(reply("3", "a%0Ab%1B")?.reading?.message.contains { $0 == "\n" || $0 == "\u{1b}" } == false)
    #expect(reply("3", String(repeating: "x", count: 5000))?.reading?.message.count == 201)
    #expect(GRPCReply.decoded("%") == [0x25] && GRPCReply.decoded("%4") == Array("%4".utf8))
    #expect(GRPCReply.decoded("%zz%41%+1") == Array("%zzA%+1".utf8))
  }

  @Test(arguments: [
    (503, StoreReply.Verdict.retry), (429, .retry), (401, .misconfigured), (302, .misconfigured),
    (400, .misconfigured), (413, .final(.refused(status: "413", message: ""))),
    (500, .doubtful(.refused(status: "500", message: ""))),
  ])
  func aProxysStatusIsNoFaultOfTheSpans(status: Int, verdict: StoreReply.Verdict) {
    let reply = GRPCReply(head: [":status": "\(status)", "content-type": "text/plain"])
    #expect(reply?.reading?.verdict == verdict)
  }

  @Test func whatIsNotGRPCIsNoReceiversAnswer() {
    let reply = GRPCReply(head: [":status": "200", "content-type": "text/html", "grpc-status": "0"])
    #expect(reply?.reading?.verdict == .misconfigured)
  }

  @Test func anAnswerWithoutItsStatusIsNone() {
    #expect(reply(nil)?.reading == nil && reply("x")?.reading == nil)
    #expect(GRPCReply(head: [":status": "103"]) == nil)
  }

  /// Whatever a peer sends is read to some end.
  @Test func damagedAnswersAreRead() throws {
    var state: UInt64 = 1
    func random(_ bound: Int) -> Int {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int(state >> 33) % bound
    }
    let whole = try #require(Data(base64Encoded: details(seconds: 5, padded: true)))
    for _ in 0..<20_000 {
      var bytes = Array(whole)
      for _ in 0...random(3) { bytes[random(bytes.count)] = UInt8(random(256)) }
      bytes.removeLast(random(4))
      let delay = GRPCReply.retryDelay(Data(bytes).base64EncodedString()) ?? .zero
      #expect(delay >= .zero && delay <= .seconds(3600))
      #expect(GRPCReply.decoded("%" + String(decoding: bytes, as: UTF8.self)).isEmpty == false)
      var answer = reply("0")
      answer?.body = bytes
      guard case .final(.taken) = answer?.reading?.verdict else {
        Issue.record("not taken: \(bytes)")
        return
      }
    }
  }

  @Test(arguments: [
    (HTTP2ErrorCode.refusedStream, "UNAVAILABLE", Optional.some(StoreReply.Verdict.retry)),
    (.enhanceYourCalm, "UNAVAILABLE", .retry), (.inadequateSecurity, "PERMISSION_DENIED", .misconfigured),
    (.cancel, "CANCELLED", nil), (.internalError, "INTERNAL", nil), (.noError, "INTERNAL", nil),
  ])
  func aStreamThatIsResetMayBeTooLarge(code: HTTP2ErrorCode, status: String, verdict: StoreReply.Verdict?) {
    let reading = GRPCReply.reading(ofReset: code)
    #expect(reading.status == status && reading.message.contains("it closed the stream"))
    #expect(
      reading.verdict
        == verdict ?? .doubtful(.refused(status: status, message: reading.message)))
  }

  @Test func partialSuccessIsRead() {
    var writer = WireWriter()
    writer.message(1) { partial in
      partial.varintField(1, 17)
      partial.stringField(2, "too old")
    }
    var reply = reply("0")
    reply?.body = [0, 0, 0, 0, UInt8(writer.bytes.count)] + writer.bytes
    #expect(reply?.reading?.verdict == .final(.taken(rejectedSpans: 17, message: "too old")))
    // Whatever a store sends with it, OK is OK.
    for body in [[], [0, 0], [0, 0xff, 0xff, 0xff, 0xff, 1], [1, 0, 0, 0, 0], [0, 0, 0, 0, 1, 0xff]]
      as [[UInt8]]
    {
      reply?.body = body
      #expect(reply?.reading?.verdict == .final(.taken(rejectedSpans: 0, message: "")))
    }
  }
}

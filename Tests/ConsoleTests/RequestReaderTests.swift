// Requests read from bytes, whole and in pieces.

import NIOCore
import Testing

@testable import Console

@Suite struct RequestReaderTests {
  private func read(_ text: String) -> RequestReader.Outcome {
    var reader = RequestReader()
    reader.append(ByteBuffer(string: text))
    return reader.next()
  }

  private func head(
    _ method: String = "GET", _ path: String = "/", keepsAlive: Bool = true, hasBody: Bool = false,
    query: String = "", host: String? = nil
  ) -> RequestReader.Outcome {
    .head(
      RequestHead(
        method: method, path: path, query: query, host: host, keepsAlive: keepsAlive, hasBody: hasBody))
  }

  @Test func requestsAreRead() {
    #expect(read("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n") == head("GET", "/livez", host: "x"))
    #expect(read("GET /livez HTTP/1.1\r\n\r\n") == head("GET", "/livez"))
    #expect(read("\r\n\r\nGET / HTTP/1.1\r\n\r\n") == head())
    #expect(read("GET / HTTP/1.1\n\n") == head(), "a line may end without a carriage return")
    #expect(read("HEAD /metrics?a=b?c#d HTTP/1.1\r\n\r\n") == head("HEAD", "/metrics", query: "a=b?c"))
    #expect(read("GET http://x:80/livez?a HTTP/1.1\r\n\r\n") == head("GET", "/livez", query: "a"))
    #expect(read("GET http://x HTTP/1.1\r\n\r\n") == head())
    #expect(read("OPTIONS * HTTP/1.1\r\n\r\n") == head("OPTIONS", "*"))
    #expect(read("GET / HTTP/1.0\r\n\r\n") == head(keepsAlive: false))
    #expect(read("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n") == head())
    #expect(read("GET / HTTP/1.1\r\nCONNECTION: te,close\r\n\r\n") == head(keepsAlive: false))
    #expect(read("POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\n") == head("POST", hasBody: true))
    #expect(read("GET / HTTP/1.1\r\nContent-Length: 0\r\n\r\n") == head())
    #expect(read("PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n") == head("PUT", hasBody: true))
  }

  @Test(arguments: [
    "not http at all\r\n\r\n", "GET /\r\n\r\n", "GET  / HTTP/1.1\r\n\r\n", "G(T / HTTP/1.1\r\n\r\n",
    "GET / HTTP/1.1\r\nno colon\r\n\r\n", "GET / HTTP/1.1\r\n : x\r\n\r\n", "GET / HTTP/1.1\r\nA : x\r\n\r\n",
    "GET / HTTP/1.1\r\nA: b\r\n folded\r\n\r\n", "GET / HTTP/1.1\r\nA: \0\r\n\r\n",
    "GET / HTTP/1.1\r\nA: b\rc\r\n\r\n", "GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    "GET / HTTP/1.1\r\nContent-Length: 1, 1\r\n\r\n", "GET / HTTP/1.1\r\nContent-Length:\r\n\r\n",
  ])
  func invalidRequestsAreRefused(_ text: String) {
    #expect(read(text) == .refused(.badRequest))
  }

  @Test func otherVersionsAreRefused() {
    #expect(read("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") == .refused(.versionNotSupported))
  }

  @Test func headsHaveALimit() {
    let long = String(repeating: "x", count: RequestReader.headBytesMax)
    #expect(read("GET /\(long)") == .refused(.targetTooLong))
    #expect(read("GET / HTTP/1.1\r\nA: \(long)") == .refused(.headTooLarge))
    #expect(read("GET / HTTP/1.1\r\nA: \(long)\r\n\r\n") == .refused(.headTooLarge))
    let room = RequestReader.headBytesMax - "GET / HTTP/1.1\r\nA: \r\n\r\n".utf8.count
    #expect(read("GET / HTTP/1.1\r\nA: \(long.prefix(room))\r\n\r\n") == head())
    #expect(read("GET / HTTP/1.1\r\nA: \(long.prefix(room + 1))\r\n\r\n") == .refused(.headTooLarge))
  }

  /// However the bytes are split, the same requests are read.
  @Test func requestsInPiecesAreRead() {
    let text = "\r\nGET /a HTTP/1.1\r\nHost: x\r\n\r\nHEAD /b HTTP/1.0\n\nGET /c?d HTTP/1.1\r\n\r\n"
    let bytes = Array(text.utf8)
    for first in 0...bytes.count {
      for second in first...bytes.count {
        var reader = RequestReader()
        var heads: [RequestHead] = []
        for piece in [bytes[..<first], bytes[first..<second], bytes[second...]] {
          reader.append(ByteBuffer(bytes: piece))
          while case .head(let head) = reader.next() { heads.append(head) }
        }
        #expect(heads.map(\.path) == ["/a", "/b", "/c"])
        #expect(reader.isEmpty)
      }
    }
  }

  @Test func fieldsOfAccessAreRead() {
    let text = "GET / HTTP/1.1\r\nHOST:\t a:1 \r\nAuthorization: Basic x=\r\nIf-None-Match: \"1\"\r\n\r\n"
    guard case .head(let head) = read(text) else {
      Issue.record("no head")
      return
    }
    #expect((head.host, head.authorization, head.ifNoneMatch) == ("a:1", "Basic x=", "\"1\""))
  }

  @Test func overflowIsNoted() {
    var reader = RequestReader()
    reader.append(ByteBuffer(repeating: UInt8(ascii: "x"), count: 2 * RequestReader.headBytesMax))
    #expect(!reader.hasOverflowed)
    reader.append(ByteBuffer(string: "x"))
    #expect(reader.hasOverflowed)
  }
}

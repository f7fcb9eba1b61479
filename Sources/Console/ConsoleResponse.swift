// HTTP/1.1 answers: a status, a media type and a text.

internal import NIOCore

/// An answer.
struct ConsoleResponse: Sendable {
  var status = ConsoleStatus.ok
  var contentType = "text/plain; charset=utf-8"
  var body: String
}

/// The status codes in use.
enum ConsoleStatus: Int, Sendable {
  case ok = 200
  case badRequest = 400
  case notFound = 404
  case methodNotAllowed = 405
  case contentTooLarge = 413
  case targetTooLong = 414
  case headTooLarge = 431
  case serviceUnavailable = 503
  case versionNotSupported = 505

  var phrase: String {
    switch self {
    case .ok: "OK"
    case .badRequest: "Bad Request"
    case .notFound: "Not Found"
    case .methodNotAllowed: "Method Not Allowed"
    case .contentTooLarge: "Content Too Large"
    case .targetTooLong: "URI Too Long"
    case .headTooLarge: "Request Header Fields Too Large"
    case .serviceUnavailable: "Service Unavailable"
    case .versionNotSupported: "HTTP Version Not Supported"
    }
  }
}

/// An answer in bytes, shared by all who wait for it.
struct ConsolePage: Sendable {
  let status: ConsoleStatus
  let contentType: String
  let body: ByteBuffer

  init(_ response: ConsoleResponse) {
    status = response.status
    contentType = response.contentType
    body = ByteBuffer(string: response.body)
  }

  static let notFound = ConsolePage(ConsoleResponse(status: .notFound, body: "there is no such page\n"))

  /// An answer that consists of its status.
  static func refusal(_ status: ConsoleStatus) -> ConsolePage {
    let text = status == .methodNotAllowed ? "only GET and HEAD" : status.phrase
    return ConsolePage(ConsoleResponse(status: status, body: "\(text)\n"))
  }

  /// Everything before the body.
  func head(keepsAlive: Bool) -> ByteBuffer {
    var head = """
      HTTP/1.1 \(status.rawValue) \(status.phrase)\r
      Content-Type: \(contentType)\r
      Content-Length: \(body.readableBytes)\r
      Cache-Control: no-store\r
      X-Content-Type-Options: nosniff\r
      Connection: \(keepsAlive ? "keep-alive" : "close")\r

      """
    if status == .methodNotAllowed { head += "Allow: GET, HEAD\r\n" }
    return ByteBuffer(string: head + "\r\n")
  }
}

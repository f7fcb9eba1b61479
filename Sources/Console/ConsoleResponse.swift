// HTTP/1.1 answers: a status, a media type and a text.

internal import NIOCore

/// An answer.
struct ConsoleResponse: Sendable {
  var status = ConsoleStatus.ok
  var contentType = "text/plain; charset=utf-8"
  var body: String
  /// The body where it is no text.
  var bytes: [UInt8]?
  /// Tells versions of the page apart; nil if it must not be kept.
  var etag: String?
}

/// The status codes in use.
enum ConsoleStatus: Int, Sendable {
  case ok = 200
  case notModified = 304
  case badRequest = 400
  case unauthorized = 401
  case forbidden = 403
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
    case .notModified: "Not Modified"
    case .badRequest: "Bad Request"
    case .unauthorized: "Unauthorized"
    case .forbidden: "Forbidden"
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
  let etag: String?

  init(_ response: ConsoleResponse) {
    status = response.status
    contentType = response.contentType
    body = response.bytes.map { ByteBuffer(bytes: $0) } ?? ByteBuffer(string: response.body)
    etag = response.etag
  }

  static let notFound = ConsolePage(ConsoleResponse(status: .notFound, body: "there is no such page\n"))

  /// An answer that consists of its status.
  static func refusal(_ status: ConsoleStatus) -> ConsolePage {
    let text = status == .methodNotAllowed ? "only GET and HEAD" : status.phrase
    return ConsolePage(ConsoleResponse(status: status, body: "\(text)\n"))
  }

  /// The answer to who has the page already.
  private init(unchanged page: ConsolePage) {
    status = .notModified
    contentType = page.contentType
    body = ByteBuffer()
    etag = page.etag
  }

  /// The page, or that it has not changed for who has the versions that `field` names.
  func unless(changedFrom field: String?) -> ConsolePage {
    guard let etag, let field, status == .ok,
      field.split(separator: ",").contains(where: { $0.drop { " ".contains($0) } == etag })
    else { return self }
    return ConsolePage(unchanged: self)
  }

  /// What browsers may do with a page: nothing but show it with the console's own files, and run the script
  /// in `index.html` that has this SHA-256.
  private static let policy =
    "default-src 'none'; script-src 'self' 'sha256-oFxE6myjX56sHjAv3XvL/E8MTKplwCeb2JuEsAHwmtI='; "
    + "style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; "
    + "form-action 'none'; frame-ancestors 'none'"

  /// The head of an answer that goes on and on.
  static let streamHead = ByteBuffer(
    string: """
      HTTP/1.1 200 OK\r
      Content-Type: text/event-stream\r
      Cache-Control: no-store\r
      X-Content-Type-Options: nosniff\r
      Referrer-Policy: no-referrer\r
      Connection: close\r
      \r

      """)

  /// Everything before the body.
  func head(keepsAlive: Bool) -> ByteBuffer {
    var head = """
      HTTP/1.1 \(status.rawValue) \(status.phrase)\r
      Content-Type: \(contentType)\r
      Content-Length: \(body.readableBytes)\r
      Cache-Control: \(etag == nil ? "no-store" : "no-cache")\r
      Content-Security-Policy: \(ConsolePage.policy)\r
      X-Content-Type-Options: nosniff\r
      Referrer-Policy: no-referrer\r
      Connection: \(keepsAlive ? "keep-alive" : "close")\r

      """
    if let etag { head += "ETag: \(etag)\r\n" }
    if status == .unauthorized {
      head += "WWW-Authenticate: Basic realm=\"tailrace\", charset=\"UTF-8\"\r\n"
    }
    if status == .methodNotAllowed { head += "Allow: GET, HEAD\r\n" }
    return ByteBuffer(string: head + "\r\n")
  }
}

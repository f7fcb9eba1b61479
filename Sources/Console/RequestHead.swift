// The head of an HTTP/1.x request, read from a connection's bytes once it is complete.
// Source: RFC 9112, https://www.rfc-editor.org/rfc/rfc9112

internal import NIOCore

/// A request's head.
struct RequestHead: Equatable {
  var method: String
  /// The path as it was sent, without scheme, authority and query.
  var path: String
  /// What follows the path's question mark, as it was sent.
  var query = ""
  /// Fields by these names, if they were sent.
  var host, authorization, ifNoneMatch: String?
  /// Whether another request may follow on the connection.
  var keepsAlive: Bool
  /// Whether a body follows.
  var hasBody: Bool
}

/// A connection's unread bytes: less than two heads of the largest size.
struct RequestReader {
  /// A longer head is refused. Browsers and proxies send one or two KiB.
  static let headBytesMax = 8 << 10

  private var bytes = ByteBuffer()
  /// How many bytes have been searched for the end of a head.
  private var scanned = 0
  /// Whether more arrived than there was room for: input after the buffered requests is lost.
  private(set) var hasOverflowed = false

  enum Outcome: Equatable {
    /// The end of the head has not arrived.
    case incomplete
    case head(RequestHead)
    /// Not a request, or not one that is accepted. Its end is unknown.
    case refused(ConsoleStatus)
  }

  var isEmpty: Bool { bytes.readableBytes == 0 }

  /// Takes input as long as there is room.
  mutating func append(_ more: ByteBuffer) {
    var more = more
    let room = 2 * RequestReader.headBytesMax - bytes.readableBytes
    if more.readableBytes > room { hasOverflowed = true }
    guard var taken = more.readSlice(length: min(room, more.readableBytes)) else { return }
    bytes.discardReadBytes()
    bytes.writeBuffer(&taken)
  }

  /// The next request.
  mutating func next() -> Outcome {
    skipEmptyLines()
    guard let length = headLength(), length <= RequestReader.headBytesMax else {
      guard bytes.readableBytes > RequestReader.headBytesMax else { return .incomplete }
      let firstLine = bytes.readableBytesView.prefix(RequestReader.headBytesMax)
      return .refused(firstLine.contains(lineFeed) ? .headTooLarge : .targetTooLong)
    }
    scanned = 0
    guard let head = bytes.readBytes(length: length) else { return .incomplete }
    return RequestReader.parse(head[...])
  }

  /// Empty lines before a request don't belong to it.
  private mutating func skipEmptyLines() {
    guard scanned == 0 else { return }
    let count = bytes.readableBytesView.prefix { $0 == lineFeed || $0 == carriageReturn }.count
    bytes.moveReaderIndex(forwardBy: count)
  }

  /// The head's length with its empty line; nil until that arrives.
  private mutating func headLength() -> Int? {
    let view = bytes.readableBytesView
    func byte(_ offset: Int) -> UInt8 { view[view.startIndex + offset] }
    while scanned < view.count {
      let offset = scanned
      scanned += 1
      guard offset > 0, byte(offset) == lineFeed else { continue }
      if byte(offset - 1) == lineFeed { return scanned }
      if offset > 1, byte(offset - 1) == carriageReturn, byte(offset - 2) == lineFeed { return scanned }
    }
    return nil
  }

  // MARK: Parsing

  private static func parse(_ head: ArraySlice<UInt8>) -> Outcome {
    let lines = head.split(separator: lineFeed, omittingEmptySubsequences: false).map { line in
      line.last == carriageReturn ? line.dropLast() : line
    }
    guard let first = lines.first, !head.contains(0), !lines.contains(where: { $0.contains(carriageReturn) })
    else { return .refused(.badRequest) }
    let words = first.split(separator: UInt8(ascii: " "), omittingEmptySubsequences: false)
    guard words.count == 3, isToken(words[0]), words[2].starts(with: "HTTP/".utf8),
      let path = path(ofTarget: words[1])
    else { return .refused(.badRequest) }
    let isOld = words[2].elementsEqual("HTTP/1.0".utf8)
    guard isOld || words[2].elementsEqual("HTTP/1.1".utf8) else { return .refused(.versionNotSupported) }
    var request = RequestHead(
      method: String(decoding: words[0], as: UTF8.self), path: path, query: query(ofTarget: words[1]),
      keepsAlive: !isOld, hasBody: false)
    for line in lines.dropFirst() where !line.isEmpty {
      guard read(field: line, to: &request) else { return .refused(.badRequest) }
    }
    return .head(request)
  }

  /// Nil for an invalid target.
  private static func path(ofTarget target: ArraySlice<UInt8>) -> String? {
    guard !target.isEmpty, target.allSatisfy({ $0 > 0x20 && $0 != 0x7f }) else { return nil }
    let slash = UInt8(ascii: "/")
    var path = target.prefix { $0 != UInt8(ascii: "?") && $0 != UInt8(ascii: "#") }
    // A proxy may have left scheme and authority: `http://host/path`.
    if path.first != slash, let scheme = path.firstIndex(of: UInt8(ascii: ":")) {
      let rest = path[scheme...].dropFirst()
      guard rest.starts(with: "//".utf8) else { return String(decoding: path, as: UTF8.self) }
      path = rest.dropFirst(2).drop { $0 != slash }
      if path.isEmpty { return "/" }
    }
    return String(decoding: path, as: UTF8.self)
  }

  private static func query(ofTarget target: ArraySlice<UInt8>) -> String {
    let whole = target.prefix { $0 != UInt8(ascii: "#") }
    return String(decoding: whole.drop { $0 != UInt8(ascii: "?") }.dropFirst(), as: UTF8.self)
  }

  /// Reads a header line; false if it isn't valid.
  private static func read(field line: ArraySlice<UInt8>, to request: inout RequestHead) -> Bool {
    guard let colon = line.firstIndex(of: UInt8(ascii: ":")), isToken(line[..<colon]) else { return false }
    let value = String(decoding: line[colon...].dropFirst(), as: UTF8.self)
    switch String(decoding: line[..<colon], as: UTF8.self).lowercased() {
    case "connection":
      for option in value.lowercased().split(whereSeparator: { ", \t".contains($0) }) {
        if option == "close" { request.keepsAlive = false }
        if option == "keep-alive" { request.keepsAlive = true }
      }
    case "content-length":
      let digits = value.split(whereSeparator: { " \t".contains($0) })
      guard digits.count == 1, digits[0].utf8.allSatisfy({ (0x30...0x39).contains($0) }) else { return false }
      if digits[0].utf8.contains(where: { $0 != UInt8(ascii: "0") }) { request.hasBody = true }
    case "transfer-encoding": request.hasBody = true
    case "host": request.host = trimmed(value)
    case "authorization": request.authorization = trimmed(value)
    case "if-none-match": request.ifNoneMatch = trimmed(value)
    default: break
    }
    return true
  }

  private static func trimmed(_ value: String) -> String {
    String(value.drop { " \t".contains($0) }.reversed().drop { " \t".contains($0) }.reversed())
  }

  private static func isToken(_ bytes: ArraySlice<UInt8>) -> Bool {
    !bytes.isEmpty
      && bytes.allSatisfy { byte in
        switch Unicode.Scalar(byte) {
        case "a"..."z", "A"..."Z", "0"..."9": true
        case "!", "#", "$", "%", "&", "'", "*", "+", "-", ".", "^", "_", "`", "|", "~": true
        default: false
        }
      }
  }
}

private let lineFeed = UInt8(ascii: "\n")
private let carriageReturn = UInt8(ascii: "\r")

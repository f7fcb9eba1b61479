// What a console serves: pages by path and query, who may see them, and a stream of events.

internal import Foundation

/// A request for a page.
struct ConsoleRequest: Sendable {
  var path: String
  /// The query's names and values, decoded, in order.
  var query: [(name: String, value: String)] = []

  init(path: String, query: String = "") {
    self.path = ConsoleRequest.decoded(path, plusIsSpace: false)
    self.query = query.split(separator: "&").prefix(ConsoleRequest.parametersMax).map { part in
      let sides = part.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      return (
        ConsoleRequest.decoded(String(sides[0]), plusIsSpace: true),
        sides.count > 1 ? ConsoleRequest.decoded(String(sides[1]), plusIsSpace: true) : ""
      )
    }
  }

  private static let parametersMax = 100

  /// The last value of a parameter; nil if it is missing or empty.
  subscript(name: String) -> String? {
    query.last { $0.name == name && !$0.value.isEmpty }?.value
  }

  /// All values of a parameter.
  func values(of name: String) -> [String] { query.filter { $0.name == name }.map(\.value) }

  /// Source: RFC 3986, 2.1, and the URL Standard's application/x-www-form-urlencoded.
  private static func decoded(_ text: String, plusIsSpace: Bool) -> String {
    var bytes: [UInt8] = []
    var rest = Array(text.utf8)[...]
    while let byte = rest.popFirst() {
      if byte == UInt8(ascii: "%"), rest.count >= 2,
        rest.prefix(2).allSatisfy({ UnicodeScalar($0).properties.isASCIIHexDigit }),
        let value = UInt8(String(decoding: rest.prefix(2), as: UTF8.self), radix: 16)
      {
        bytes.append(value)
        rest = rest.dropFirst(2)
      } else {
        bytes.append(plusIsSpace && byte == UInt8(ascii: "+") ? 0x20 : byte)
      }
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}

/// Who may see pages.
struct ConsoleAccess: Sendable {
  /// Passwords by name; nil if none is asked for.
  var passwords: [String: String]?
  /// Whether requests must name this host by an address or as `localhost`. Otherwise a web page elsewhere
  /// could make its own name point here, and read the answers in the browser of someone who has access.
  var refusesForeignHosts = false

  /// Everybody.
  static let everybody = ConsoleAccess()

  /// Nil if the request may be answered, else the status to refuse it with.
  func refusal(of head: RequestHead) -> ConsoleStatus? {
    if refusesForeignHosts, let host = head.host, !ConsoleAccess.isLocal(host) { return .forbidden }
    guard let passwords else { return nil }
    guard let header = head.authorization, header.lowercased().hasPrefix("basic "),
      let data = Data(base64Encoded: String(header.dropFirst(6)).trimmingCharacters(in: .whitespaces))
    else { return .unauthorized }
    let parts = Array(data).split(
      separator: UInt8(ascii: ":"), maxSplits: 1, omittingEmptySubsequences: false)
    guard parts.count == 2 else { return .unauthorized }
    let wanted = passwords[String(decoding: parts[0], as: UTF8.self)]
    // As long for an unknown name as for a known one.
    let isRight = ConsoleAccess.areEqual(Array(parts[1]), Array((wanted ?? "").utf8))
    return isRight && wanted != nil ? nil : .unauthorized
  }

  /// In a time that depends on the given text's length alone.
  private static func areEqual(_ given: [UInt8], _ wanted: [UInt8]) -> Bool {
    var difference = given.count ^ wanted.count
    for (place, byte) in given.enumerated() {
      difference |= Int(byte ^ (wanted.isEmpty ? 1 : wanted[place % wanted.count]))
    }
    return difference == 0
  }

  private static func isLocal(_ host: String) -> Bool {
    if host.hasPrefix("[") { return true }
    let name = host.split(separator: ":").first.map { $0.lowercased() } ?? ""
    if name == "localhost" || name.hasSuffix(".localhost") { return true }
    let parts = name.split(separator: ".", omittingEmptySubsequences: false)
    return parts.count == 4 && parts.allSatisfy { UInt8($0) != nil }
  }
}

/// Events that all who listen get at the same time.
struct ConsoleStream: Sendable {
  /// Where it is.
  var path: String
  /// Makes the next events, each second while somebody listens.
  var make: @Sendable () -> [UInt8]
}

/// Everything that a server serves.
struct ConsoleService: Sendable {
  /// Answers a request; nil if there is no such page.
  var respond: @Sendable (ConsoleRequest) -> ConsoleResponse?
  /// How many pages are made at a time, and which of the queues makes the page at a path: pages that take
  /// long must not keep others waiting.
  var queues = 1
  var queue: @Sendable (String) -> Int = { _ in 0 }
  var access = ConsoleAccess.everybody
  /// Nil for plain HTTP.
  var tls: ConsoleTLS?
  var stream: ConsoleStream?
}

// What a store's answers mean that come by gRPC.

internal import Foundation
internal import NIOHPACK
internal import NIOHTTP2
import Pipeline

/// A store's answer to one call.
///
/// <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>; what the codes mean to an exporter is in
/// the specification of OTLP/gRPC, "Failures": <https://opentelemetry.io/docs/specs/otlp/#failures>.
struct GRPCReply {
  /// HTTP's status.
  private(set) var http: StoreReply
  /// Whether gRPC is spoken.
  private var isGRPC: Bool
  private var trailers: HPACKHeaders
  /// The beginning of the body: a message behind its prefix.
  var body: [UInt8] = []

  /// A flag and a length precede a message.
  static let prefixBytes = 5

  /// Of the headers that an answer begins with: all there is, if no other follow. Nil for informational
  /// ones, which an answer follows.
  init?(head: HPACKHeaders) {
    // HTTP/2's decoder has checked that it is there. Whatever is no status counts as one.
    let told = head.first(name: ":status").flatMap { Int($0) } ?? 0
    let status = (100..<600).contains(told) ? told : 0
    guard !(100..<200).contains(status) else { return nil }
    http = StoreReply(status: status)
    http.retryAfter = head.first(name: "retry-after").flatMap { StoreReply.retryAfter($0, now: Date()) }
    isGRPC = head.first(name: "content-type")?.lowercased().hasPrefix("application/grpc") ?? false
    trailers = head
  }

  /// The headers that an answer ends with.
  mutating func end(with trailers: HPACKHeaders) {
    self.trailers = trailers
  }

  /// What it says; nil if it is broken off.
  var reading: StoreReading? {
    if http.status != 200 { return proxysReading }
    guard isGRPC else {
      return StoreReading(status: "200", message: "not in gRPC", verdict: .misconfigured)
    }
    guard let text = trailers.first(name: "grpc-status"), let code = Int(text) else { return nil }
    let told = GRPCReply.decoded(trailers.first(name: "grpc-message") ?? "")
    let message = StoreReply.shortened(told)
    let status = GRPCReply.names.indices.contains(code) ? GRPCReply.names[code] : "UNKNOWN"
    let delay = GRPCReply.retryDelay(trailers.first(name: "grpc-status-details-bin") ?? "")
    return StoreReading(
      status: status, message: message, verdict: verdict(status, message, hasDelay: delay != nil),
      retryAfter: delay)
  }

  /// What a stream says that the store has reset, as the protocol maps HTTP/2's codes to gRPC's. Older
  /// servers tell no more of a request that is too large for them.
  static func reading(ofReset code: HTTP2ErrorCode) -> StoreReading {
    func reading(_ status: String, _ verdict: StoreReply.Verdict) -> StoreReading {
      StoreReading(status: status, message: "it closed the stream: \(code)", verdict: verdict)
    }
    switch code {
    case .refusedStream, .enhanceYourCalm: return reading("UNAVAILABLE", .retry)
    case .inadequateSecurity, .http11Required: return reading("PERMISSION_DENIED", .misconfigured)
    default:
      let status = code == .cancel ? "CANCELLED" : "INTERNAL"
      let refusal = StoreAnswer.Outcome.refused(status: status, message: "it closed the stream: \(code)")
      return reading(status, .doubtful(refusal))
    }
  }

  /// A status of HTTP is a proxy's: a fault on the way, and not of the spans, unless the request is too
  /// large.
  private var proxysReading: StoreReading {
    var reply = http
    reply.body = body
    var reading = reply.reading
    if case .final = reading.verdict, http.status != 413 { reading.verdict = .misconfigured }
    return reading
  }

  /// The names of gRPC's codes, from 0 on.
  private static let names = [
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE",
    "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
  ]

  /// The specification asks for retries after some codes, and for none after the others, of which some are
  /// about the sender, and so about all requests alike.
  private func verdict(
    _ status: String, _ message: String, hasDelay: Bool
  ) -> StoreReply.Verdict {
    let refusal = StoreAnswer.Outcome.refused(status: status, message: message)
    switch status {
    case "OK":
      let (rejected, why) = StoreReply.partialSuccess(response)
      return .final(.taken(rejectedSpans: rejected, message: why))
    case "RESOURCE_EXHAUSTED", "OUT_OF_RANGE":
      // Both are what receivers answer to a message over their limit, which no pause makes smaller.
      if GRPCReply.tellsOfSize(message) { return .final(refusal) }
      return status == "OUT_OF_RANGE" || hasDelay ? .retry : .doubtful(refusal)
    case "CANCELLED", "DEADLINE_EXCEEDED", "ABORTED", "UNAVAILABLE", "DATA_LOSS": return .retry
    case "NOT_FOUND", "PERMISSION_DENIED", "UNIMPLEMENTED", "UNAUTHENTICATED": return .misconfigured
    case "INVALID_ARGUMENT", "ALREADY_EXISTS": return .final(refusal)
    default: return .doubtful(refusal)
    }
  }

  /// As gRPC's libraries for Go, C++, Rust, Java and .NET word it.
  private static func tellsOfSize(_ message: String) -> Bool {
    let text = message.lowercased()
    let signs = [
      "larger than max", "message length too large", "exceeds maximum size", "exceeds the maximum",
    ]
    return signs.contains { text.contains($0) }
  }

  /// The message behind its prefix; empty if it is incomplete, or compressed, which was not offered.
  private var response: [UInt8] {
    guard body.count >= GRPCReply.prefixBytes, body[0] == 0 else { return [] }
    let length = body[1..<GRPCReply.prefixBytes].reduce(0) { $0 << 8 | Int($1) }
    let message = body.dropFirst(GRPCReply.prefixBytes)
    return message.count < length ? [] : Array(message.prefix(length))
  }

  /// Bytes that are percent-encoded; a sign without two digits stands for itself.
  static func decoded(_ text: String) -> [UInt8] {
    var rest = Array(text.utf8)[...]
    var bytes: [UInt8] = []
    while let byte = rest.popFirst() {
      let digits = rest.prefix(2).compactMap { Character(Unicode.Scalar($0)).hexDigitValue }
      guard byte == UInt8(ascii: "%"), digits.count == 2 else {
        bytes.append(byte)
        continue
      }
      bytes.append(UInt8(digits[0] << 4 | digits[1]))
      rest = rest.dropFirst(2)
    }
    return bytes
  }

  /// The delay of a `google.rpc.RetryInfo` among the details of a `google.rpc.Status`, which are base64 with
  /// or without padding; nil if there is none.
  static func retryDelay(_ details: String) -> Duration? {
    let unpadded = details.prefix { $0 != "=" && $0 != "," }
    let padding = String(repeating: "=", count: (4 - unpadded.utf8.count % 4) % 4)
    guard let status = Data(base64Encoded: unpadded + padding),
      let entries = ReplyMessage(Array(status)).contents(3)
    else { return nil }
    for entry in entries.map({ ReplyMessage($0) }) {
      let type = String(decoding: entry.contents(1)?.last ?? [], as: UTF8.self)
      guard type.hasSuffix("/google.rpc.RetryInfo") else { continue }
      guard let delay = ReplyMessage(entry.contents(2)?.last ?? []).contents(1)?.last else { return .zero }
      let parts = ReplyMessage(delay)
      let seconds = min(max(0, parts.number(1) ?? 0), StoreReply.retryAfterMax)
      let nanoseconds = min(max(0, parts.number(2) ?? 0), 999_999_999)
      return min(.seconds(seconds) + .nanoseconds(nanoseconds), .seconds(StoreReply.retryAfterMax))
    }
    return nil
  }
}

// What a store's answers mean.

internal import Files
internal import Foundation
import Pipeline

/// What a store's answer to one attempt says, however it came.
struct StoreReading {
  /// A number of HTTP, or a name of gRPC.
  var status: String
  /// What the store says about it, on one line.
  var message: String
  var verdict: StoreReply.Verdict
  /// How long the store wants to be left alone, if it says so.
  var retryAfter: Duration?
}

extension StoreReading {
  /// Without the secrets, which some stores repeat when they refuse them.
  func masking(_ secrets: [String]) -> StoreReading {
    func masked(_ text: String) -> String { MessageText.masked(text, secrets) }
    func masked(_ outcome: StoreAnswer.Outcome) -> StoreAnswer.Outcome {
      switch outcome {
      case .taken(let spans, let message): .taken(rejectedSpans: spans, message: masked(message))
      case .refused(let status, let message): .refused(status: status, message: masked(message))
      }
    }
    var reading = self
    reading.message = masked(message)
    switch verdict {
    case .final(let outcome): reading.verdict = .final(masked(outcome))
    case .doubtful(let outcome): reading.verdict = .doubtful(masked(outcome))
    case .retry, .misconfigured: break
    }
    return reading
  }
}

/// A store's answer to one attempt by HTTP.
struct StoreReply {
  var status: Int
  /// How long the store wants to be left alone, if it says so.
  var retryAfter: Int64?
  var isProtobuf = false
  /// Whether the body is HTML.
  var isPage = false
  /// The beginning of the body.
  var body: [UInt8] = []

  /// Bodies are read up to this many bytes,
  static let bodyBytesMax = 64 << 10
  /// and of what they say this many characters are told.
  private static let messageMax = 200
  /// An hour: what a store asks for beyond that is a mistake.
  static let retryAfterMax: Int64 = 3600

  var reading: StoreReading {
    StoreReading(
      status: String(status), message: message, verdict: verdict, retryAfter: retryAfter.map { .seconds($0) })
  }

  /// What to do about an answer.
  enum Verdict: Equatable {
    /// It is final.
    case final(StoreAnswer.Outcome)
    /// The same request may be taken later.
    case retry
    /// The fault is not the request's: the address or the credentials are wrong, and that will be put right
    /// some day. No record is given up for it.
    case misconfigured
    /// Retries are not asked for, but stores answer so for faults that pass: some are tried.
    case doubtful(StoreAnswer.Outcome)
  }

  /// The specification asks for retries after 429, 502, 503 and 504 only, and for none after the others, of
  /// which some are about the sender, and so about all requests alike.
  var verdict: Verdict {
    switch status {
    case 200..<300:
      // A page for people is no receiver's answer.
      guard !isPage else { return .misconfigured }
      let (rejected, message) = partialSuccess
      return .final(.taken(rejectedSpans: rejected, message: message))
    case 408, 429, 502, 503, 504: return .retry
    case ..<400, 401, 402, 403, 404, 405, 406, 407, 411, 414, 415, 417, 421, 426, 431, 451, 501, 505, 511:
      return .misconfigured
    case 400..<500: return .final(.refused(status: String(status), message: message))
    default: return .doubtful(.refused(status: String(status), message: message))
    }
  }

  private var partialSuccess: (UInt64, String) {
    isProtobuf ? StoreReply.partialSuccess(body) : (0, "")
  }

  /// `partial_success` of an `ExportTraceServiceResponse`: how many spans were rejected, and why.
  static func partialSuccess(_ response: [UInt8]) -> (UInt64, String) {
    guard let partial = ReplyMessage(response).contents(1)?.last.map({ ReplyMessage($0) }) else {
      return (0, "")
    }
    // An int64: none is negative.
    return (UInt64(max(0, partial.number(1) ?? 0)), shortened(partial.contents(2)?.last ?? []))
  }

  /// What the store says: the message of a `google.rpc.Status`, or text.
  var message: String {
    StoreReply.shortened(isProtobuf ? ReplyMessage(body).contents(2)?.last ?? [] : body)
  }

  /// On one line, without anything that a terminal would obey.
  static func shortened(_ bytes: [UInt8]) -> String {
    let bytesMax = 4 * messageMax
    let text = String(decoding: bytes.prefix(bytesMax), as: UTF8.self)
    let line = MessageText.oneLine(text.trimmingCharacters(in: .whitespacesAndNewlines))
    return line.count <= messageMax && bytes.count <= bytesMax ? line : line.prefix(messageMax) + "…"
  }

  /// Seconds, or a date (RFC 9110, 10.2.3); nil if it is neither.
  static func retryAfter(_ text: String, now: Date) -> Int64? {
    if let seconds = Int64(text), seconds >= 0 { return min(seconds, retryAfterMax) }
    let format = DateFormatter()
    format.locale = Locale(identifier: "en_US_POSIX")
    format.timeZone = TimeZone(identifier: "GMT")
    format.dateFormat = "EEE, dd MMM yyyy HH:mm:ss 'GMT'"
    guard let date = format.date(from: text) else { return nil }
    return Int64(min(max(0, date.timeIntervalSince(now).rounded(.up)), Double(retryAfterMax)))
  }
}

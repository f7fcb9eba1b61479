// Why no broker can be reached: librdkafka's errors for each, gathered.

internal import CRdKafka

/// The errors that a client got while it tried to connect.
struct ConnectionTrouble {
  /// The last error of each broker, in the order of their first errors.
  private var reasons: [(broker: String, error: KafkaError)] = []
  private var allDownSince: ContinuousClock.Instant?

  /// A name may have several addresses, and the first may be the wrong one: after this long librdkafka has
  /// tried a few of them.
  private static let patience = Duration.seconds(1)
  private static let reasonsMax = 8

  mutating func note(_ error: KafkaError) {
    if error.known == .localAllBrokersDown {
      allDownSince = allDownSince ?? .now
      return
    }
    let text = ConnectionTrouble.lasting(error.message)
    let reason = KafkaError(
      rd_kafka_resp_err_t(rawValue: error.code), text, isFatal: error.isFatal, isRetriable: !error.isFatal)
    let broker = String(text.prefix { $0 != " " })
    if let index = reasons.firstIndex(where: { $0.broker == broker }) {
      reasons[index].error = reason
    } else if reasons.count < ConnectionTrouble.reasonsMax {
      reasons.append((broker, reason))
    }
  }

  /// The reasons as one error; nil while there is none. If it is retriable, the caller may try again.
  var error: KafkaError? {
    guard let first = reasons.first else { return nil }
    // Errors that need a fix come before transient ones.
    let main = reasons.first { ConnectionTrouble.isLasting($0.error) } ?? first
    let text = reasons.map(\.error.message).joined(separator: "; ")
    return KafkaError(
      rd_kafka_resp_err_t(rawValue: main.error.code), text, isFatal: main.error.isFatal,
      isRetriable: main.error.isRetriable)
  }

  /// The error once further waiting is pointless; nil before.
  var settledError: KafkaError? {
    guard let allDownSince, let error else { return nil }
    let isCertain = reasons.allSatisfy { ConnectionTrouble.isLasting($0.error) }
    return isCertain || allDownSince + ConnectionTrouble.patience <= .now ? error : nil
  }

  /// Whether another attempt will end the same way.
  private static func isLasting(_ error: KafkaError) -> Bool {
    [.localResolve, .localSsl, .localAuthentication, .saslAuthenticationFailed].contains(error.known)
  }

  /// The text without the parts that vary, such as
  /// ` (after 3ms in state CONNECT, 2 identical error(s) suppressed)`.
  private static func lasting(_ text: String) -> String {
    text.replacing(#/ \(after \d+ms in state [^)]*(\(s\)[^)]*)?\)/#, with: "")
  }
}

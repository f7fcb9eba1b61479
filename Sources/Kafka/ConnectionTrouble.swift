// Why no broker can be reached: what librdkafka says of each, gathered.

internal import CRdKafka

/// The reasons that a client has heard while it tried to connect.
struct ConnectionTrouble {
  /// The last error of each broker, in the order in which they first came.
  private var reasons: [(broker: String, error: KafkaError)] = []
  private var allDownSince: ContinuousClock.Instant?

  /// A name may stand for several addresses, of which the first is not the right one: librdkafka has tried a
  /// few of them after so long.
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

  /// The reasons as one error; nil while there is none. Who is told to wait may try it again.
  var error: KafkaError? {
    guard let first = reasons.first else { return nil }
    // What somebody has to mend comes before what may pass.
    let main = reasons.first { ConnectionTrouble.isLasting($0.error) } ?? first
    let text = reasons.map(\.error.message).joined(separator: "; ")
    return KafkaError(
      rd_kafka_resp_err_t(rawValue: main.error.code), text, isFatal: main.error.isFatal,
      isRetriable: main.error.isRetriable)
  }

  /// The error once it is of no use to wait any longer; nil before.
  var settledError: KafkaError? {
    guard let allDownSince, let error else { return nil }
    let isCertain = reasons.allSatisfy { ConnectionTrouble.isLasting($0.error) }
    return isCertain || allDownSince + ConnectionTrouble.patience <= .now ? error : nil
  }

  /// Whether another attempt will end the same way.
  private static func isLasting(_ error: KafkaError) -> Bool {
    [.localResolve, .localSsl, .localAuthentication, .saslAuthenticationFailed].contains(error.known)
  }

  /// The text without what differs each time, such as
  /// ` (after 3ms in state CONNECT, 2 identical error(s) suppressed)`.
  private static func lasting(_ text: String) -> String {
    text.replacing(#/ \(after \d+ms in state [^)]*(\(s\)[^)]*)?\)/#, with: "")
  }
}

// librdkafka's errors as one type.

internal import CRdKafka

/// What librdkafka, or a broker through it, says is wrong.
public struct KafkaError: Error, Equatable, Sendable, CustomStringConvertible {
  /// librdkafka's number (`rd_kafka_resp_err_t`): below zero its own, above zero the broker's.
  public let code: Int32
  /// The number's name, such as `_ALL_BROKERS_DOWN`.
  public let name: String
  /// What happened, for people.
  public let message: String
  /// Whether the client instance is of no use any more.
  public let isFatal: Bool
  /// Whether the same call may succeed later.
  public let isRetriable: Bool
  /// Whether the current transaction must be aborted.
  public let requiresAbort: Bool

  /// Name and message.
  public var description: String { "\(message) (\(name))" }

  init(_ code: rd_kafka_resp_err_t, _ message: String? = nil, isFatal: Bool = false) {
    self.code = code.rawValue
    // Sound: librdkafka returns static, terminated strings for every code.
    name = unsafe String(cString: rd_kafka_err2name(code))
    self.message = unsafe message ?? String(cString: rd_kafka_err2str(code))
    self.isFatal = isFatal || code == RD_KAFKA_RESP_ERR__FATAL
    isRetriable = code == RD_KAFKA_RESP_ERR__TIMED_OUT || code == RD_KAFKA_RESP_ERR__TRANSPORT
    requiresAbort = false
  }

  /// A time-out of the caller's own, with its reason.
  public init(timedOut reason: String) {
    self.init(RD_KAFKA_RESP_ERR__TIMED_OUT, reason)
  }

  /// Takes over an error object that librdkafka returned, and frees it. Nil for none.
  init?(taking error: OpaquePointer?) {
    guard let error = unsafe error else { return nil }
    code = unsafe rd_kafka_error_code(error).rawValue
    // Sound: the strings belong to the error object, which lives until the end of this initialiser.
    name = unsafe String(cString: rd_kafka_error_name(error))
    message = unsafe String(cString: rd_kafka_error_string(error))
    isFatal = unsafe rd_kafka_error_is_fatal(error) != 0
    isRetriable = unsafe rd_kafka_error_is_retriable(error) != 0
    requiresAbort = unsafe rd_kafka_error_txn_requires_abort(error) != 0
    unsafe rd_kafka_error_destroy(error)
  }

  /// Whether the producer's queue has no room.
  public var isQueueFull: Bool { code == RD_KAFKA_RESP_ERR__QUEUE_FULL.rawValue }
  /// Whether a record is larger than the client or the topic allows.
  public var isMessageTooLarge: Bool { code == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE.rawValue }
  /// Whether a topic or partition does not exist.
  public var isUnknownTopic: Bool {
    [
      RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC, RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION,
      RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART,
    ].contains { $0.rawValue == code }
  }
  /// Whether time ran out.
  public var isTimedOut: Bool {
    code == RD_KAFKA_RESP_ERR__TIMED_OUT.rawValue || code == RD_KAFKA_RESP_ERR__TIMED_OUT_QUEUE.rawValue
  }
  /// Whether the topic to be created is there already.
  public var isTopicThere: Bool { code == RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS.rawValue }
  /// Whether the client's own properties are wrong: no broker was asked.
  public var isConfiguration: Bool { code == RD_KAFKA_RESP_ERR__INVALID_ARG.rawValue }
  /// Whether the broker does not let this client do it.
  public var isAuthorization: Bool {
    [
      RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED,
      RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED, RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
      RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED, RD_KAFKA_RESP_ERR__AUTHENTICATION,
    ].contains { $0.rawValue == code }
  }
  /// Whether the member's generation or the group's state has moved on: the partitions are somebody else's.
  public var isStaleMember: Bool {
    [
      RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION, RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID,
      RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS, RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID,
      RD_KAFKA_RESP_ERR__ASSIGNMENT_LOST,
    ].contains { $0.rawValue == code }
  }
}

/// Throws unless `code` says that all is well.
func check(_ code: rd_kafka_resp_err_t) throws(KafkaError) {
  if code != RD_KAFKA_RESP_ERR_NO_ERROR { throw KafkaError(code) }
}

// librdkafka's errors as one type.

internal import CRdKafka

/// An error of librdkafka, or of a broker through it.
public struct KafkaError: Error, Equatable, Sendable, CustomStringConvertible {
  /// librdkafka's number (`rd_kafka_resp_err_t`): below zero its own, above zero the broker's.
  public let code: Int32
  /// The number's name, such as `_ALL_BROKERS_DOWN`.
  public let name: String
  /// What happened, for display.
  public let message: String
  /// Whether the client instance is no longer usable.
  public let isFatal: Bool
  /// Whether the same call may succeed later.
  public let isRetriable: Bool
  /// Whether the current transaction must be aborted.
  public let requiresAbort: Bool

  /// Name and message.
  public var description: String { "\(message) (\(name))" }

  /// The code by name; nil if this version does not know it.
  public var known: KafkaErrorCode? { KafkaErrorCode(rawValue: code) }

  /// Makes the error that librdkafka would report with `code`.
  ///
  /// - Parameter message: what happened; by default librdkafka's text for the code.
  public init(
    _ code: KafkaErrorCode, _ message: String? = nil, isFatal: Bool = false, isRetriable: Bool = false,
    requiresAbort: Bool = false
  ) {
    self.init(
      rd_kafka_resp_err_t(rawValue: code.rawValue), message, isFatal: isFatal, isRetriable: isRetriable,
      requiresAbort: requiresAbort)
  }

  init(
    _ code: rd_kafka_resp_err_t, _ message: String? = nil, isFatal: Bool = false, isRetriable: Bool = false,
    requiresAbort: Bool = false
  ) {
    self.code = code.rawValue
    // Sound: librdkafka returns static, terminated strings for every code.
    name = unsafe String(cString: rd_kafka_err2name(code))
    self.message = unsafe message ?? String(cString: rd_kafka_err2str(code))
    self.isFatal = isFatal || code == RD_KAFKA_RESP_ERR__FATAL
    self.isRetriable =
      isRetriable || code == RD_KAFKA_RESP_ERR__TIMED_OUT || code == RD_KAFKA_RESP_ERR__TRANSPORT
    self.requiresAbort = requiresAbort
  }

  /// A timeout of the caller's own, with its reason.
  public init(timedOut reason: String) {
    self.init(RD_KAFKA_RESP_ERR__TIMED_OUT, reason)
  }

  /// Takes an error object that librdkafka returned, and frees it. Nil for none.
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

  /// Whether no answer arrived, or not in time: brokers may have carried out the request, or may still do so.
  public var isUnanswered: Bool {
    isRetriable
      || [.localTimedOut, .localTimedOutQueue, .localTransport, .requestTimedOut].contains(known)
  }
  /// Whether the producer's queue has no room.
  public var isQueueFull: Bool { known == .localQueueFull }
  /// Whether a topic or partition does not exist.
  public var isUnknownTopic: Bool {
    [.localUnknownTopic, .localUnknownPartition, .unknownTopicOrPart].contains(known)
  }
  /// Whether the client's own properties are wrong: no broker was involved.
  public var isConfiguration: Bool { known == .localInvalidArg }
  /// Whether the client is not authorized.
  public var isAuthorization: Bool {
    [
      .topicAuthorizationFailed, .groupAuthorizationFailed, .clusterAuthorizationFailed,
      .transactionalIdAuthorizationFailed, .saslAuthenticationFailed, .localAuthentication,
    ].contains(known)
  }
  /// Whether brokers fenced this producer in favour of another with the same transactional id, or of a later
  /// epoch of it.
  public var isFenced: Bool {
    [.localFenced, .producerFenced, .invalidProducerEpoch].contains(known)
  }
}

/// Throws unless `code` means success.
func check(_ code: rd_kafka_resp_err_t) throws(KafkaError) {
  if code != RD_KAFKA_RESP_ERR_NO_ERROR { throw KafkaError(code) }
}

/// The codes that the librdkafka in use can report, without the markers at the ends of its ranges.
public func librdkafkaErrorCodes() -> [Int32] {
  var descriptions: UnsafePointer<rd_kafka_err_desc>?
  var count = 0
  unsafe rd_kafka_get_err_descs(&descriptions, &count)
  guard let descriptions = unsafe descriptions else { return [] }
  // Sound: librdkafka's table is static and has `count` rows; rows without a name are gaps.
  return (0..<count).compactMap { row in
    guard unsafe descriptions[row].name != nil else { return nil }
    return unsafe descriptions[row].code.rawValue
  }
}

// The remedy for each error of librdkafka: one table, without a default.
//
// An error object has flags besides its code: fatal, abortable, retriable. Those flags come first. The table
// is for calls that return a bare code.

internal import Kafka

extension KafkaErrorCode {
  /// The remedy for the code if librdkafka sets no flag.
  var remedy: BrokerError.Remedy {
    switch self {
    // A broker that is down, slow, or no longer the right one: librdkafka looks for another.
    case .localTransport, .localResolve, .localMsgTimedOut, .localAllBrokersDown, .localTimedOut,
      .localQueueFull, .localIsrInsuff, .localNodeUpdate, .localWaitCoord, .localInProgress,
      .localPrevInProgress, .localTimedOutQueue, .localWaitCache, .localIntr, .localPartial, .localRetry,
      .localUnknownBroker, .localOutdated, .localNoop, .leaderNotAvailable, .notLeaderForPartition,
      .requestTimedOut, .brokerNotAvailable, .replicaNotAvailable, .staleCtrlEpoch, .networkException,
      .coordinatorLoadInProgress, .coordinatorNotAvailable, .notCoordinator, .notEnoughReplicas,
      .notEnoughReplicasAfterAppend, .notController, .kafkaStorageError, .reassignmentInProgress,
      .fetchSessionIdNotFound, .invalidFetchSessionEpoch, .listenerNotFound, .fencedLeaderEpoch,
      .unknownLeaderEpoch, .staleBrokerEpoch, .offsetNotAvailable, .preferredLeaderNotAvailable,
      .eligibleLeadersNotAvailable, .throttlingQuotaExceeded, .unstableOffsetCommit,
      .concurrentTransactions, .operationNotAttempted, .localSsl:
      .retry
    // The group has moved on: the next rebalance gives this member its new assignment.
    case .illegalGeneration, .unknownMemberId, .rebalanceInProgress, .localAssignmentLost,
      .localMaxPollExceeded, .memberIdRequired, .fencedMemberEpoch, .localUnknownGroup, .localNoOffset,
      .localPartitionEof, .localAssignPartitions, .localRevokePartitions:
      .retry
    // An unreadable record or response: reading it again may succeed, and no offset is skipped.
    case .localBadMsg, .localBadCompression, .localUnderflow, .invalidMsg, .invalidMsgSize,
      .offsetOutOfRange, .localAutoOffsetReset, .localLogTruncation:
      .retry
    // Output since the last commit can't be trusted: it is aborted and done again.
    case .unknown, .localFail, .localState, .localConflict, .localInconsistent, .localPurgeQueue,
      .localPurgeInflight, .localGaplessGuarantee, .invalidTxnState, .outOfOrderSequenceNumber,
      .duplicateSequenceNumber, .unknownProducerId, .invalidProducerIdMapping,
      .transactionCoordinatorFenced, .transactionAbortable:
      .abort
    // Another client has replaced this one, or librdkafka has given up: only a new process can continue.
    case .localFatal, .localFenced, .producerFenced, .invalidProducerEpoch, .fencedInstanceId,
      .localDestroy, .localCritSysResource, .groupMaxSizeReached:
      .stop
    // Topics, permissions and settings: an operator has to change something, and a restart reads it again.
    // That includes records or metadata that are too large: limits are read at start, and the log replays.
    case .localUnknownPartition, .localUnknownTopic, .unknownTopicOrPart, .unknownTopicId, .topicException,
      .msgSizeTooLarge, .recordListTooLarge, .offsetMetadataTooLarge, .invalidCommitOffsetSize,
      .topicAuthorizationFailed, .groupAuthorizationFailed, .clusterAuthorizationFailed,
      .transactionalIdAuthorizationFailed, .saslAuthenticationFailed, .localAuthentication,
      .localInvalidArg, .localNotConfigured, .localFs, .localUnsupportedFeature, .localNotImplemented,
      .localUnknownProtocol, .localExistingSubscription, .invalidRequiredAcks, .inconsistentGroupProtocol,
      .invalidGroupId, .invalidSessionTimeout, .invalidTimestamp, .unsupportedSaslMechanism,
      .illegalSaslState, .unsupportedVersion, .topicAlreadyExists, .invalidPartitions,
      .invalidReplicationFactor, .invalidReplicaAssignment, .invalidConfig, .invalidRequest,
      .unsupportedForMessageFormat, .policyViolation, .invalidTransactionTimeout, .securityDisabled,
      .logDirNotFound, .unsupportedCompressionType, .topicDeletionDisabled, .invalidRecord:
      .stop
    // Codes of calls that are never made here: the meaning of one would be unknown.
    case .localKeySerialization, .localValueSerialization, .localKeyDeserialization,
      .localValueDeserialization, .localReadOnly, .localNoent, .localInvalidType, .localApplication,
      .delegationTokenAuthDisabled, .delegationTokenNotFound, .delegationTokenOwnerMismatch,
      .delegationTokenRequestNotAllowed, .delegationTokenAuthorizationFailed, .delegationTokenExpired,
      .invalidPrincipalType, .nonEmptyGroup, .groupIdNotFound, .electionNotNeeded,
      .noReassignmentInProgress, .groupSubscribedToTopic, .resourceNotFound, .duplicateResource,
      .unacceptableCredential, .inconsistentVoterSet, .invalidUpdateVersion, .featureUpdateFailed,
      .principalDeserializationFailure:
      .stop
    }
  }
}

extension BrokerError.Remedy {
  /// The remedy for a code missing from the table, as a newer librdkafka may report: the process reports it
  /// and ends, and the log replays. Retrying might go on forever.
  static let ofUnknownCode = BrokerError.Remedy.stop
}

extension KafkaError {
  /// The remedy for the error of a request that can be repeated.
  var remedy: BrokerError.Remedy {
    if isFatal { return .stop }
    if requiresAbort { return .abort }
    guard let known else { return isRetriable ? .retry : .ofUnknownCode }
    return isRetriable ? .retry : known.remedy
  }
}

extension BrokerError {
  /// Maps librdkafka's error to a lane's classes. Whether it is transient depends on its cause: a transaction
  /// aborted because a broker was down is.
  init(_ error: KafkaError, _ action: String) {
    let isTransient = !error.isFatal && (error.isRetriable || error.known?.remedy == .retry)
    self.init(error.remedy, "\(action): \(error)", isTransient: isTransient)
  }

  /// The same for a step that can't be repeated on its own, since output has moved on: instead of a retry,
  /// the whole transaction is aborted.
  init(inTransaction error: KafkaError, _ action: String) {
    self.init(error, action)
    if remedy == .retry { remedy = .abort }
  }
}

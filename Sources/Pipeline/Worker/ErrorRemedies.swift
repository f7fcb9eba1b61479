// What is done about each error of librdkafka: one table, without a default.
//
// A call that returns an error object says more than its code: fatal, abortable, retriable. Those flags come
// first. What is left to the table are calls that return a bare code.

internal import Kafka

extension KafkaErrorCode {
  /// What is done about the code where librdkafka does not say it itself.
  var remedy: BrokerError.Remedy {
    switch self {
    // A broker that is away, slow, or not the right one any more: librdkafka looks for another.
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
    // The group has moved on: the next rebalance says what this member reads now.
    case .illegalGeneration, .unknownMemberId, .rebalanceInProgress, .localAssignmentLost,
      .localMaxPollExceeded, .memberIdRequired, .fencedMemberEpoch, .localUnknownGroup, .localNoOffset,
      .localPartitionEof, .localAssignPartitions, .localRevokePartitions:
      .retry
    // A record or an answer that can't be read: reading it again may go well, and no offset is passed over.
    case .localBadMsg, .localBadCompression, .localUnderflow, .invalidMsg, .invalidMsgSize,
      .offsetOutOfRange, .localAutoOffsetReset, .localLogTruncation:
      .retry
    // What was written since the last commit is not to be trusted: it is given up and done again.
    case .unknown, .localFail, .localState, .localConflict, .localInconsistent, .localPurgeQueue,
      .localPurgeInflight, .localGaplessGuarantee, .invalidTxnState, .outOfOrderSequenceNumber,
      .duplicateSequenceNumber, .unknownProducerId, .invalidProducerIdMapping,
      .transactionCoordinatorFenced, .transactionAbortable:
      .abort
    // Another client is in this one's place, or librdkafka has given up: only a new process goes on.
    case .localFatal, .localFenced, .producerFenced, .invalidProducerEpoch, .fencedInstanceId,
      .localDestroy, .localCritSysResource, .groupMaxSizeReached:
      .stop
    // Topics, rights and settings: somebody has to change something, and a restart reads it anew. A record or
    // metadata that is too large is among them: limits are read at start, and the log replays.
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
    // Codes of calls that are never made here: if one comes, nobody knows what it means.
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
  /// What is done about a code that the table does not have, as a newer librdkafka may report: the process
  /// ends, says so, and the log replays. Trying again might go on for ever.
  static let ofUnknownCode = BrokerError.Remedy.stop
}

extension KafkaError {
  /// What is done about the error of a request that may be made again.
  var remedy: BrokerError.Remedy {
    if isFatal { return .stop }
    if requiresAbort { return .abort }
    guard let known else { return isRetriable ? .retry : .ofUnknownCode }
    return isRetriable ? .retry : known.remedy
  }
}

extension BrokerError {
  /// Sorts librdkafka's error into the classes that a lane tells apart. Whether it is transient is a matter
  /// of its cause: a transaction that has to be aborted because a broker was away is.
  init(_ error: KafkaError, _ action: String) {
    let isTransient = !error.isFatal && (error.isRetriable || error.known?.remedy == .retry)
    self.init(error.remedy, "\(action): \(error)", isTransient: isTransient)
  }

  /// The same for a step that can't be taken again by itself: what is written has moved on, so where the
  /// remedy is to try again, the whole transaction is given up.
  init(inTransaction error: KafkaError, _ action: String) {
    self.init(error, action)
    if remedy == .retry { remedy = .abort }
  }
}

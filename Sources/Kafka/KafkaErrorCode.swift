// Every error code that librdkafka 2.0 documents, by name, so that the handling of each is a decision.
//
// Source: `rd_kafka_resp_err_t` in rdkafka.h; the last four are from newer versions and from Kafka's protocol
// guide. A test checks whether the librdkafka in use knows more.

/// librdkafka's error codes: its own below zero, the brokers' above.
public enum KafkaErrorCode: Int32, CaseIterable, Sendable {
  /// `_BAD_MSG`.
  case localBadMsg = -199
  /// `_BAD_COMPRESSION`.
  case localBadCompression = -198
  /// `_DESTROY`.
  case localDestroy = -197
  /// `_FAIL`.
  case localFail = -196
  /// `_TRANSPORT`.
  case localTransport = -195
  /// `_CRIT_SYS_RESOURCE`.
  case localCritSysResource = -194
  /// `_RESOLVE`.
  case localResolve = -193
  /// `_MSG_TIMED_OUT`.
  case localMsgTimedOut = -192
  /// `_PARTITION_EOF`.
  case localPartitionEof = -191
  /// `_UNKNOWN_PARTITION`.
  case localUnknownPartition = -190
  /// `_FS`.
  case localFs = -189
  /// `_UNKNOWN_TOPIC`.
  case localUnknownTopic = -188
  /// `_ALL_BROKERS_DOWN`.
  case localAllBrokersDown = -187
  /// `_INVALID_ARG`.
  case localInvalidArg = -186
  /// `_TIMED_OUT`.
  case localTimedOut = -185
  /// `_QUEUE_FULL`.
  case localQueueFull = -184
  /// `_ISR_INSUFF`.
  case localIsrInsuff = -183
  /// `_NODE_UPDATE`.
  case localNodeUpdate = -182
  /// `_SSL`.
  case localSsl = -181
  /// `_WAIT_COORD`.
  case localWaitCoord = -180
  /// `_UNKNOWN_GROUP`.
  case localUnknownGroup = -179
  /// `_IN_PROGRESS`.
  case localInProgress = -178
  /// `_PREV_IN_PROGRESS`.
  case localPrevInProgress = -177
  /// `_EXISTING_SUBSCRIPTION`.
  case localExistingSubscription = -176
  /// `_ASSIGN_PARTITIONS`.
  case localAssignPartitions = -175
  /// `_REVOKE_PARTITIONS`.
  case localRevokePartitions = -174
  /// `_CONFLICT`.
  case localConflict = -173
  /// `_STATE`.
  case localState = -172
  /// `_UNKNOWN_PROTOCOL`.
  case localUnknownProtocol = -171
  /// `_NOT_IMPLEMENTED`.
  case localNotImplemented = -170
  /// `_AUTHENTICATION`.
  case localAuthentication = -169
  /// `_NO_OFFSET`.
  case localNoOffset = -168
  /// `_OUTDATED`.
  case localOutdated = -167
  /// `_TIMED_OUT_QUEUE`.
  case localTimedOutQueue = -166
  /// `_UNSUPPORTED_FEATURE`.
  case localUnsupportedFeature = -165
  /// `_WAIT_CACHE`.
  case localWaitCache = -164
  /// `_INTR`.
  case localIntr = -163
  /// `_KEY_SERIALIZATION`.
  case localKeySerialization = -162
  /// `_VALUE_SERIALIZATION`.
  case localValueSerialization = -161
  /// `_KEY_DESERIALIZATION`.
  case localKeyDeserialization = -160
  /// `_VALUE_DESERIALIZATION`.
  case localValueDeserialization = -159
  /// `_PARTIAL`.
  case localPartial = -158
  /// `_READ_ONLY`.
  case localReadOnly = -157
  /// `_NOENT`.
  case localNoent = -156
  /// `_UNDERFLOW`.
  case localUnderflow = -155
  /// `_INVALID_TYPE`.
  case localInvalidType = -154
  /// `_RETRY`.
  case localRetry = -153
  /// `_PURGE_QUEUE`.
  case localPurgeQueue = -152
  /// `_PURGE_INFLIGHT`.
  case localPurgeInflight = -151
  /// `_FATAL`.
  case localFatal = -150
  /// `_INCONSISTENT`.
  case localInconsistent = -149
  /// `_GAPLESS_GUARANTEE`.
  case localGaplessGuarantee = -148
  /// `_MAX_POLL_EXCEEDED`.
  case localMaxPollExceeded = -147
  /// `_UNKNOWN_BROKER`.
  case localUnknownBroker = -146
  /// `_NOT_CONFIGURED`.
  case localNotConfigured = -145
  /// `_FENCED`.
  case localFenced = -144
  /// `_APPLICATION`.
  case localApplication = -143
  /// `_ASSIGNMENT_LOST`.
  case localAssignmentLost = -142
  /// `_NOOP`.
  case localNoop = -141
  /// `_AUTO_OFFSET_RESET`.
  case localAutoOffsetReset = -140
  /// `UNKNOWN`.
  case unknown = -1
  /// `OFFSET_OUT_OF_RANGE`.
  case offsetOutOfRange = 1
  /// `INVALID_MSG`.
  case invalidMsg = 2
  /// `UNKNOWN_TOPIC_OR_PART`.
  case unknownTopicOrPart = 3
  /// `INVALID_MSG_SIZE`.
  case invalidMsgSize = 4
  /// `LEADER_NOT_AVAILABLE`.
  case leaderNotAvailable = 5
  /// `NOT_LEADER_FOR_PARTITION`.
  case notLeaderForPartition = 6
  /// `REQUEST_TIMED_OUT`.
  case requestTimedOut = 7
  /// `BROKER_NOT_AVAILABLE`.
  case brokerNotAvailable = 8
  /// `REPLICA_NOT_AVAILABLE`.
  case replicaNotAvailable = 9
  /// `MSG_SIZE_TOO_LARGE`.
  case msgSizeTooLarge = 10
  /// `STALE_CTRL_EPOCH`.
  case staleCtrlEpoch = 11
  /// `OFFSET_METADATA_TOO_LARGE`.
  case offsetMetadataTooLarge = 12
  /// `NETWORK_EXCEPTION`.
  case networkException = 13
  /// `COORDINATOR_LOAD_IN_PROGRESS`.
  case coordinatorLoadInProgress = 14
  /// `COORDINATOR_NOT_AVAILABLE`.
  case coordinatorNotAvailable = 15
  /// `NOT_COORDINATOR`.
  case notCoordinator = 16
  /// `TOPIC_EXCEPTION`.
  case topicException = 17
  /// `RECORD_LIST_TOO_LARGE`.
  case recordListTooLarge = 18
  /// `NOT_ENOUGH_REPLICAS`.
  case notEnoughReplicas = 19
  /// `NOT_ENOUGH_REPLICAS_AFTER_APPEND`.
  case notEnoughReplicasAfterAppend = 20
  /// `INVALID_REQUIRED_ACKS`.
  case invalidRequiredAcks = 21
  /// `ILLEGAL_GENERATION`.
  case illegalGeneration = 22
  /// `INCONSISTENT_GROUP_PROTOCOL`.
  case inconsistentGroupProtocol = 23
  /// `INVALID_GROUP_ID`.
  case invalidGroupId = 24
  /// `UNKNOWN_MEMBER_ID`.
  case unknownMemberId = 25
  /// `INVALID_SESSION_TIMEOUT`.
  case invalidSessionTimeout = 26
  /// `REBALANCE_IN_PROGRESS`.
  case rebalanceInProgress = 27
  /// `INVALID_COMMIT_OFFSET_SIZE`.
  case invalidCommitOffsetSize = 28
  /// `TOPIC_AUTHORIZATION_FAILED`.
  case topicAuthorizationFailed = 29
  /// `GROUP_AUTHORIZATION_FAILED`.
  case groupAuthorizationFailed = 30
  /// `CLUSTER_AUTHORIZATION_FAILED`.
  case clusterAuthorizationFailed = 31
  /// `INVALID_TIMESTAMP`.
  case invalidTimestamp = 32
  /// `UNSUPPORTED_SASL_MECHANISM`.
  case unsupportedSaslMechanism = 33
  /// `ILLEGAL_SASL_STATE`.
  case illegalSaslState = 34
  /// `UNSUPPORTED_VERSION`.
  case unsupportedVersion = 35
  /// `TOPIC_ALREADY_EXISTS`.
  case topicAlreadyExists = 36
  /// `INVALID_PARTITIONS`.
  case invalidPartitions = 37
  /// `INVALID_REPLICATION_FACTOR`.
  case invalidReplicationFactor = 38
  /// `INVALID_REPLICA_ASSIGNMENT`.
  case invalidReplicaAssignment = 39
  /// `INVALID_CONFIG`.
  case invalidConfig = 40
  /// `NOT_CONTROLLER`.
  case notController = 41
  /// `INVALID_REQUEST`.
  case invalidRequest = 42
  /// `UNSUPPORTED_FOR_MESSAGE_FORMAT`.
  case unsupportedForMessageFormat = 43
  /// `POLICY_VIOLATION`.
  case policyViolation = 44
  /// `OUT_OF_ORDER_SEQUENCE_NUMBER`.
  case outOfOrderSequenceNumber = 45
  /// `DUPLICATE_SEQUENCE_NUMBER`.
  case duplicateSequenceNumber = 46
  /// `INVALID_PRODUCER_EPOCH`.
  case invalidProducerEpoch = 47
  /// `INVALID_TXN_STATE`.
  case invalidTxnState = 48
  /// `INVALID_PRODUCER_ID_MAPPING`.
  case invalidProducerIdMapping = 49
  /// `INVALID_TRANSACTION_TIMEOUT`.
  case invalidTransactionTimeout = 50
  /// `CONCURRENT_TRANSACTIONS`.
  case concurrentTransactions = 51
  /// `TRANSACTION_COORDINATOR_FENCED`.
  case transactionCoordinatorFenced = 52
  /// `TRANSACTIONAL_ID_AUTHORIZATION_FAILED`.
  case transactionalIdAuthorizationFailed = 53
  /// `SECURITY_DISABLED`.
  case securityDisabled = 54
  /// `OPERATION_NOT_ATTEMPTED`.
  case operationNotAttempted = 55
  /// `KAFKA_STORAGE_ERROR`.
  case kafkaStorageError = 56
  /// `LOG_DIR_NOT_FOUND`.
  case logDirNotFound = 57
  /// `SASL_AUTHENTICATION_FAILED`.
  case saslAuthenticationFailed = 58
  /// `UNKNOWN_PRODUCER_ID`.
  case unknownProducerId = 59
  /// `REASSIGNMENT_IN_PROGRESS`.
  case reassignmentInProgress = 60
  /// `DELEGATION_TOKEN_AUTH_DISABLED`.
  case delegationTokenAuthDisabled = 61
  /// `DELEGATION_TOKEN_NOT_FOUND`.
  case delegationTokenNotFound = 62
  /// `DELEGATION_TOKEN_OWNER_MISMATCH`.
  case delegationTokenOwnerMismatch = 63
  /// `DELEGATION_TOKEN_REQUEST_NOT_ALLOWED`.
  case delegationTokenRequestNotAllowed = 64
  /// `DELEGATION_TOKEN_AUTHORIZATION_FAILED`.
  case delegationTokenAuthorizationFailed = 65
  /// `DELEGATION_TOKEN_EXPIRED`.
  case delegationTokenExpired = 66
  /// `INVALID_PRINCIPAL_TYPE`.
  case invalidPrincipalType = 67
  /// `NON_EMPTY_GROUP`.
  case nonEmptyGroup = 68
  /// `GROUP_ID_NOT_FOUND`.
  case groupIdNotFound = 69
  /// `FETCH_SESSION_ID_NOT_FOUND`.
  case fetchSessionIdNotFound = 70
  /// `INVALID_FETCH_SESSION_EPOCH`.
  case invalidFetchSessionEpoch = 71
  /// `LISTENER_NOT_FOUND`.
  case listenerNotFound = 72
  /// `TOPIC_DELETION_DISABLED`.
  case topicDeletionDisabled = 73
  /// `FENCED_LEADER_EPOCH`.
  case fencedLeaderEpoch = 74
  /// `UNKNOWN_LEADER_EPOCH`.
  case unknownLeaderEpoch = 75
  /// `UNSUPPORTED_COMPRESSION_TYPE`.
  case unsupportedCompressionType = 76
  /// `STALE_BROKER_EPOCH`.
  case staleBrokerEpoch = 77
  /// `OFFSET_NOT_AVAILABLE`.
  case offsetNotAvailable = 78
  /// `MEMBER_ID_REQUIRED`.
  case memberIdRequired = 79
  /// `PREFERRED_LEADER_NOT_AVAILABLE`.
  case preferredLeaderNotAvailable = 80
  /// `GROUP_MAX_SIZE_REACHED`.
  case groupMaxSizeReached = 81
  /// `FENCED_INSTANCE_ID`.
  case fencedInstanceId = 82
  /// `ELIGIBLE_LEADERS_NOT_AVAILABLE`.
  case eligibleLeadersNotAvailable = 83
  /// `ELECTION_NOT_NEEDED`.
  case electionNotNeeded = 84
  /// `NO_REASSIGNMENT_IN_PROGRESS`.
  case noReassignmentInProgress = 85
  /// `GROUP_SUBSCRIBED_TO_TOPIC`.
  case groupSubscribedToTopic = 86
  /// `INVALID_RECORD`.
  case invalidRecord = 87
  /// `UNSTABLE_OFFSET_COMMIT`.
  case unstableOffsetCommit = 88
  /// `THROTTLING_QUOTA_EXCEEDED`.
  case throttlingQuotaExceeded = 89
  /// `PRODUCER_FENCED`.
  case producerFenced = 90
  /// `RESOURCE_NOT_FOUND`.
  case resourceNotFound = 91
  /// `DUPLICATE_RESOURCE`.
  case duplicateResource = 92
  /// `UNACCEPTABLE_CREDENTIAL`.
  case unacceptableCredential = 93
  /// `INCONSISTENT_VOTER_SET`.
  case inconsistentVoterSet = 94
  /// `INVALID_UPDATE_VERSION`.
  case invalidUpdateVersion = 95
  /// `FEATURE_UPDATE_FAILED`.
  case featureUpdateFailed = 96
  /// `PRINCIPAL_DESERIALIZATION_FAILURE`.
  case principalDeserializationFailure = 97
  /// `_LOG_TRUNCATION`, from librdkafka 2.1.
  case localLogTruncation = -139
  /// `UNKNOWN_TOPIC_ID`.
  case unknownTopicId = 100
  /// `FENCED_MEMBER_EPOCH`.
  case fencedMemberEpoch = 110
  /// `TRANSACTION_ABORTABLE` (KIP-890).
  case transactionAbortable = 120
}

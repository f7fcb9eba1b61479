// librdkafka's own mock cluster: brokers in this process, for the demo and for tests.

internal import CRdKafka

/// Brokers that live in this process and lose everything with it. A partition holds about 5 MB.
@safe
public final class MockCluster {
  private let handle: ClientHandle
  private let cluster: OpaquePointer

  /// Starts `brokers` brokers on ports of their own.
  public init(brokers: Int32 = 1) throws(KafkaError) {
    handle = try ClientHandle(.producer, [KafkaProperty("client.id", "tailrace-mock")], log: { _ in })
    guard let cluster = unsafe rd_kafka_mock_cluster_new(handle.pointer, brokers) else {
      throw KafkaError(RD_KAFKA_RESP_ERR__FAIL)
    }
    unsafe self.cluster = cluster
  }

  deinit {
    // Sound: owned only by this object, destroyed once, before the client that it runs on.
    unsafe rd_kafka_mock_cluster_destroy(cluster)
  }

  /// The value for `bootstrap.servers`.
  public var bootstrapServers: String {
    // Sound: the string belongs to the cluster, which outlives the call.
    unsafe String(cString: rd_kafka_mock_cluster_bootstraps(cluster))
  }

  /// Creates a topic.
  public func createTopic(_ name: String, partitions: Int32, replicationFactor: Int32 = 1) throws(KafkaError)
  {
    try check(unsafe rd_kafka_mock_topic_create(cluster, name, partitions, replicationFactor))
  }

  /// Takes a partition's leader away.
  public func takeLeader(ofPartition partition: Int32, of topic: String) throws(KafkaError) {
    try check(unsafe rd_kafka_mock_partition_set_leader(cluster, topic, partition, -1))
  }

  /// Answers the next requests of a kind with errors, to test how a client handles them.
  ///
  /// - Parameters:
  ///   - api: the kind's number in the Kafka protocol.
  ///   - codes: the brokers' error codes, one for each request.
  public func failNext(api: Int16, with codes: [Int32]) {
    let errors = codes.map { rd_kafka_resp_err_t(rawValue: $0) }
    // Sound: the array is read only during the call.
    unsafe rd_kafka_mock_push_request_errors_array(cluster, api, errors.count, errors)
  }
}

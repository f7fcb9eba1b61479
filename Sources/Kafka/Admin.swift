// Describes topics, and creates missing ones.

internal import CRdKafka

/// A topic and its size.
public struct TopicDescription: Equatable, Sendable {
  /// Its name.
  public var name: String
  /// How many partitions it has.
  public var partitions: Int
}

/// A topic to create.
public struct TopicSpecification: Sendable {
  /// Its name.
  public var name: String
  /// How many partitions to create.
  public var partitions: Int32
  /// How many replicas of each; -1 for the broker's default.
  public var replicationFactor: Int32
  /// Its configuration, such as `message.timestamp.type`.
  public var configuration: [KafkaProperty]

  /// Describes a topic to create.
  public init(name: String, partitions: Int32, replicationFactor: Int32, configuration: [KafkaProperty] = [])
  {
    self.name = name
    self.partitions = partitions
    self.replicationFactor = replicationFactor
    self.configuration = configuration
  }
}

/// Asks brokers about topics and creates them.
///
/// Used from one thread.
public final class Admin {
  private let handle: ClientHandle

  /// Makes an administration client.
  public init(properties: [KafkaProperty], log: @escaping KafkaLog) throws(KafkaError) {
    handle = try ClientHandle(.producer, properties, log: log)
  }

  /// Describes topics, in the order of the names; nil for each that does not exist.
  ///
  /// - Parameter isCancelled: called several times a second while no broker can be reached.
  /// - Throws: if no broker answers within `timeout`, or one refuses. If none can be reached, the error has
  ///   librdkafka's reasons and is thrown as soon as they are known.
  public func describe(
    _ names: [String], timeout: Duration, isCancelled: () -> Bool = { false }
  ) throws(KafkaError) -> [TopicDescription?] {
    let metadata = try unsafe metadata(until: .now + timeout, isCancelled)
    guard let metadata = unsafe metadata else { return names.map { _ in nil } }
    // Sound: the metadata is ours until it is destroyed below; counts and texts are read within it.
    defer { unsafe rd_kafka_metadata_destroy(metadata) }
    var found: [String: TopicDescription] = [:]
    for index in 0..<Int(unsafe metadata.pointee.topic_cnt) {
      let topic = unsafe metadata.pointee.topics[index]
      let name = unsafe String(cString: topic.topic)
      guard names.contains(name) else { continue }
      let code = unsafe topic.err
      if code != RD_KAFKA_RESP_ERR_NO_ERROR, !KafkaError(code).isUnknownTopic { throw KafkaError(code) }
      let partitions = Int(unsafe topic.partition_cnt)
      if partitions > 0 { found[name] = TopicDescription(name: name, partitions: partitions) }
    }
    return names.map { found[$0] }
  }

  /// Creates a topic, unless it already exists.
  public func create(_ topic: TopicSpecification, timeout: Duration) throws(KafkaError) {
    var message = [CChar](repeating: 0, count: 512)
    let specification = unsafe rd_kafka_NewTopic_new(
      topic.name, topic.partitions, topic.replicationFactor, &message, message.count)
    guard let specification = unsafe specification else {
      throw KafkaError(RD_KAFKA_RESP_ERR__INVALID_ARG, message.text)
    }
    // Sound: specification, queue and event are ours and freed once, at the end of the call.
    defer { unsafe rd_kafka_NewTopic_destroy(specification) }
    for property in topic.configuration {
      try check(unsafe rd_kafka_NewTopic_set_config(specification, property.name, property.value))
    }
    let event = try unsafe request(timeout) { queue in
      var topics: [OpaquePointer?] = unsafe [specification]
      unsafe rd_kafka_CreateTopics(handle.pointer, &topics, 1, nil, queue)
    }
    defer { unsafe rd_kafka_event_destroy(event) }
    var count = 0
    guard
      let results = unsafe rd_kafka_CreateTopics_result_topics(
        rd_kafka_event_CreateTopics_result(event), &count),
      count > 0, let result = unsafe results[0]
    else { return }
    let code = unsafe rd_kafka_topic_result_error(result)
    guard code != RD_KAFKA_RESP_ERR_NO_ERROR, code != RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS else { return }
    throw KafkaError(
      code, unsafe rd_kafka_topic_result_error_string(result).map { unsafe String(cString: $0) })
  }

  /// How long to wait for a cluster without a controller to elect one.
  private static let controllerPatience = Duration.seconds(1)

  /// Values of a topic's configuration, by name.
  public func configuration(of topic: String, timeout: Duration) throws(KafkaError) -> [String: String] {
    // librdkafka asks the controller. If there is none, as in its own mock cluster, it would wait for one for
    // all of `timeout`.
    let patience = min(timeout, Admin.controllerPatience)
    guard unsafe rd_kafka_controllerid(handle.pointer, patience.milliseconds) >= 0 else {
      throw KafkaError(timedOut: "the cluster has no controller")
    }
    guard let resource = unsafe rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, topic) else {
      throw KafkaError(RD_KAFKA_RESP_ERR__INVALID_ARG)
    }
    // Sound: as in `create`.
    defer { unsafe rd_kafka_ConfigResource_destroy(resource) }
    let event = try unsafe request(timeout) { queue in
      var resources: [OpaquePointer?] = unsafe [resource]
      unsafe rd_kafka_DescribeConfigs(handle.pointer, &resources, 1, nil, queue)
    }
    defer { unsafe rd_kafka_event_destroy(event) }
    var count = 0
    let results = unsafe rd_kafka_DescribeConfigs_result_resources(
      rd_kafka_event_DescribeConfigs_result(event), &count)
    guard let results = unsafe results, count > 0, let described = unsafe results[0] else { return [:] }
    try check(unsafe rd_kafka_ConfigResource_error(described))
    var entryCount = 0
    let entries = unsafe rd_kafka_ConfigResource_configs(described, &entryCount)
    var values: [String: String] = [:]
    for index in 0..<entryCount {
      guard let entry = unsafe entries?[index], let name = unsafe rd_kafka_ConfigEntry_name(entry),
        let value = unsafe rd_kafka_ConfigEntry_value(entry)
      else { continue }
      values[unsafe String(cString: name)] = unsafe String(cString: value)
    }
    return values
  }

  /// The brokers' metadata, which the caller destroys.
  ///
  /// librdkafka first waits for a broker, without a reason if it can't reach one: so the calls are short,
  /// with its errors read in between. Each timeout doubles the next step, which gives a sent request time.
  private func metadata(
    until deadline: ContinuousClock.Instant, _ isCancelled: () -> Bool
  ) throws(KafkaError) -> UnsafePointer<rd_kafka_metadata>? {
    var trouble = ConnectionTrouble()
    var step = Admin.firstStep
    while true {
      let left = deadline - .now
      guard left > .zero, !isCancelled() else {
        throw trouble.error ?? KafkaError(RD_KAFKA_RESP_ERR__TIMED_OUT)
      }
      var metadata: UnsafePointer<rd_kafka_metadata>?
      // All topics at once: asking for one by name may create it, if the broker auto-creates topics.
      let code = unsafe rd_kafka_metadata(handle.pointer, 1, nil, &metadata, min(step, left).milliseconds)
      switch code {
      case RD_KAFKA_RESP_ERR_NO_ERROR: return unsafe metadata
      case RD_KAFKA_RESP_ERR__TIMED_OUT: step = step * 2
      case RD_KAFKA_RESP_ERR__TRANSPORT: break
      default: throw KafkaError(code)
      }
      // Its callbacks record errors in the context.
      unsafe rd_kafka_poll(handle.pointer, 0)
      for event in handle.context.takeEvents() { if case .error(let error) = event { trouble.note(error) } }
      if let error = trouble.settledError { throw error }
    }
  }

  private static let firstStep = Duration.milliseconds(250)

  /// Sends a request with its own queue and waits for the answer.
  private func request(
    _ timeout: Duration, _ send: (OpaquePointer) -> Void
  ) throws(KafkaError) -> OpaquePointer {
    guard let queue = unsafe rd_kafka_queue_new(handle.pointer) else {
      throw KafkaError(RD_KAFKA_RESP_ERR__FAIL)
    }
    // Sound: the queue is ours and freed once; the event is returned to the caller, who frees it.
    defer { unsafe rd_kafka_queue_destroy(queue) }
    unsafe send(queue)
    guard let event = unsafe rd_kafka_queue_poll(queue, timeout.milliseconds) else {
      throw KafkaError(RD_KAFKA_RESP_ERR__TIMED_OUT)
    }
    let code = unsafe rd_kafka_event_error(event)
    if code != RD_KAFKA_RESP_ERR_NO_ERROR {
      let text = unsafe rd_kafka_event_error_string(event).map { unsafe String(cString: $0) }
      unsafe rd_kafka_event_destroy(event)
      throw KafkaError(code, text)
    }
    return unsafe event
  }
}

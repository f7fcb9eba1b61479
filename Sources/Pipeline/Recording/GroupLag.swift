// How far a fleet's group is behind the end of its input.

public import Kafka
public import Topology

/// Asks for a group's committed offsets, without being a member of it.
public final class GroupLag {
  /// A partition's committed offset, nil if there is none, and the end of its log.
  public struct Partition: Sendable {
    /// Its partition.
    public var partition: Int32
    /// The group's committed offset; nil if there is none.
    public var committed: Int64?
    /// Where its log ends.
    public var end: Int64
  }

  private let reader: Consumer
  private let places: [TopicPartition]

  private static let requestTimeout = Duration.seconds(10)

  /// - Parameter topology: names the group and its input.
  public init(_ topology: Topology) throws(KafkaError) {
    let plan = LanePlan(topology)
    let topic = topology.input.name
    let count = try StretchReader.partitionCount(of: topic, topology)
    places = (0..<count).map { TopicPartition(topic, $0) }
    let properties =
      plan.properties.forConsumers.filter { $0.name != "group.instance.id" }
      + [KafkaProperty("group.id", plan.group)]
    reader = try LibrdkafkaClients(log: { _ in }).makeReader(topic: topic, properties: properties)
  }

  /// What the brokers say now.
  public func read() throws(KafkaError) -> [Partition] {
    let committed = try reader.committed(places, timeout: GroupLag.requestTimeout)
    let ends = try reader.lookUp(
      places.map { PartitionOffset($0, offset: PartitionOffset.end) }, timeout: GroupLag.requestTimeout)
    return zip(committed, ends).map { committed, end in
      Partition(
        partition: end.topicPartition.partition, committed: committed.offset >= 0 ? committed.offset : nil,
        end: end.offset)
    }
  }

  /// Leaves the brokers without waiting for them.
  public func abandon() { reader.abandon() }
}

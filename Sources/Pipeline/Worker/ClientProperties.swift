// librdkafka warns about properties of the other kind of client: each kind gets its own.

internal import Kafka

extension [KafkaProperty] {
  /// Those that a consumer takes.
  var forConsumers: [KafkaProperty] { filter { !producerOnly.contains($0.name) } }

  /// Those that a producer, or a client for administration, takes.
  var forProducers: [KafkaProperty] {
    filter { !consumerOnly.contains($0.name) && !$0.name.hasPrefix("fetch.") }
  }
}

private let consumerOnly: Set = [
  "group.instance.id", "partition.assignment.strategy", "session.timeout.ms", "heartbeat.interval.ms",
  "max.poll.interval.ms", "auto.offset.reset", "isolation.level", "check.crcs", "queued.min.messages",
  "queued.max.messages.kbytes", "client.rack", "allow.auto.create.topics",
]

private let producerOnly: Set = [
  "acks", "request.required.acks", "linger.ms", "queue.buffering.max.ms", "batch.size", "batch.num.messages",
  "compression.type", "compression.codec", "compression.level", "enable.idempotence", "transactional.id",
  "transaction.timeout.ms", "message.timeout.ms", "delivery.timeout.ms", "retries",
  "message.send.max.retries", "retry.backoff.ms", "partitioner", "queue.buffering.max.messages",
  "queue.buffering.max.kbytes", "request.timeout.ms", "sticky.partitioning.linger.ms",
]

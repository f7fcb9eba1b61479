// Reads the headers of one partition's records with plain librdkafka, without the wrapper's consumer.

import CRdKafka
import Kafka

/// The headers of the first `count` records of a partition.
func readHeaders(
  _ cluster: RunningCluster, topic: String, partition: Int32, count: Int
) throws -> [[String]] {
  var message = [CChar](repeating: 0, count: 512)
  let configuration = unsafe rd_kafka_conf_new()
  for property in cluster.properties {
    unsafe rd_kafka_conf_set(configuration, property.name, property.value, &message, message.count)
  }
  // Sound: client and topic are made and destroyed here; messages are read before they are destroyed.
  let client = unsafe rd_kafka_new(RD_KAFKA_CONSUMER, configuration, &message, message.count)
  let handle = unsafe rd_kafka_topic_new(client, topic, nil)
  unsafe rd_kafka_consume_start(handle, partition, 0)
  defer {
    unsafe rd_kafka_consume_stop(handle, partition)
    unsafe rd_kafka_topic_destroy(handle)
    unsafe rd_kafka_destroy(client)
  }
  var headers: [[String]] = []
  try wait(for: "\(count) records with headers") {
    guard let record = unsafe rd_kafka_consume(handle, partition, 5) else { return false }
    defer { unsafe rd_kafka_message_destroy(record) }
    guard unsafe record.pointee.err == RD_KAFKA_RESP_ERR_NO_ERROR else { return false }
    headers.append(unsafe read(record))
    return headers.count == count
  }
  return headers
}

/// The headers of one message as `name=value`.
private func read(_ record: UnsafeMutablePointer<rd_kafka_message_t>) -> [String] {
  var list: OpaquePointer?
  guard unsafe rd_kafka_message_headers(record, &list) == RD_KAFKA_RESP_ERR_NO_ERROR else { return [] }
  var headers: [String] = []
  var name: UnsafePointer<CChar>?
  var value: UnsafeRawPointer?
  var size = 0
  // Sound: names and values belong to the message and are copied.
  while unsafe rd_kafka_header_get_all(list, headers.count, &name, &value, &size)
    == RD_KAFKA_RESP_ERR_NO_ERROR
  {
    let text = unsafe String(decoding: UnsafeRawBufferPointer(start: value, count: size), as: UTF8.self)
    headers.append("\(unsafe name.map { unsafe String(cString: $0) } ?? "")=\(text)")
  }
  return headers
}

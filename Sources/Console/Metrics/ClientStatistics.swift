// The key figures of librdkafka's statistics:
// https://github.com/confluentinc/librdkafka/blob/master/STATISTICS.md

internal import Foundation

/// The statistics of one client that are shown.
struct ClientStatistics: Decodable {
  /// Records waiting to be sent or acknowledged.
  var msg_cnt: UInt64 = 0
  /// Their bytes.
  var msg_size: UInt64 = 0
  /// Bytes sent to brokers,
  var tx_bytes: UInt64 = 0
  /// and received.
  var rx_bytes: UInt64 = 0
  /// Requests sent.
  var tx: UInt64 = 0
  var brokers: [String: Broker] = [:]
  var topics: [String: Topic] = [:]

  struct Broker: Decodable {
    /// -1 for a bootstrap address, or a logical broker such as the coordinator.
    var nodeid: Int
    var txerrs: UInt64
    var rxerrs: UInt64
    var req_timeouts: UInt64
    /// Microseconds since it last sent bytes; negative if it never did.
    var rxidle: Int64?
    /// Round trips of requests, in microseconds.
    var rtt: Window

    struct Window: Decodable {
      var avg: Int64
      var p99: Int64
      var cnt: Int64
    }
  }

  struct Topic: Decodable {
    var partitions: [String: Partition]
  }

  struct Partition: Decodable {
    /// Records fetched and not yet read.
    var fetchq_cnt: UInt64
    /// Their bytes.
    var fetchq_size: UInt64
  }

  /// How long no broker had answered this client at the time of the statistics; nil if they list none.
  var silence: Duration? {
    brokers.values.compactMap(\.rxidle).filter { $0 >= 0 }.min().map { .microseconds($0) }
  }

  /// No statistics yet.
  init() {}

  /// Reads librdkafka's JSON; empty if a version writes something else.
  init(reading json: [UInt8]) {
    self = (try? JSONDecoder().decode(ClientStatistics.self, from: Data(json))) ?? ClientStatistics()
  }
}

/// All lanes' clients of one kind.
struct ClientFigures {
  private let statistics: [ClientStatistics]

  /// - Parameter texts: each client's last statistics.
  init(_ texts: [[UInt8]]) {
    statistics = texts.map(ClientStatistics.init(reading:))
  }

  func sum(_ path: KeyPath<ClientStatistics, UInt64>) -> UInt64 {
    statistics.reduce(0) { $0 + $1[keyPath: path] }
  }

  func errors(_ path: KeyPath<ClientStatistics.Broker, UInt64>) -> UInt64 {
    statistics.reduce(0) { sum, client in client.brokers.values.reduce(sum) { $0 + $1[keyPath: path] } }
  }

  func fetched(_ path: KeyPath<ClientStatistics.Partition, UInt64>) -> UInt64 {
    var sum: UInt64 = 0
    for topic in statistics.flatMap(\.topics.values) {
      for partition in topic.partitions.values { sum += partition[keyPath: path] }
    }
    return sum
  }

  /// The slowest lane's round trip to each broker, in seconds, by the broker's number.
  func roundTrips(_ path: KeyPath<ClientStatistics.Broker.Window, Int64>) -> [Int: Double] {
    var slowest: [Int: Double] = [:]
    for broker in statistics.flatMap(\.brokers.values) where broker.nodeid >= 0 && broker.rtt.cnt > 0 {
      slowest[broker.nodeid] = max(slowest[broker.nodeid] ?? 0, Double(broker.rtt[keyPath: path]) / 1e6)
    }
    return slowest
  }
}

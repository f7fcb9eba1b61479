// Statistics of librdkafka's clients.

extension MetricSection {
  static let connections: [Metric] = [
    .counter("tailrace_kafka_sent_bytes_total", "Bytes sent to brokers", .bytes, by: "client") {
      $0.byClient { $0.sum(\.tx_bytes) }
    },
    .counter("tailrace_kafka_received_bytes_total", "Bytes received from brokers", .bytes, by: "client") {
      $0.byClient { $0.sum(\.rx_bytes) }
    },
    .counter("tailrace_kafka_requests_total", "Requests sent to brokers", by: "client") {
      $0.byClient { $0.sum(\.tx) }
    },
    .counter(
      "tailrace_kafka_request_errors_total",
      "Requests that failed in transit (send, receive) or were not answered in time (timeout)",
      by: ["client", "kind"]
    ) { scrape in
      let kinds: [(String, KeyPath<ClientStatistics.Broker, UInt64>)] = [
        ("receive", \.rxerrs), ("send", \.txerrs), ("timeout", \.req_timeouts),
      ]
      return scrape.clients.flatMap { client, figures in
        kinds.map { kind, path in Metric.Sample([client, kind], figures.errors(path)) }
      }
    },
    .gauge(
      "tailrace_kafka_round_trip_seconds",
      "The slowest lane's round trips to a broker in the last seconds, mean and p99", .seconds,
      by: ["client", "broker", "statistic"]
    ) { scrape in
      let trips: [(String, KeyPath<ClientStatistics.Broker.Window, Int64>)] = [
        ("mean", \.avg), ("p99", \.p99),
      ]
      return scrape.clients.flatMap { client, figures in
        trips.flatMap { statistic, path in
          figures.roundTrips(path).sorted { $0.key < $1.key }.map { broker, seconds in
            Metric.Sample([client, "\(broker)", statistic], seconds)
          }
        }
      }
    },
  ]

  static let queues: [Metric] = [
    .gauge("tailrace_kafka_produce_queue_records", "Records waiting to be sent or acknowledged") {
      Double($0.producers.sum(\.msg_cnt))
    },
    .gauge(
      "tailrace_kafka_produce_queue_bytes", "Bytes of the records waiting to be sent or acknowledged",
      .bytes
    ) { Double($0.producers.sum(\.msg_size)) },
    .gauge("tailrace_kafka_fetch_queue_records", "Records fetched and not yet read") {
      Double($0.consumers.fetched(\.fetchq_cnt))
    },
    .gauge(
      "tailrace_kafka_fetch_queue_bytes", "Bytes of the records fetched and not yet read",
      .bytes
    ) { Double($0.consumers.fetched(\.fetchq_size)) },
  ]
}

extension Scrape {
  fileprivate var clients: [(String, ClientFigures)] { [("consumer", consumers), ("producer", producers)] }

  fileprivate func byClient(_ value: (ClientFigures) -> UInt64) -> [String: UInt64] {
    Dictionary(uniqueKeysWithValues: clients.map { ($0.0, value($0.1)) })
  }
}

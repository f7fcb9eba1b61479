// librdkafka warns about properties of the other kind of client, so each kind gets only its own.

internal import Files
internal import Kafka
internal import Sampling
internal import Synchronization
public import Topology

extension Topology {
  /// Why this topology's clients can't be made on this host, one line each, without secret values: a missing
  /// certificate, contradictory properties. Clients are made and dropped; they connect to nothing.
  ///
  /// - Parameter files: whether files may be opened. If not, properties that need some are left out.
  public func clientProblems(files: FileReferences) -> [String] {
    let plan = LanePlan(self)
    let properties = files == .read ? plan.properties.forTrial : plan.properties.forTrial.withoutFiles
    let transactional =
      plan.transactionalID.map {
        [KafkaProperty].transactional($0, commitInterval: plan.commitInterval)
      } ?? []
    let secrets = worker.kafka.secretValues
    var problems: [String] = []
    func attempt(_ body: (@escaping KafkaLog) throws(KafkaError) -> Void) {
      let lines = Mutex<[String]>([])
      do throws(KafkaError) {
        try body { line in lines.withLock { $0.append(line.text) } }
      } catch {
        // The error names the property, the log names the file.
        let lines = lines.withLock { $0 }
        let text = MessageText.masked(([error.description] + lines).joined(separator: ": "), secrets)
        if !problems.contains(text) { problems.append(text) }
      }
    }
    attempt { log throws(KafkaError) in
      _ = try Producer(properties: transactional + properties.forProducers, log: log)
    }
    attempt { log throws(KafkaError) in
      let member = properties.forConsumers + [KafkaProperty("group.id", plan.group)]
      _ = try Consumer(topic: plan.needs.input, properties: member, log: log)
    }
    return problems
  }
}

extension [KafkaProperty] {
  /// What makes a producer transactional. Brokers abort a transaction that is open for 15 s or three commit
  /// intervals: readers wait for transactions that a dead worker left open.
  ///
  /// Requests have less time than that: librdkafka waits for the whole request timeout when it adds offsets,
  /// whatever timeout it is given.
  ///
  /// Batches have a quarter of the commit interval to fill: nobody sees their records before the commit,
  /// which waits for none of them. librdkafka sends a request for each partition's batch, so with the usual
  /// 20 ms live traffic made hundreds of requests a second with a record or two each.
  static func transactional(_ id: String, commitInterval: Duration) -> [KafkaProperty] {
    let interval = commitInterval.nanoseconds / 1_000_000
    let timeout = Swift.max(15_000, 3 * interval)
    return [
      KafkaProperty("linger.ms", String(Swift.min(lingerMax, interval / 4))),
      KafkaProperty("transaction.timeout.ms", String(timeout)), KafkaProperty("socket.timeout.ms", "10000"),
      KafkaProperty("transactional.id", id),
    ]
  }

  /// A commit has to send what has not been sent, so that must not become much.
  private static var lingerMax: Int64 { 250 }

  /// Those for consumers.
  var forConsumers: [KafkaProperty] { filter { !producerOnly.contains($0.name) } }

  /// The same for clients that must not connect. With OIDC a client would request its token at once, so it is
  /// tried without login.
  fileprivate var forTrial: [KafkaProperty] {
    let isOIDC = contains { $0.name == "sasl.oauthbearer.method" && $0.value.lowercased() == "oidc" }
    return filter { !brokers.contains($0.name) }.map { property in
      guard isOIDC, property.name == "security.protocol" else { return property }
      return KafkaProperty(property.name, property.value.lowercased().replacing("sasl_", with: ""))
    }
  }

  /// Those that open no file, load no library and run no command: without TLS, login, and values from files
  /// that were not read.
  fileprivate var withoutFiles: [KafkaProperty] {
    let prefixes = ["ssl", "sasl", "enable.ssl", "enable.sasl", "security.", "plugin.", "offset.store."]
    return filter { property in
      !prefixes.contains { property.name.hasPrefix($0) } && !property.value.contains("${file:")
    }
  }

  /// Those for producers and admin clients.
  var forProducers: [KafkaProperty] {
    filter { !consumerOnly.contains($0.name) && !$0.name.hasPrefix("fetch.") }
  }
}

private let brokers: Set = ["bootstrap.servers", "metadata.broker.list"]

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

// librdkafka warns about properties of the other kind of client: each kind gets its own.

internal import Kafka
internal import Sampling
internal import Synchronization
public import Topology

extension Topology {
  /// Why this topology's clients can't be made on this host, a line each, without secret values: a
  /// certificate that is not there, properties that do not go together. They are made and dropped; nobody is
  /// connected to.
  ///
  /// - Parameter files: whether files may be opened. If not, clients are made without what needs some.
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
        // The error names the property, the log the file.
        var text = ([error.description] + lines.withLock { $0 }).joined(separator: ": ")
        for secret in secrets { text = text.replacing(secret, with: KafkaProperty.mask) }
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
  /// What makes a producer transactional. Brokers end a transaction that is open for a quarter of a minute,
  /// or for three commit intervals: readers wait for what a dead worker has left open.
  ///
  /// Requests have less time than that: librdkafka lets adding offsets wait for as long as a request may
  /// take, whatever it is told.
  static func transactional(_ id: String, commitInterval: Duration) -> [KafkaProperty] {
    let timeout = Swift.max(15_000, 3 * commitInterval.nanoseconds / 1_000_000)
    return [
      KafkaProperty("transaction.timeout.ms", String(timeout)), KafkaProperty("socket.timeout.ms", "10000"),
      KafkaProperty("transactional.id", id),
    ]
  }

  /// Those that a consumer takes.
  var forConsumers: [KafkaProperty] { filter { !producerOnly.contains($0.name) } }

  /// The same for clients that are to connect to nobody. One that logs in with OIDC would ask for its token
  /// at once: it is tried without login.
  fileprivate var forTrial: [KafkaProperty] {
    let isOIDC = contains { $0.name == "sasl.oauthbearer.method" && $0.value.lowercased() == "oidc" }
    return filter { !brokers.contains($0.name) }.map { property in
      guard isOIDC, property.name == "security.protocol" else { return property }
      return KafkaProperty(property.name, property.value.lowercased().replacing("sasl_", with: ""))
    }
  }

  /// Those that open no file, load no library and run no command: all about TLS and login is left out, and
  /// what is in files that were not read.
  fileprivate var withoutFiles: [KafkaProperty] {
    let prefixes = ["ssl", "sasl", "enable.ssl", "enable.sasl", "security.", "plugin.", "offset.store."]
    return filter { property in
      !prefixes.contains { property.name.hasPrefix($0) } && !property.value.contains("${file:")
    }
  }

  /// Those that a producer, or a client for administration, takes.
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

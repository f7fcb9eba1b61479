// Properties: what is wrong with one is said by its name, and a secret is never shown.

import Kafka
import Synchronization
import Testing

@Suite(.ownThreads) struct ConfigurationTests {
  private static let secret = "hunter2-correct-horse"

  @Test(arguments: ["no.such.property", "bootstrap.serverz"])
  func anUnknownPropertyIsNamed(_ name: String) {
    for error in errors(of: [KafkaProperty(name, "x")]) {
      #expect(error.description.contains("\"\(name)\""))
      #expect(error.description.contains("No such configuration property"))
    }
  }

  @Test func aWrongValueIsNamedWithItsProperty() {
    for error in errors(of: [KafkaProperty("linger.ms", "soon")]) {
      #expect(error.description.contains("linger.ms"))
    }
    for error in errors(of: [KafkaProperty("acks", "some")]) {
      #expect(error.description.contains("acks"))
    }
  }

  @Test func aPropertyKnowsWhatIsWrongWithIt() {
    #expect(KafkaProperty("linger.ms", "5").problem == nil)
    #expect(KafkaProperty("linger.ms", "soon").problem?.contains("linger.ms") == true)
    #expect(KafkaProperty("no.such.property", "x").problem?.contains("no.such.property") == true)
    let secret = KafkaProperty("no.such.password", ConfigurationTests.secret).problem
    #expect(secret == "the value of no.such.password is not accepted")
  }

  @Test(arguments: [
    "sasl.password", "ssl.key.password", "ssl.key.pem", "sasl.oauthbearer.client.secret",
    "ssl.keystore.password",
    "sasl.oauthbearer.config", "sasl.jaas.config", "my.token", "SASL.PASSWORD",
  ])
  func aSecretIsNeverShown(_ name: String) {
    let property = KafkaProperty(name, ConfigurationTests.secret)
    #expect(property.isSecret)
    #expect(property.description == "\(name)=***")
    let lines = Mutex<[String]>([])
    // Whatever else is wrong, and whether librdkafka knows the property or not.
    for more in [
      [], [KafkaProperty("no.such.property", "x")], [KafkaProperty("security.protocol", "sasl_ssl")],
    ] {
      for error in errors(of: [property] + more, log: { line in lines.withLock { $0.append(line.text) } }) {
        #expect(!"\(error)".contains(ConfigurationTests.secret))
        #expect(!String(reflecting: error).contains(ConfigurationTests.secret))
      }
    }
    #expect(!lines.withLock { $0 }.contains { $0.contains(ConfigurationTests.secret) })
  }

  @Test func otherPropertiesAreShown() {
    #expect(KafkaProperty("linger.ms", "5").description == "linger.ms=5")
    #expect(!KafkaProperty("bootstrap.servers", "b:9092").isSecret)
    #expect(!KafkaProperty("sasl.username", "tailrace").isSecret, "a name is no secret")
  }

  @Test func whatComesLaterCountsButForWhatAConsumerNeeds() throws {
    let cluster = try RunningCluster()
    try cluster.createTopic("t")
    let producer = try cluster.producer([
      KafkaProperty("message.max.bytes", "1000"), KafkaProperty("message.max.bytes", "9000"),
    ])
    try producer.send(try producer.topic("t"), key: nil, value: String(repeating: "x", count: 5000))
    try producer.flush(timeout: .seconds(10))
    // Told to be quiet about ends and to commit by itself, it does neither.
    let member = try cluster.member(
      of: "g", reading: "t",
      [KafkaProperty("enable.partition.eof", "false"), KafkaProperty("enable.auto.commit", "true")])
    try member.consumer.subscribe()
    try member.step(until: "the end") {
      member.events.contains(.endOfPartition(TopicPartition("t", 0), offset: 1))
    }
    member.consumer.close()
    let other = try cluster.member(of: "g", reading: "t")
    let committed = try other.consumer.committed([TopicPartition("t", 0)], timeout: .seconds(10))
    #expect(committed.map(\.offset) == [PartitionOffset.invalid])
    other.consumer.close()
  }

  /// What each kind of client says to the properties.
  private func errors(of properties: [KafkaProperty], log: @escaping KafkaLog = { _ in }) -> [KafkaError] {
    let all = properties + [KafkaProperty("group.id", "g")]
    var errors: [KafkaError] = []
    do throws(KafkaError) {
      _ = try Consumer(topic: "t", properties: all, log: log)
    } catch { errors.append(error) }
    do throws(KafkaError) { _ = try Producer(properties: all, log: log) } catch { errors.append(error) }
    do throws(KafkaError) { _ = try Admin(properties: all, log: log) } catch { errors.append(error) }
    return errors
  }
}

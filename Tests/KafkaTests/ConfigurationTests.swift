// Properties: errors name the property, and secrets are never shown.

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
    // Whatever else is wrong, and whether or not librdkafka knows the property.
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

  @Test(arguments: [
    ("https://me:hunter2@login.example/token", "https://***@login.example/token", ["me:hunter2", "hunter2"]),
    ("http://me:hun/ter@2@proxy:3128", "http://***@proxy:3128", ["me:hun/ter@2", "hun/ter@2"]),
    ("https://me:hunter,2;@host/x", "https://***@host/x", ["me:hunter,2;", "hunter,2;"]),
    ("https://apitoken@host/x", "https://***@host/x", ["apitoken"]),
    ("a:9092, me:hunter2@b:9092;x", "a:9092, ***@b:9092;x", ["me:hunter2", "hunter2"]),
    (
      "https://h/?id=1&access_token=hunter2&client_secret=abcdef",
      "https://h/?id=1&access_token=***&client_secret=***",
      ["hunter2", "abcdef"]
    ),
    ("kafka/host@REALM", "kafka/host@REALM", []), ("ALL:!aNULL:@STRENGTH", "ALL:!aNULL:@STRENGTH", []),
    ("https://host:443/a?b=c", "https://host:443/a?b=c", []), ("", "", []), ("@", "@", []),
    ("://@", "://@", []),
  ])
  func credentialsInAddressesAreNeverShown(_ value: String, _ shown: String, _ secrets: [String]) {
    let property = KafkaProperty("client.id", value)
    #expect(property.shownValue == shown)
    #expect(property.description == "client.id=\(shown)")
    #expect(property.secrets == secrets)
  }

  @Test func librdkafkaTellsItsProperties() throws {
    let all = KafkaPropertyDescription.all
    #expect(all.count > 100)
    #expect(all["acks"]?.range == "-1 .. 1000")
    #expect(all["security.protocol"]?.words == ["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"])
    #expect(all["client.id"]?.words == [] && all["client.id"]?.range == nil)
    #expect(all["error_cb"] == nil && all["Property"] == nil)
  }

  /// A client with this property would run the command.
  @Test func theCommandForTicketsIsASecret() {
    let property = KafkaProperty("sasl.kerberos.kinit.cmd", "echo \(ConfigurationTests.secret) | kinit")
    #expect(property.isSecret && property.description == "sasl.kerberos.kinit.cmd=***")
    #expect(property.secrets == [property.value])
  }

  /// Setting this property would load the library.
  @Test func noPlugInIsLoadedToCheckAProperty() {
    #expect(KafkaProperty("plugin.library.paths", "/no/such").problem == nil)
  }

  @Test func otherPropertiesAreShown() {
    #expect(KafkaProperty("linger.ms", "5").description == "linger.ms=5")
    #expect(!KafkaProperty("bootstrap.servers", "b:9092").isSecret)
    #expect(!KafkaProperty("sasl.username", "tailrace").isSecret, "a name is not a secret")
  }

  @Test func whatComesLaterCountsButForWhatAConsumerNeeds() throws {
    let cluster = try RunningCluster()
    try cluster.createTopic("t")
    let producer = try cluster.producer([
      KafkaProperty("message.max.bytes", "1000"), KafkaProperty("message.max.bytes", "9000"),
    ])
    try producer.send(try producer.topic("t"), key: nil, value: String(repeating: "x", count: 5000))
    try producer.flush(timeout: .seconds(10))
    // A consumer overrides these two properties.
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

  /// The errors of each kind of client for the properties.
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

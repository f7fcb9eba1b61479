// Properties of a librdkafka client, and the making of its handle.

internal import CRdKafka
internal import Glibc
internal import Synchronization

/// A property of librdkafka, such as `bootstrap.servers`.
public struct KafkaProperty: Equatable, Sendable, CustomStringConvertible {
  /// Its name, as librdkafka's CONFIGURATION.md lists it.
  public var name: String
  /// Its value.
  public var value: String

  /// Makes a property.
  public init(_ name: String, _ value: String) {
    self.name = name
    self.value = value
  }

  /// Whether the value must never be shown.
  public var isSecret: Bool { KafkaProperty.isSecret(name) }

  /// Whether the value of the property `name` must never be shown. The one list there is: whatever shows
  /// properties asks here.
  public static func isSecret(_ name: String) -> Bool {
    let name = name.lowercased()
    return secretWords.contains { name.contains($0) }
  }

  /// What stands in the place of a secret.
  public static let mask = "***"

  /// Parts of names. What `kinit.cmd` runs may have a password in it.
  private static let secretWords = [
    "password", "passphrase", "secret", "token", "jaas", "pem", "oauthbearer.config", "kinit.cmd",
  ]

  /// The value as it may be shown: a secret masked, and credentials in an address.
  public var shownValue: String { isSecret ? KafkaProperty.mask : Credentials.masked(value) }

  /// Texts in the value that must not turn up anywhere. Very short ones may well be parts of harmless words.
  public var secrets: [String] {
    (isSecret ? [value] : Credentials.found(in: value)).filter { $0.utf8.count >= 4 }
  }

  /// The property for logs: `name=value`, secrets masked.
  public var description: String { "\(name)=\(shownValue)" }
}

/// A line that librdkafka logs.
public struct KafkaLogLine: Sendable {
  /// The syslog level: 3 error, 4 warning, 5 notice, 6 information, 7 debug.
  public var level: Int32
  /// What part of librdkafka speaks, such as `FAIL`.
  public var facility: String
  /// The text.
  public var text: String
}

/// Takes librdkafka's log lines, on its own threads.
public typealias KafkaLog = @Sendable (KafkaLogLine) -> Void

/// What librdkafka's callbacks are given as their opaque pointer. It outlives the client: the client's owner
/// keeps it.
///
/// Callbacks of a client come on the threads that poll it or on librdkafka's own, so what they touch is
/// locked.
final class CallbackContext: Sendable {
  let log: KafkaLog
  let events = Mutex<[ConsumerEvent]>([])
  let deliveries = Mutex(DeliveryState())
  let statistics: KafkaStatistics?
  /// Who answers a consumer's rebalances.
  let answering = Atomic(Answering.byOwner)
  /// Whether a consumer has asked to join its group.
  let isMember = Atomic(false)
  /// Whether a consumer's group has ever given it an assignment, be it an empty one.
  let wasAssigned = Atomic(false)

  /// Whether the client is left as it is when its owner goes: destroying it might wait for ever.
  let isAbandoned = Atomic(false)

  /// Whether another client is in its place: it is destroyed where nobody waits for it.
  let isRetired = Atomic(false)

  /// Whether librdkafka would end the process if the client were destroyed: before 2.3.0 it asserts that a
  /// member with the cooperative assignor has that assignor's state, which comes with the first assignment.
  /// Source: librdkafka, issue 4312 and pull request 4381.
  var mustOutliveOwner: Bool {
    isMember.load(ordering: .relaxed) && !wasAssigned.load(ordering: .relaxed)
      && rd_kafka_version() < 0x0203_0000
  }

  /// Who answers a consumer's rebalances.
  enum Answering: UInt8, AtomicRepresentable {
    /// The owner does, when it has taken the event.
    case byOwner
    /// The consumer closes: the callback does.
    case byCallback
    /// Nobody: the client is about to be destroyed, and a call into it might never return.
    case byNobody
  }

  /// Notes an error of the client, for its owner. Of very many that nobody takes the first are kept.
  func note(_ error: KafkaError) {
    events.withLock { events in
      if events.count < CallbackContext.eventsMax { events.append(.error(error)) }
    }
  }

  /// What has been noted since the last call.
  func takeEvents() -> [ConsumerEvent] {
    events.withLock { events in
      defer { events = [] }
      return events
    }
  }

  private static let eventsMax = 10_000

  init(log: @escaping KafkaLog, statistics: KafkaStatistics?) {
    self.log = log
    self.statistics = statistics
  }

  /// The context behind an opaque pointer.
  static func from(_ opaque: UnsafeMutableRawPointer) -> CallbackContext {
    // Sound: the pointer was made from a CallbackContext that the client's owner keeps until the client is
    // destroyed, and librdkafka calls nobody after that.
    unsafe Unmanaged<CallbackContext>.fromOpaque(opaque).takeUnretainedValue()
  }
}

/// A librdkafka client handle. Freed with the value, after its owner has closed it.
@safe
struct ClientHandle: ~Copyable {
  let pointer: OpaquePointer
  /// Keeps what the callbacks use alive as long as the handle.
  let context: CallbackContext

  enum Kind {
    case consumer
    case producer
  }

  /// Makes a client. Of a property that comes twice the last one counts.
  ///
  /// - Throws: with librdkafka's own words, which name the property.
  init(
    _ kind: Kind, _ properties: [KafkaProperty], log: @escaping KafkaLog, statistics: KafkaStatistics? = nil
  ) throws(KafkaError) {
    let context = CallbackContext(log: log, statistics: statistics)
    let properties = statistics == nil ? properties : [KafkaStatistics.interval] + properties
    guard let configuration = unsafe rd_kafka_conf_new() else {
      throw KafkaError(RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE)
    }
    for property in properties {
      if let problem = unsafe property.set(in: configuration) {
        unsafe rd_kafka_conf_destroy(configuration)
        throw KafkaError(RD_KAFKA_RESP_ERR__INVALID_ARG, problem)
      }
    }
    var message = [CChar](repeating: 0, count: 512)
    // Sound: the context is kept by this value, which destroys the client before it lets go of it.
    unsafe rd_kafka_conf_set_opaque(configuration, Unmanaged.passUnretained(context).toOpaque())
    unsafe ClientHandle.setCallbacks(configuration, kind)
    unsafe ThreadSignals.unblock(configuration)
    let type = kind == .consumer ? RD_KAFKA_CONSUMER : RD_KAFKA_PRODUCER
    guard let pointer = unsafe rd_kafka_new(type, configuration, &message, message.count) else {
      // The configuration is still ours when the client could not be made, but librdkafka has freed the
      // interceptors in it, and would again with it (seen with 2.0.2). It is left as it is: some kilobytes.
      throw KafkaError(RD_KAFKA_RESP_ERR__INVALID_ARG, message.text)
    }
    unsafe self.pointer = pointer
    self.context = context
  }

  deinit {
    if context.isRetired.load(ordering: .relaxed), !context.isAbandoned.load(ordering: .relaxed) {
      // Sound: the pointer goes to its new owner, and this value's life ends here.
      unsafe RetiredClient(pointer, context).destroyAside()
      return
    }
    // A client that has failed for good may keep whoever destroys it waiting without end.
    guard !context.mustOutliveOwner, !context.isAbandoned.load(ordering: .relaxed), fatalError == nil else {
      // Sound: one reference too many, for the callbacks of a client that stays until the process ends, which
      // is soon: nothing is left to do without the client.
      _ = unsafe Unmanaged.passRetained(context)
      return
    }
    // Sound: the handle is owned by this value alone and destroyed once. A consumer's
    // owner has closed it as far as it can be closed.
    unsafe rd_kafka_destroy_flags(pointer, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE)
  }

  /// Gives up all records of a producer. Without this, destroying it would wait for records that nobody asks
  /// for any more.
  ///
  /// The client must be alive.
  @unsafe static func purge(_ client: OpaquePointer) {
    // Sound: both calls only need a client that is alive.
    unsafe rd_kafka_purge(client, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT)
    unsafe rd_kafka_flush(client, 1000)
  }

  /// The error that has made the client useless, if there is one.
  var fatalError: KafkaError? {
    var text = [CChar](repeating: 0, count: 512)
    // Sound: librdkafka writes a terminated text that is no longer than said.
    let code = unsafe rd_kafka_fatal_error(pointer, &text, text.count)
    return code == RD_KAFKA_RESP_ERR_NO_ERROR ? nil : KafkaError(code, text.text, isFatal: true)
  }

  /// The client's fatal error in the place of one that only says that there is one.
  func explain(_ error: KafkaError) -> KafkaError {
    error.known == .localFatal ? fatalError ?? error : error
  }

  private static func setCallbacks(_ configuration: OpaquePointer, _ kind: Kind) {
    // Sound: in each callback the opaque pointer is the context that was set above; other pointers are used
    // during the call only.
    unsafe rd_kafka_conf_set_log_cb(configuration) { client, level, facility, text in
      guard let opaque = unsafe rd_kafka_opaque(client) else { return }
      let line = unsafe KafkaLogLine(
        level: level, facility: facility.map { unsafe String(cString: $0) } ?? "",
        text: text.map { unsafe String(cString: $0) } ?? "")
      unsafe CallbackContext.from(opaque).log(line)
    }
    unsafe rd_kafka_conf_set_error_cb(configuration) { client, code, reason, opaque in
      guard let opaque = unsafe opaque else { return }
      let code = rd_kafka_resp_err_t(rawValue: code)
      let isFatal = code == RD_KAFKA_RESP_ERR__FATAL
      let error = unsafe KafkaError(code, reason.map { unsafe String(cString: $0) }, isFatal: isFatal)
      unsafe CallbackContext.from(opaque).note(error)
    }
    unsafe rd_kafka_conf_set_stats_cb(configuration) { _, json, length, opaque in
      guard let json = unsafe json, let opaque = unsafe opaque else { return 0 }
      let bytes = unsafe UnsafeRawBufferPointer(start: json, count: length)
      let context = unsafe CallbackContext.from(opaque)
      // The statistics are those of the client that is in its place now.
      if !context.isRetired.load(ordering: .relaxed) { unsafe context.statistics?.keep(bytes) }
      // Zero: librdkafka frees the text.
      return 0
    }
    switch kind {
    case .consumer: unsafe Consumer.setRebalanceCallback(configuration)
    case .producer: unsafe Producer.setDeliveryCallback(configuration)
    }
  }
}

/// A producer in whose place another is: its own thread destroys it.
@safe
private final class RetiredClient {
  private let pointer: OpaquePointer
  /// Keeps what the callbacks use alive as long as the client.
  private let context: CallbackContext

  @unsafe init(_ pointer: OpaquePointer, _ context: CallbackContext) {
    unsafe self.pointer = pointer
    self.context = context
  }

  /// Starts the thread. Where none can be started the client stays until the process ends.
  func destroyAside() {
    // Sound: the thread takes over the one reference that is retained for it.
    let client = unsafe Unmanaged.passRetained(self)
    var thread = pthread_t()
    let error = unsafe pthread_create(
      &thread, nil,
      { argument in
        guard let argument = unsafe argument else { return nil }
        unsafe Unmanaged<RetiredClient>.fromOpaque(argument).takeRetainedValue().destroy()
        return nil
      }, client.toOpaque())
    if error == 0 { pthread_detach(thread) }
  }

  private func destroy() {
    // Sound: owned by this object alone, destroyed once. Its topics are gone: they kept the producer alive.
    unsafe ClientHandle.purge(pointer)
    unsafe rd_kafka_destroy(pointer)
  }
}

extension KafkaProperty {
  /// Why librdkafka does not take the property: its own words, which name it; nil if it does. What depends on
  /// files or on other properties is seen when a client is made. No file is opened.
  public var problem: String? {
    // To set it is to load the libraries.
    guard name != "plugin.library.paths" else { return nil }
    guard let configuration = unsafe rd_kafka_conf_new() else { return nil }
    defer { unsafe rd_kafka_conf_destroy(configuration) }
    return unsafe set(in: configuration)
  }

  /// Sets the property. Returns what is wrong with it.
  ///
  /// The configuration must be alive.
  @unsafe fileprivate func set(in configuration: OpaquePointer) -> String? {
    var message = [CChar](repeating: 0, count: 512)
    // Sound: librdkafka copies name and value, and writes a terminated text that is no longer than said.
    let result = unsafe rd_kafka_conf_set(configuration, name, value, &message, message.count)
    return result == RD_KAFKA_CONF_OK ? nil : failure(message.text)
  }

  /// librdkafka's message repeats the value; that of a secret must not reach a log.
  fileprivate func failure(_ message: String) -> String {
    guard !isSecret else { return "the value of \(name) is not accepted" }
    return "\(message.replacing(value, with: shownValue)) (property \(name))"
  }
}

extension [CChar] {
  /// The text up to the terminating zero.
  var text: String {
    String(decoding: prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }
}

extension Duration {
  /// Whole milliseconds, as librdkafka takes time-outs.
  var milliseconds: Int32 {
    Int32(clamping: components.seconds * 1000 + components.attoseconds / 1_000_000_000_000_000)
  }
}

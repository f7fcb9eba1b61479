// Properties of a librdkafka client, and its handle.

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

  /// Whether the value must never appear in output.
  public var isSecret: Bool { KafkaProperty.isSecret(name) }

  /// Whether the value of the property `name` must never appear in output. This is the only list: all code
  /// that shows properties checks it.
  public static func isSecret(_ name: String) -> Bool {
    let name = name.lowercased()
    return secretWords.contains { name.contains($0) }
  }

  /// Replaces a secret in output.
  public static let mask = "***"

  /// Parts of names. The command in `kinit.cmd` may include a password.
  private static let secretWords = [
    "password", "passphrase", "secret", "token", "jaas", "pem", "oauthbearer.config", "kinit.cmd",
  ]

  /// The value for display: secrets, and credentials in addresses, are masked.
  public var shownValue: String { isSecret ? KafkaProperty.mask : Credentials.masked(value) }

  /// Parts of the value that must not appear anywhere. Very short ones are likely to be parts of harmless
  /// words.
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
  /// The part of librdkafka that logs, such as `FAIL`.
  public var facility: String
  /// The text.
  public var text: String
}

/// Takes librdkafka's log lines, on its own threads.
public typealias KafkaLog = @Sendable (KafkaLogLine) -> Void

/// The opaque pointer of librdkafka's callbacks. It outlives the client: the client's owner keeps it.
///
/// Callbacks of a client run on the threads that poll it or on librdkafka's own, so the shared state is
/// locked.
final class CallbackContext: Sendable {
  let log: KafkaLog
  let events = Mutex<[ConsumerEvent]>([])
  let deliveries = Mutex(DeliveryState())
  let statistics: KafkaStatistics?
  /// Who answers a consumer's rebalances.
  let answering = Atomic(Answering.byOwner)
  /// Whether a consumer has requested to join its group.
  let isMember = Atomic(false)
  /// Whether a consumer has ever had an assignment, even an empty one.
  let wasAssigned = Atomic(false)

  /// Whether the client outlives its owner because destroying it might block forever.
  let isAbandoned = Atomic(false)

  /// Whether another client has replaced it: then a separate thread destroys it.
  let isRetired = Atomic(false)

  /// Whether librdkafka would abort the process if the client were destroyed: before 2.3.0 it asserts that a
  /// member with the cooperative assignor has that assignor's state, which arrives with the first assignment.
  /// Source: librdkafka, issue 4312 and pull request 4381.
  var mustOutliveOwner: Bool {
    isMember.load(ordering: .relaxed) && !wasAssigned.load(ordering: .relaxed)
      && rd_kafka_version() < 0x0203_0000
  }

  /// Who answers a consumer's rebalances.
  enum Answering: UInt8, AtomicRepresentable {
    /// The owner, after taking the event.
    case byOwner
    /// The callback, because the consumer is closing.
    case byCallback
    /// Nobody: the client is about to be destroyed, and a call into it might never return.
    case byNobody
  }

  /// Records an error of the client for its owner. If too many are not taken, only the first are kept.
  func note(_ error: KafkaError) {
    events.withLock { events in
      if events.count < CallbackContext.eventsMax { events.append(.error(error)) }
    }
  }

  /// The events since the last call.
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
    // destroyed, and librdkafka calls no callback after that.
    unsafe Unmanaged<CallbackContext>.fromOpaque(opaque).takeUnretainedValue()
  }
}

/// A librdkafka client handle. Freed with the value, after its owner has closed it.
@safe
struct ClientHandle: ~Copyable {
  let pointer: OpaquePointer
  /// Keeps the state of the callbacks alive as long as the handle.
  let context: CallbackContext

  enum Kind {
    case consumer
    case producer
  }

  /// Makes a client. If a property appears twice, the last value counts.
  ///
  /// - Throws: with librdkafka's message, which names the property.
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
    // Sound: this value keeps the context, and destroys the client before it releases it.
    unsafe rd_kafka_conf_set_opaque(configuration, Unmanaged.passUnretained(context).toOpaque())
    unsafe ClientHandle.setCallbacks(configuration, kind)
    unsafe ThreadSignals.unblock(configuration)
    let type = kind == .consumer ? RD_KAFKA_CONSUMER : RD_KAFKA_PRODUCER
    guard let pointer = unsafe rd_kafka_new(type, configuration, &message, message.count) else {
      // The configuration is still ours if the client could not be made, but librdkafka has freed its
      // interceptors, and would free them again with it (seen with 2.0.2). It is leaked: some kilobytes.
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
    // Destroying a client that has failed for good may block forever.
    guard !context.mustOutliveOwner, !context.isAbandoned.load(ordering: .relaxed), fatalError == nil else {
      // Sound: an extra reference for the callbacks of a client that stays until the process ends, which is
      // soon: without the client nothing is left to do.
      _ = unsafe Unmanaged.passRetained(context)
      return
    }
    // Sound: the handle is owned only by this value and destroyed once. A consumer's owner has closed it, as
    // far as possible.
    unsafe rd_kafka_destroy_flags(pointer, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE)
  }

  /// Discards all records of a producer. Without this, destroying it would wait for records that are no
  /// longer wanted.
  ///
  /// The client must be alive.
  @unsafe static func purge(_ client: OpaquePointer) {
    // Sound: both calls only need a live client.
    unsafe rd_kafka_purge(client, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT)
    unsafe rd_kafka_flush(client, 1000)
  }

  /// The error that made the client unusable, if any.
  var fatalError: KafkaError? {
    var text = [CChar](repeating: 0, count: 512)
    // Sound: librdkafka writes a terminated text that is no longer than stated.
    let code = unsafe rd_kafka_fatal_error(pointer, &text, text.count)
    return code == RD_KAFKA_RESP_ERR_NO_ERROR ? nil : KafkaError(code, text.text, isFatal: true)
  }

  /// Replaces an error that only states that there is a fatal error with that fatal error.
  func explain(_ error: KafkaError) -> KafkaError {
    error.known == .localFatal ? fatalError ?? error : error
  }

  private static func setCallbacks(_ configuration: OpaquePointer, _ kind: Kind) {
    // Sound: in each callback the opaque pointer is the context that was set above; other pointers are used
    // only during the call.
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
      // The statistics are those of the client that has replaced it.
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

/// A producer that another has replaced: its own thread destroys it.
@safe
private final class RetiredClient {
  private let pointer: OpaquePointer
  /// Keeps the state of the callbacks alive as long as the client.
  private let context: CallbackContext

  @unsafe init(_ pointer: OpaquePointer, _ context: CallbackContext) {
    unsafe self.pointer = pointer
    self.context = context
  }

  /// Starts the thread. If none can be started, the client stays until the process ends.
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
    // Sound: owned only by this object, destroyed once. Its topics are gone: they kept the producer alive.
    unsafe ClientHandle.purge(pointer)
    unsafe rd_kafka_destroy(pointer)
  }
}

extension KafkaProperty {
  /// Why librdkafka does not accept the property: its message, which names it; nil if it does. Problems that
  /// depend on files or on other properties appear when a client is made. No file is opened.
  public var problem: String? {
    // Setting it would load the libraries.
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
    // Sound: librdkafka copies name and value, and writes a terminated text that is no longer than stated.
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
  /// Whole milliseconds, librdkafka's unit of timeouts.
  var milliseconds: Int32 {
    Int32(clamping: components.seconds * 1000 + components.attoseconds / 1_000_000_000_000_000)
  }
}

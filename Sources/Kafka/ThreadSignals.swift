// Lets a crash handler suspend librdkafka's threads, which a clean backtrace needs.

internal import CRdKafka
internal import Glibc

/// librdkafka blocks all signals in the threads that it starts. When the process crashes, Swift's runtime
/// suspends the other threads with SIGUSR1, SIGUSR2 or SIGPROF, whichever a thread does not block, and writes
/// a line about each that it can't suspend. So these threads unblock SIGPROF, which is otherwise unused.
enum ThreadSignals {
  /// Source: the Swift runtime's crash handler for Linux; of its three signals, libdispatch blocks SIGUSR1.
  static let stopping = SIGPROF

  /// Makes the threads of the client that is made with `configuration` unblock the signal.
  ///
  /// The configuration must be alive.
  @unsafe static func unblock(_ configuration: OpaquePointer) {
    // Sound: librdkafka copies the names. It calls the first function with the new client, and the second one
    // on each thread that it starts for it.
    _ = unsafe rd_kafka_conf_interceptor_add_on_new(
      configuration, "signals",
      { client, _, _, _, _ in
        unsafe rd_kafka_interceptor_add_on_thread_start(
          client, "signals",
          { _, _, _, _ in
            var signals = sigset_t()
            // Sound: the set is a local variable; the mask is that of the calling thread.
            unsafe sigemptyset(&signals)
            unsafe sigaddset(&signals, ThreadSignals.stopping)
            unsafe pthread_sigmask(SIG_UNBLOCK, &signals, nil)
            return RD_KAFKA_RESP_ERR_NO_ERROR
          }, nil)
      }, nil)
  }
}

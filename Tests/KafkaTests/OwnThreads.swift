// Gives each test a thread of its own: these tests wait for brokers most of their time. The few threads that
// all tests share would be blocked by them, or kept from them by tests that compute.

import Dispatch
import Testing

/// Runs the bodies of tests on threads of their own.
struct OwnThreads: SuiteTrait, TestTrait, TestScoping {
  let isRecursive = true

  func provideScope(
    for test: Test, testCase: Test.Case?, performing body: @Sendable () async throws -> Void
  ) async throws {
    try await withTaskExecutorPreference(ThreadExecutor()) { try await body() }
  }
}

extension Trait where Self == OwnThreads {
  /// Each test on a thread of its own.
  static var ownThreads: Self { Self() }
}

/// Runs the jobs of one task one after the other, on a thread that nothing else waits for.
private final class ThreadExecutor: TaskExecutor {
  private let queue = DispatchQueue(label: "a test's own")

  func enqueue(_ job: consuming ExecutorJob) {
    let job = UnownedJob(job)
    // Sound: each job is run once.
    queue.async { unsafe job.runSynchronously(on: self.asUnownedTaskExecutor()) }
  }
}

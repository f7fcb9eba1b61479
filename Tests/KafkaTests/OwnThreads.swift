// Gives each test its own thread: these tests mostly wait for brokers. They would block the few threads that
// all tests share, or wait for them while other tests compute.

import Dispatch
import Testing

/// Runs the bodies of tests on their own threads.
struct OwnThreads: SuiteTrait, TestTrait, TestScoping {
  let isRecursive = true

  func provideScope(
    for test: Test, testCase: Test.Case?, performing body: @Sendable () async throws -> Void
  ) async throws {
    try await withTaskExecutorPreference(ThreadExecutor()) { try await body() }
  }
}

extension Trait where Self == OwnThreads {
  /// Runs each test on its own thread.
  static var ownThreads: Self { Self() }
}

/// Runs the jobs of one task one after the other, on a thread that nothing else uses.
private final class ThreadExecutor: TaskExecutor {
  private let queue = DispatchQueue(label: "a test's own")

  func enqueue(_ job: consuming ExecutorJob) {
    let job = UnownedJob(job)
    // Sound: each job runs once.
    queue.async { unsafe job.runSynchronously(on: self.asUnownedTaskExecutor()) }
  }
}

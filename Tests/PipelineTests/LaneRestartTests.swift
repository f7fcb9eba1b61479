// Lanes over generated traffic: safe offsets at every commit, and workers killed at any moment.

import OTLP
import Sampling
import Simulation
import Testing

@testable import Pipeline

@Suite struct LaneRestartTests {
  /// Traffic in two partitions, and its truth.
  private struct Scene {
    let broker = MemoryBroker(partitions: 2)
    var truths: [TraceTruth] = []
    /// The trace of each record, by partition.
    var traces: [[TraceID]] = [[], []]

    init(seed: UInt64, traces count: Int) {
      var options = WorkloadOptions()
      options.seed = seed
      options.traceCount = count
      options.spansPerTrace = 8
      options.spansPerRecord = 3
      options.errorShare = 0.2
      options.slowShare = 0.1
      // Late spans of a trace decided before the restart are recognised by its verdict, which this link does
      // not have.
      options.lateShare = 0
      options.rootlessShare = 0.05
      var workload = Workload(options)
      while let record = workload.next() {
        let partition = Int(record.traceIDLow >> 8 & 1)
        broker.append(
          record.bytes, key: record.key, at: Instant(nanoseconds: record.publishedAt), to: partition)
        traces[partition].append(TraceID(high: record.traceIDHigh, low: record.traceIDLow))
      }
      truths = workload.takeFinishedTruths()
    }

    /// The time by which everything has been published.
    var end: Instant {
      broker.inputs.compactMap { $0.last?.timestamp }.max() ?? at(0)
    }

    /// Ids of traces with a final decision among the outputs.
    func decided() throws -> [String: Int] {
      var counts: [String: Int] = [:]
      for decision in try broker.decisions() where decision.final {
        counts[decision.traceId, default: 0] += 1
      }
      return counts
    }

    /// Checks that no commit passes a record of a trace without a final decision.
    func checkCommits(_ place: String) throws {
      let decided = try decided()
      for (id, point) in broker.points {
        for trace in traces[Int(id.value)].prefix(Int(point.safeOffset.value)) {
          #expect(decided[trace.description] != nil, "\(place): \(trace) is undecided before the safe offset")
        }
      }
    }
  }

  private func lane(_ link: MemoryLink) -> Lane<MemoryLink, SamplingJob> {
    var configuration = SamplingJob.Configuration(sampler: SamplerConfiguration(), topic: "spans")
    configuration.pace.interval = .milliseconds(300)
    return Lane(link: link, configuration: configuration) { _ in }
  }

  @Test func everyCommitIsSafeAndEveryTraceDecidedOnce() throws {
    let scene = Scene(seed: 4, traces: 300)
    let link = MemoryLink(scene.broker, assigned: 2)
    link.batch = 40
    let lane = lane(link)
    var now = scene.broker.inputs[0][0].timestamp ?? at(0)
    while now < scene.end + .seconds(60) {
      let commits = scene.broker.steps.count
      try lane.step(at: moment(now), timeout: .seconds(0))
      if scene.broker.steps.count > commits { try scene.checkCommits("at \(now.nanoseconds)") }
      now = now + .milliseconds(200)
    }
    let decided = try scene.decided()
    #expect(decided.count == 300)
    #expect(decided.values.allSatisfy { $0 == 1 })
    #expect(try incomplete(scene).isEmpty)
    for (id, point) in scene.broker.points {
      #expect(point.safeOffset == Offset(Int64(scene.broker.inputs[Int(id.value)].count)))
    }
    // Exactly once, as nothing has gone wrong.
    #expect(try scene.broker.sampledSpans().values.allSatisfy { Set($0).count == $0.count })
  }

  @Test(arguments: 1...8)
  func killedWorkersLoseNothing(_ seed: Int) throws {
    let scene = Scene(seed: UInt64(seed), traces: 150)
    var random = RandomSource(seed: UInt64(seed))
    var now = scene.broker.inputs[0][0].timestamp ?? at(0)
    var workers = 0
    while now < scene.end + .seconds(120) {
      // Only what a worker wrote and committed outlives it.
      let link = MemoryLink(scene.broker, assigned: 2)
      let lane = lane(link)
      workers += 1
      for _ in 0..<random.number(in: 1...60) {
        link.batch = random.number(in: 1...60)
        if random.chance(0.1) { link.commitErrors = [BrokerError(.retry, "not now")] }
        do { try lane.step(at: moment(now), timeout: .seconds(0)) } catch { #expect(error.remedy == .retry) }
        now = now + .milliseconds(Int64(random.number(in: 10...600)))
      }
      try scene.checkCommits("worker \(workers)")
    }
    let link = MemoryLink(scene.broker, assigned: 2)
    let last = lane(link)
    for second in 0..<100 {
      try last.step(at: moment(now + .seconds(Int64(second))), timeout: .seconds(0))
    }
    #expect(workers > 3)
    #expect(try scene.decided().count == 150)
    #expect(try incomplete(scene).isEmpty)
  }

  /// Error traces and slow traces whose spans were not all forwarded.
  private func incomplete(_ scene: Scene) throws -> [TraceID] {
    let sampled = try scene.broker.sampledSpans()
    return scene.truths.filter { $0.hasError || $0.isSlow }
      .map { (TraceID(high: $0.traceIDHigh, low: $0.traceIDLow), $0.spanCount) }
      .filter { id, count in Set(sampled[id] ?? []).count != count }.map(\.0)
  }
}

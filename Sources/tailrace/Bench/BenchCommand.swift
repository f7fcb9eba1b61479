// tailrace bench: the core's speed and memory in this process.

import ArgumentParser
import Encodings
import Foundation
import OTLP
import Pipeline
import Sampling
import Simulation
import SpanStorage
import Topology

struct BenchCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "bench",
    abstract: "Measure the scanner and the whole core in this process, on one core.",
    discussion: """
      The core runs in steady state: with --open-traces traces open, and verdicts and forwarded spans \
      all the time. Warm-up passes come first. Compare figures of one run only: the machine's speed \
      drifts between runs.
      """)

  @Option(name: .long, help: "A recording to measure with (its first GiB); else traffic is generated.")
  var input: String?

  @Option(name: .long, help: "The topology with the policies; else the defaults.")
  var topology: String?

  @Option(name: .long, help: "Open traces in steady state.")
  var openTraces = 100_000

  @Option(name: .long, help: "Spans per generated trace, on average.")
  var spansPerTrace = 50.0

  @Option(
    name: .long,
    help: "Maximum spans per generated record; the mean is less, as each service sends its own.")
  var spansPerRecord = 8

  @Option(name: .long, help: "Measured passes; the median counts.")
  var passes = 7

  @Option(name: .long, help: "Approximate spans per pass.")
  var spansPerPass = 500_000

  @Option(name: .long, help: "What to measure; both if not given.")
  var only: Part?

  /// What can be measured.
  enum Part: String, ExpressibleByArgument, CaseIterable {
    case scan, core
  }

  @Flag(help: "Generate Jaeger's protobuf, one span a record, and convert it as a lane does; core only.")
  var jaeger = false

  @Option(name: .long, help: "Compress spans beyond this many MiB; else they are not compressed.")
  var compressAbove: Int?

  @Flag(help: "Print the figures as JSON.")
  var json = false

  @OptionGroup var progress: ProgressOptions

  func validate() throws {
    guard openTraces > 0, passes > 0, spansPerTrace >= 1, spansPerPass > 0 else {
      throw ValidationError(
        "--open-traces, --passes, --spans-per-trace and --spans-per-pass must be positive")
    }
    guard !jaeger || input == nil && only == .core else {
      throw ValidationError("--jaeger is for generated traffic, and needs --only core")
    }
    guard spansPerTrace <= 1e6 else { throw ValidationError("--spans-per-trace is at most a million") }
    guard (1...10_000).contains(spansPerRecord) else {
      throw ValidationError("--spans-per-record is from 1 to 10000")
    }
    guard openTraces <= 1_000_000_000, passes <= 100_000, spansPerPass <= 1_000_000_000_000 else {
      throw ValidationError(
        "--open-traces is at most 1e9, --passes at most 100000, --spans-per-pass at most 1e12")
    }
    guard (0...1 << 30).contains(compressAbove ?? 0) else {
      throw ValidationError("--compress-above is from 0 to \(1 << 30) MiB")
    }
  }

  mutating func run() throws {
    let files = CommandFiles(inputs: [("--input", input), ("--topology", topology)], outputs: [])
    try files.check()
    let configuration = SamplerConfiguration(try TailSamplingTopology.loaded(from: topology))
    let line = Progress("passes", total: passes * (only == nil ? 2 : 1), progress)
    line.show(0, "reading records")
    var corpus = try makeCorpus()
    corpus.spansPerPass = spansPerPass
    var report = BenchReport(
      spansPerRecord: Double(corpus.spanCount) / Double(corpus.records.count),
      bytesPerSpan: Double(corpus.bytes.count) / Double(corpus.spanCount),
      spansPerPass: corpus.roundsPerPass * corpus.spanCount)
    if only != .core {
      report.scan = ScanBench.run(corpus, passes: passes) { line.show($0, "of the scanner") }
    }
    if only != .scan {
      let memory = SpanMemory(slabBytes: configuration.limits.segmentBytes)
      if let compressAbove { memory.compressAbove = compressAbove << 20 }
      let before = only == .core ? 0 : passes
      report.core = CoreBench.run(&corpus, configuration, memory, openTraces: openTraces, passes: passes) {
        line.show(before + $0, "of the core")
      }
    }
    line.end()
    try StandardOutput.writeLine(json ? ReportJSON.encode(report) : report.text)
  }

  private func makeCorpus() throws -> BenchCorpus {
    if let input { return try BenchCorpus(recording: input) }
    var options = WorkloadOptions()
    options.spansPerTrace = spansPerTrace
    // By default five spans per record on average: a service often has fewer to send.
    options.spansPerRecord = spansPerRecord
    options.spanBytes = 520
    options.fieldOrder = .mixed
    // About 20 MB: records from a consumer were written a moment ago, and are in the processor's caches.
    let traces = max(200, min(openTraces, Int(40_000 / spansPerTrace)))
    return try BenchCorpus(generating: options, traces: traces, isJaeger: jaeger)
  }
}

/// The benchmark's results.
struct BenchReport: Encodable {
  var spansPerRecord: Double
  var bytesPerSpan: Double
  /// The spans of a measured pass.
  var spansPerPass: Int
  var scan: Scan?
  var core: Core?

  /// Only the scanner.
  struct Scan: Encodable {
    var spansPerSecond: Double
    var bytesPerSecond: Double
  }

  /// Scan, window, decide and emit.
  struct Core: Encodable {
    var spansPerSecond: Double
    var bytesPerSecond: Double
    /// Peak resident memory of the process, in bytes, the benchmark's own records included.
    var peakResidentBytes: Int
    /// Resident bytes per byte of undecided spans.
    var residentBytesPerByteBuffered: Double
    /// Memory of tables per open trace, in addition to its spans.
    var bytesPerOpenTrace: Double
    var bytesPerPastVerdict: Double
    var openTraces: Int
    var bufferedBytes: Int
    var keptSpanShare: Double
    /// Traces dropped in all measured passes.
    var tracesDropped: Int
  }

  var text: String {
    let records = String(
      format: "records     %.1f spans each, %.0f bytes per span", spansPerRecord, bytesPerSpan)
    return [records, scan?.text, core?.text].compactMap(\.self).joined(separator: "\n")
  }
}

extension BenchReport.Scan {
  fileprivate var text: String {
    String(
      format: "scan        %.2f million spans/s, %.0f MB/s", spansPerSecond / 1e6, bytesPerSecond / 1e6)
  }
}

extension BenchReport.Core {
  fileprivate var text: String {
    String(
      format: """
        core        %.2f million spans/s, %.0f MB/s, %.2f %% of spans kept
        open        %d traces, %.0f MB of spans
        memory      %.2f bytes resident per byte buffered, %.0f bytes per open trace besides its spans,
                    %.0f bytes per past verdict, %.0f MB peak
        """,
      spansPerSecond / 1e6, bytesPerSecond / 1e6, 100 * keptSpanShare, openTraces,
      Double(bufferedBytes) / 1e6, residentBytesPerByteBuffered, bytesPerOpenTrace, bytesPerPastVerdict,
      Double(peakResidentBytes) / 1e6)
  }
}

/// Measures the scanner.
enum ScanBench {
  /// - Parameter progress: called at the start of each pass.
  static func run(
    _ corpus: BenchCorpus, passes: Int, progress: (Int) -> Void
  ) -> BenchReport.Scan {
    var record = ScannedRecord()
    var seconds: [Double] = []
    var spans = 0
    for pass in 0..<passes + 1 {
      progress(max(0, pass - 1))
      let start = ProcessorTime.now
      for _ in 0..<corpus.roundsPerPass {
        corpus.bytes.withRawBytes { bytes in
          for range in corpus.records {
            do { try record.scan(bytes.extracting(range)) } catch { continue }
            spans += record.spans.count
          }
        }
      }
      seconds.append(ProcessorTime.now - start)
    }
    precondition(spans > 0)
    let roundsPerSecond = Double(corpus.roundsPerPass) / seconds.dropFirst().median
    return BenchReport.Scan(
      spansPerSecond: Double(corpus.spanCount) * roundsPerSecond,
      bytesPerSecond: Double(corpus.bytes.count) * roundsPerSecond)
  }
}

/// Measures the sampler in steady state.
enum CoreBench {
  static func run(
    _ corpus: inout BenchCorpus, _ configuration: SamplerConfiguration, _ memory: SpanMemory, openTraces: Int,
    passes: Int, progress: (Int) -> Void = { _ in }
  ) -> BenchReport.Core {
    let residentBefore = ResidentMemory.current
    var feed = CoreFeed(configuration, memory, corpus: corpus, openTraces: openTraces)
    // Steady state: traces open for the longest wait, and the tables at full size.
    let warmUp = max(3, (openTraces * 5 / 2 + corpus.traceCount - 1) / corpus.traceCount)
    for _ in 0..<warmUp {
      progress(0)
      feed.run(corpus)
      corpus.renameTraces()
    }
    let before = feed.counters
    var seconds: [Double] = []
    for pass in 0..<passes {
      progress(pass)
      var passSeconds = 0.0
      for _ in 0..<corpus.roundsPerPass {
        passSeconds += feed.run(corpus)
        corpus.renameTraces()
      }
      seconds.append(passSeconds)
    }
    let usage = feed.usage
    let after = feed.counters
    let roundsPerSecond = Double(corpus.roundsPerPass) / seconds[...].median
    let resident = ResidentMemory.current - residentBefore
    return BenchReport.Core(
      spansPerSecond: Double(corpus.spanCount) * roundsPerSecond,
      bytesPerSecond: Double(corpus.bytes.count) * roundsPerSecond,
      peakResidentBytes: ResidentMemory.peak,
      residentBytesPerByteBuffered: Double(resident - usage.tableBytes - usage.verdictBytes)
        / Double(max(1, usage.bufferedBytes)),
      bytesPerOpenTrace: Double(usage.tableBytes) / Double(max(1, usage.openTraces)),
      bytesPerPastVerdict: Double(usage.verdictBytes) / Double(max(1, usage.pastVerdicts)),
      openTraces: usage.openTraces, bufferedBytes: usage.bufferedBytes,
      keptSpanShare: Double(after.spansKept - before.spansKept) / Double(after.spansRead - before.spansRead),
      tracesDropped: Int(after.tracesDropped - before.tracesDropped))
  }
}

/// Feeds a sampler with passes over the corpus, in stream time that keeps the wanted number of traces open.
private struct CoreFeed: ~Copyable {
  private var sampler: Sampler
  private var effects = Effects()
  /// Nil if records are OTLP.
  private var converter: SpanConverter?
  private var converted = WireWriter()
  private var offset: Int64 = 0
  private var clock: Int64 = 1_700_000_000_000_000_000
  /// Stream time between records. Most traces stay open for the wait after their root.
  private let step: Int64

  init(
    _ configuration: SamplerConfiguration, _ memory: SpanMemory, corpus: borrowing BenchCorpus,
    openTraces: Int
  ) {
    sampler = Sampler(partition: PartitionID(0), configuration: configuration, memory: memory)
    if corpus.isJaeger { converter = SpanConverter(.jaegerProto) }
    let wait = configuration.windows.decisionWaitAfterRoot.nanoseconds
    let recordsPerTrace = Double(corpus.records.count) / Double(corpus.traceCount)
    // Without traces the mean is not a number.
    let time = (Double(wait) / Double(openTraces) / recordsPerTrace).rounded(.towardZero)
    step = max(1, Int64(exactly: time) ?? 1)
  }

  var counters: SamplerCounters { sampler.counters }
  var usage: SamplerUsage { sampler.usage }

  /// Makes one pass over the corpus; returns its seconds.
  ///
  /// `Tests/Costs` counts what is inside, by this name.
  @discardableResult @inline(never)
  mutating func run(_ corpus: borrowing BenchCorpus) -> Double {
    let start = ProcessorTime.now
    let records = corpus.records
    corpus.bytes.withRawBytes { bytes in
      corpus.keys.withRawBytes { keys in
        for number in records.indices {
          let next = min(number + 1, records.count - 1)
          // As the consumer does with a batch's records.
          bytes.extracting(records[next]).prefetch()
          clock += step
          let now = Instant(nanoseconds: clock)
          let (key, value) = (keys.extracting(BenchCorpus.key(number)), bytes.extracting(records[number]))
          if !corpus.isJaeger {
            _ = sampler.ingest(
              offset: Offset(offset), timestamp: now, key: key, value: value, into: &effects)
          } else {
            ingestConverted(value, key, at: now)
          }
          offset += 1
          // As a lane does once it has written them.
          if !effects.outputs.isEmpty { effects.removeAll() }
        }
      }
    }
    return ProcessorTime.now - start
  }
}

extension CoreFeed {
  private mutating func ingestConverted(_ value: RawSpan, _ key: RawSpan, at now: Instant) {
    converted.removeAll()
    do throws(MalformedInput) { try converter?.convert(value, into: &converted) } catch { return }
    converted.bytes.withRawBytes { bytes in
      _ = sampler.ingest(
        offset: Offset(offset), timestamp: now, key: key, value: bytes, into: &effects)
    }
  }
}

extension Duration {
  /// The duration in seconds.
  var inSeconds: Double {
    Double(components.seconds) + Double(components.attoseconds) / 1e18
  }
}

extension Collection where Element == Double {
  /// The middle value; the lower of two.
  var median: Double {
    let ordered = sorted()
    return ordered.isEmpty ? 0 : ordered[(ordered.count - 1) / 2]
  }
}

/// The calling thread's processor time: other programs' share is excluded.
enum ProcessorTime {
  /// In seconds.
  static var now: Double {
    var time = timespec()
    // Sound: the call writes only to `time`.
    _ = unsafe clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
  }
}

/// The process's resident memory, from the kernel.
enum ResidentMemory {
  /// Now, in bytes.
  static var current: Int { read("VmRSS:") }
  /// Peak, in bytes.
  static var peak: Int { read("VmHWM:") }
  /// Memory available to programs, in bytes.
  static var available: Int { read("MemAvailable:", of: "/proc/meminfo") }

  private static func read(_ field: String, of path: String = "/proc/self/status") -> Int {
    guard let text = try? String(contentsOfFile: path, encoding: .utf8) else { return 0 }
    for line in text.split(separator: "\n") where line.hasPrefix(field) {
      return (Int(line.filter(\.isNumber)) ?? 0) * 1024
    }
    return 0
  }
}

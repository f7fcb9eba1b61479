// tailrace record: a stretch of a topic, as a recording.

import ArgumentParser
import Files
import Foundation
import Kafka
import Pipeline
import Sampling
import Topology

struct RecordCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "record",
    abstract: "Record a stretch of a topic.",
    discussion: """
      Reads the topology's spans, or --topic, with a consumer that belongs to no group: workers don't \
      notice. The partitions' records are merged by their timestamps, and written as a recording that \
      `replay` and `bench --input` read. Other encodings are converted to OTLP protobuf; damaged \
      records are recorded as they are.

      --from and --to are a time (2026-01-31T23:59:58Z), an age (-15m) or an offset, which then counts in \
      every partition. Without --from it begins with the oldest record, without --to it ends with the newest \
      that there is now. The file appears once it is complete; after Ctrl-C it holds what was read so far.

      --anonymise replaces texts, attribute values and ids by keyed hashes of the same length. Equal texts \
      stay equal; times, sizes, kinds and statuses stay. The key is 32 hexadecimal digits in a file: \
      `openssl rand -hex 16 > key`. Who has the key can test guesses: keep it, or delete it.

      A partition that gives nothing for as long as --patience is given up, and an error of the brokers \
      ends the reading. The file then has what was read, the report tells which offsets are missing, and the \
      exit code is 1.
      """)

  @Argument(help: "The topology; its brokers and its topic of spans are read.")
  var topology: String

  @Option(
    name: .shortAndLong,
    help: "The recording to write; `-` is standard output; compressed if the name ends in .zst.")
  var output: String

  @OptionGroup var stretch: StretchOptions

  @Option(name: .long, help: "Stop at this size, before compression: 512, 64MiB, 2GB.")
  var maxBytes: SizeArgument?

  @Flag(name: .long, help: "Wait for new records until Ctrl-C.")
  var follow = false

  @Option(name: .long, help: "How long a partition may give nothing before it is given up.")
  var patience = TimeArgument(seconds: 60)

  @Flag(name: .long, help: "Replace texts, attribute values and ids by keyed hashes.")
  var anonymise = false

  @Option(name: .long, help: "The file with the key for --anonymise.")
  var keyFile: String?

  @Option(
    name: .long,
    help: """
      With --anonymise: names to keep, such as services,spans; of services, scopes, spans, events, \
      attributes, or all.
      """)
  var keepNames: NamesArgument?

  @Flag(help: "Print the report as JSON.")
  var json = false

  @OptionGroup var progress: ProgressOptions

  func validate() throws {
    if follow, stretch.to != nil { throw ValidationError("--follow has no end: leave out --to") }
    if anonymise != (keyFile != nil) { throw ValidationError("--anonymise and --key-file go together") }
    if keepNames != nil, !anonymise { throw ValidationError("--keep-names is for --anonymise") }
  }

  mutating func run() throws {
    let files = CommandFiles(
      inputs: [("the topology", topology), ("--key-file", keyFile)], outputs: [("--output", output)])
    try files.check()
    let anonymiser = try keyFile.map { Anonymiser(key: try readKey($0), keptNames: keepNames?.names ?? []) }
    let loaded = try Topology.loaded(from: topology, withClients: true)
    let source = loaded.input
    var wanted = TopicStretch(topic: stretch.topic ?? source.name)
    wanted.partitions = stretch.partitions?.numbers
    wanted.from = stretch.from?.bound
    wanted.to = stretch.to?.bound
    wanted.follows = follow
    wanted.patience = patience.duration
    do {
      try record(wanted, loaded, wanted.topic == source.name ? source : nil, anonymiser, files)
    } catch let error as KafkaError {
      throw CommandFailure.failed("topic '\(wanted.topic)': \(error)")
    }
  }

  private func readKey(_ path: String) throws -> (UInt64, UInt64) {
    let text: [UInt8]
    do throws(FileFailure) { text = try InputFile(path: path).readAll(upTo: 4096) } catch {
      throw CommandFailure.misconfigured(error.description)
    }
    guard let key = Anonymiser.key(from: text) else {
      throw CommandFailure.misconfigured(
        "\(path): a key is 32 hexadecimal digits, as from: openssl rand -hex 16")
    }
    return key
  }

  private func record(
    _ stretch: TopicStretch, _ topology: Topology, _ source: SpanSource?, _ anonymiser: Anonymiser?,
    _ files: CommandFiles
  ) throws {
    let reader = try StretchReader(stretch, of: topology)
    defer { reader.abandon() }
    for gap in reader.gaps { StandardError.write("\(gap)\n") }
    let writer = try RecordingWriter(path: output)
    var recorder = Recorder(
      writer, encoding: source?.encoding, compression: source?.compression ?? .auto, anonymiser: anonymiser,
      bytesMax: maxBytes?.bytes ?? .max)
    let stop = StopFlag()
    let signals = Signals.stopping({ StandardError.write("\($0)\n") }) { stop.set() }
    defer { signals.cancel() }
    let line = Progress("records", progress, isHidden: files.isOnTerminal)
    var isFull = false
    let start = ContinuousClock.now
    while !reader.isAtEnd, !isFull, !stop.isSet {
      try reader.read { record in
        isFull = try !recorder.take(record.value)
        return !isFull && !stop.isSet
      }
      line.show(recorder.report.records, share: reader.share, "\(recorder.report.bytes >> 20) MiB")
    }
    line.end()
    try writer.finish()
    let seconds = (ContinuousClock.now - start).inSeconds
    let text = RecordText(
      report: recorder.report, topic: stretch.topic, gaps: reader.gaps, isFull: isFull, isStopped: stop.isSet,
      seconds: seconds)
    try files.report(json ? try text.json : text.lines.joined(separator: "\n"))
    let failures = reader.gaps.filter(\.isFailure)
    guard !failures.isEmpty else { return }
    let cause = reader.trouble.map { " (the brokers' last error: \($0))" } ?? ""
    throw CommandFailure.failed(
      "topic '\(stretch.topic)': the recording is not complete\(cause)\n"
        + failures.map(\.description).joined(separator: "\n"))
  }
}

/// What was recorded, for people and as JSON.
private struct RecordText {
  let report: Recorder.Report
  let topic: String
  let gaps: [StretchGap]
  let isFull: Bool
  let isStopped: Bool
  let seconds: Double

  var lines: [String] {
    let rate = Double(report.records) / max(seconds, 0.001)
    var lines = [
      "recorded   \(report.records) records (\(report.bytes) bytes) of '\(topic)'"
        + String(format: " in %.1f s, %.0f records/s", seconds, rate)
    ]
    for gap in gaps { lines.append("missing    \(gap)") }
    if isFull { lines.append("full       stopped at --max-bytes") }
    if isStopped { lines.append("stopped    by a signal") }
    if report.tombstones > 0 { lines.append("left out   \(report.tombstones) records without a value") }
    if report.tooLarge > 0 { lines.append("left out   \(report.tooLarge) records of more than 64 MiB") }
    if report.spansRejected > 0 { lines.append("left out   \(report.spansRejected) unusable spans") }
    if report.blanked > 0 {
      lines.append("blanked    \(report.blanked) damaged records, which can't be made anonymous")
    }
    return lines
  }

  var json: String {
    get throws {
      try ReportJSON.encode(
        Form(
          topic: topic, records: report.records, bytes: report.bytes, tombstones: report.tombstones,
          recordsTooLarge: report.tooLarge, rejectedSpans: report.spansRejected,
          blankedRecords: report.blanked, isFull: isFull, isStopped: isStopped,
          gaps: gaps.map {
            Gap(partition: $0.partition, from: $0.from, to: $0.to, isFailure: $0.isFailure, text: "\($0)")
          }))
    }
  }

  private struct Form: Encodable {
    var topic: String
    var records, bytes, tombstones, recordsTooLarge, rejectedSpans, blankedRecords: Int
    var isFull, isStopped: Bool
    var gaps: [Gap]
  }

  private struct Gap: Encodable {
    var partition: Int32
    var from, to: Int64?
    var isFailure: Bool
    var text: String
  }
}

/// The stretch of a topic to read.
struct StretchOptions: ParsableArguments {
  @Option(name: .long, help: "The topic; by default the topology's spans.")
  var topic: String?

  @Option(
    name: .long, parsing: .unconditional, help: "Where to begin: a time, an age such as -15m, or an offset.")
  var from: BoundArgument?

  @Option(
    name: .long, parsing: .unconditional,
    help: "Where to end, exclusively: a time, an age such as -15m, or an offset.")
  var to: BoundArgument?

  @Option(name: .long, help: "The partitions, such as 0,3-5; all by default.")
  var partitions: PartitionsArgument?
}

/// Where a stretch begins or ends: `2026-01-31T23:59:58Z`, `-15m`, or an offset.
struct BoundArgument: ExpressibleByArgument {
  private let text: String

  init?(argument: String) {
    guard TopicStretch.Bound(argument, now: Instant(nanoseconds: 0)) != nil else { return nil }
    text = argument
  }

  /// The place in a topic; ages are counted from now.
  var bound: TopicStretch.Bound? {
    TopicStretch.Bound(text, now: Instant(nanoseconds: Int64(Date().timeIntervalSince1970 * 1e9)))
  }
}

/// Partitions such as `0,3-5`.
struct PartitionsArgument: ExpressibleByArgument {
  let numbers: [Int32]

  init?(argument: String) {
    guard let numbers = TopicStretch.partitions(argument) else { return nil }
    self.numbers = numbers
  }
}

/// Kinds of names such as `services,spans`, or `all`.
struct NamesArgument: ExpressibleByArgument {
  let names: Set<Anonymiser.Name>

  init?(argument: String) {
    guard argument != "all" else {
      names = Set(Anonymiser.Name.allCases)
      return
    }
    let parts = argument.split(separator: ",", omittingEmptySubsequences: false)
    let found = parts.compactMap { Anonymiser.Name(rawValue: String($0)) }
    guard found.count == parts.count else { return nil }
    names = Set(found)
  }
}

/// A size such as `512`, `64MiB` or `2GB`.
struct SizeArgument: ExpressibleByArgument {
  let bytes: Int

  init?(argument: String) {
    guard let bytes = ByteSizeText.parse(argument), bytes > 0 else { return nil }
    self.bytes = bytes
  }
}

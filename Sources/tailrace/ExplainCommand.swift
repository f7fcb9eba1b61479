// tailrace explain: why a trace was kept or dropped.

import ArgumentParser
import Files
import Foundation
import Kafka
import OTLP
import Pipeline
import Sampling
import Topology

struct ExplainCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "explain",
    abstract: "Explain why a trace was kept or dropped.",
    discussion: """
      Tells in order what happened to a trace: when its spans arrived, what closed it, what each policy saw \
      and what it wants, and what came late; and shows its spans as a tree, with the origin of an error.

      From a recording the trace is sampled again, with the topology's policies or the defaults. Without a \
      recording it is looked up in the topology's topics of spans, decisions and verdicts: in the partitions \
      in which a record with the trace id as its key can be, or in all of them (--all-partitions).

      Exits with 1 if nothing is known of the trace.
      """)

  @Argument(help: "The trace id: 32 hexadecimal digits.")
  var traceID: String

  @Argument(help: "A recording; without one, the topology's topics are read.")
  var recording: String?

  @Option(name: .long, help: "The topology with the policies and the brokers.")
  var topology: String?

  @Option(
    name: .long, parsing: .unconditional,
    help: "Where to begin in the topics: a time, an age such as -15m, or an offset.")
  var from: BoundArgument?

  @Option(name: .long, help: "The partitions to read, such as 0,3-5.")
  var partitions: PartitionsArgument?

  @Flag(name: .long, help: "Read all partitions: for topics whose records are keyed otherwise.")
  var allPartitions = false

  @Flag(help: "Print the story as JSON.")
  var json = false

  @OptionGroup var progress: ProgressOptions

  func validate() throws {
    guard id != nil else {
      throw ValidationError("a trace id is 32 hexadecimal digits, not all zero")
    }
    guard recording != nil || topology != nil else {
      throw ValidationError("name a recording, or a topology with --topology")
    }
    if recording != nil, from != nil || partitions != nil || allPartitions {
      throw ValidationError(
        "--from, --partitions and --all-partitions are for topics, not for a recording")
    }
    if partitions != nil, allPartitions {
      throw ValidationError("--partitions and --all-partitions exclude each other")
    }
    if recording == "-" { throw ValidationError("a recording is read twice: name a file") }
  }

  private var id: TraceID? {
    guard traceID.utf8.count == 32 else { return nil }
    return Array(traceID.utf8).withRawBytes { TraceID(key: $0) }.flatMap { $0.isZero ? nil : $0 }
  }

  mutating func run() throws {
    guard let id else { return }
    let loaded = try TailSamplingTopology.loaded(from: topology)
    guard let story = try story(of: id, loaded) else {
      throw CommandFailure.failed(
        "nothing is known of trace \(id) in \(recording ?? "the topics")\(recording == nil ? hint : "")")
    }
    try StandardOutput.writeLine(json ? ReportJSON.encode(story) : StoryText(story: story).text)
  }

  /// Where else to look.
  private var hint: String {
    var hints: [String] = []
    if !allPartitions {
      hints.append("--all-partitions, if records are keyed otherwise or partitions were added")
    }
    if from != nil { hints.append("an earlier --from") }
    return hints.isEmpty ? "" : "; try " + hints.joined(separator: ", or ")
  }

  private func story(of id: TraceID, _ topology: TailSamplingTopology) throws -> TraceStory? {
    let line = Progress("% read", progress)
    defer { line.end() }
    if let recording {
      return try TraceStory.inRecording(recording, of: id, SamplerConfiguration(topology)) {
        line.show(Int(100 * $0), share: $0)
      }
    }
    let stop = StopFlag()
    let signals = Signals.stopping({ StandardError.write("\($0)\n") }) { stop.set() }
    defer { signals.cancel() }
    var search = TraceStory.Search()
    search.partitions = partitions?.numbers
    search.readsAll = allPartitions
    search.from = from?.bound
    do {
      return try TraceStory.inTopics(of: topology, of: id, search) { topic, share in
        line.show(Int(100 * share), share: share, "of '\(topic)'")
        return !stop.isSet
      }
    } catch let error as KafkaError {
      throw CommandFailure.failed("\(error)")
    }
  }
}

/// A story as text. Names in it are others' text: whatever would control a terminal is escaped.
struct StoryText {
  let story: TraceStory

  /// More events, and more spans, are counted.
  private static let eventsMax = 60
  private static let spansMax = 400
  private static let depthMax = 40

  var text: String {
    var lines = [headline]
    lines += story.notes.map { "note       \(printable($0, most: 400))" }
    lines += ["", "events"] + events
    if !story.policies.isEmpty {
      lines += ["", "policies"]
      for policy in story.policies { lines += Self.lines(of: policy, depth: 0) }
    }
    if !story.shadow.isEmpty {
      lines += ["", "shadow policies (they decide nothing)"]
      for policy in story.shadow { lines += Self.lines(of: policy, depth: 0) }
    }
    if !story.shadowChanging.isEmpty {
      let names = printable(story.shadowChanging.joined(separator: ", "), most: 200)
      lines.append("  the verdict would be the other one with \(names)")
    }
    if !story.spans.isEmpty {
      lines += ["", "spans"] + StoryTree(story.spans).lines(Self.spansMax, Self.depthMax)
    }
    return lines.joined(separator: "\n")
  }

  private var headline: String {
    let verdict =
      switch (story.verdict, story.isRecalled) {
      case ("keep", true): "recalled and kept"
      case ("keep", _): "kept"
      case ("drop", _): "dropped"
      default: "undecided"
      }
    let reasons =
      story.reasons.isEmpty ? "" : " by " + printable(story.reasons.joined(separator: ", "), most: 200)
    return "trace      \(story.traceId): \(verdict)\(reasons)"
  }

  private var events: [String] {
    let shown = story.events.count <= Self.eventsMax ? story.events : Self.shortened(story.events)
    var lines = shown.map { event in
      let place =
        (event.partition.map { "partition \($0) " } ?? "")
        + (event.offset.map { "offset \($0)" } ?? "")
      return "  \(event.time.map { printable($0) } ?? "-")  \(place)  \(printable(event.text, most: 400))"
    }
    let rest = story.events.count - shown.count
    if rest > 0 { lines.append("  and \(rest) more records in which spans arrived") }
    return lines
  }

  /// Verdicts, and the first arrivals.
  private static func shortened(_ events: [TraceStory.Event]) -> [TraceStory.Event] {
    var left = eventsMax
    return events.filter { event in
      guard event.kind == "arrived" || event.kind == "late" else { return true }
      left -= 1
      return left >= 0
    }
  }

  private static func lines(of answer: TraceStory.Answer, depth: Int) -> [String] {
    let sign =
      switch answer.answer {
      case "matches": "yes"
      case "does_not_match": "no "
      default: "?  "
      }
    let indent = String(repeating: "  ", count: depth + 1)
    let name = printable(answer.name, most: 60)
    let type = answer.name == answer.type ? "" : " (\(answer.type))"
    let seen = answer.seen.isEmpty ? "" : "; saw \(printable(answer.seen, most: 300))"
    let line = "\(indent)\(sign)  \(name)\(type): wants \(printable(answer.wanted, most: 300))\(seen)"
    return [line] + answer.parts.flatMap { lines(of: $0, depth: depth + 1) }
  }
}

/// Spans below their parents.
private struct StoryTree {
  private let spans: [TraceStory.StorySpan]
  /// The children of each span, and those that have no parent here.
  private var children: [String: [Int]] = [:]
  private var tops: [Int] = []

  private static let nameMax = 60

  init(_ spans: [TraceStory.StorySpan]) {
    self.spans = spans
    let ids = Set(spans.map(\.spanId))
    for (number, span) in spans.enumerated() {
      if let parent = span.parentId, ids.contains(parent), parent != span.spanId {
        children[parent, default: []].append(number)
      } else {
        tops.append(number)
      }
    }
  }

  /// One line for each span, at most so many; deeper ones are shown at the greatest depth.
  func lines(_ most: Int, _ depthMax: Int) -> [String] {
    var lines: [String] = []
    var shown: Set<Int> = []
    // Spans that are each other's parents have no top: they come last.
    for start in tops + spans.indices where !shown.contains(start) {
      var waiting = [(number: start, depth: 0)]
      while let (number, depth) = waiting.popLast() {
        guard shown.insert(number).inserted else { continue }
        guard lines.count < most else { continue }
        lines.append(line(of: spans[number], depth: min(depth, depthMax)))
        for child in (children[spans[number].spanId] ?? []).reversed() {
          waiting.append((child, depth + 1))
        }
      }
    }
    if spans.count > lines.count { lines.append("  and \(spans.count - lines.count) more spans") }
    return lines
  }

  private func line(of span: TraceStory.StorySpan, depth: Int) -> String {
    let indent = String(repeating: "  ", count: depth + 1)
    let service =
      span.service.isEmpty ? "(no service)" : printable(span.service, most: Self.nameMax)
    var line = "\(indent)\(service)  \(printable(span.name, most: Self.nameMax))  "
    line += "+\(Int64(clamping: span.afterNs).asDuration)  \(Int64(clamping: span.durationNs).asDuration)"
    if span.parentId != nil, depth == 0 { line += "  (parent missing)" }
    if span.isError { line += "  ERROR" }
    if span.isErrorOrigin { line += "  <- the error began here" }
    return line
  }
}

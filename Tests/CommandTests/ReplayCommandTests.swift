// generate and replay: the same output from the same seed, reports that agree with the truth, damaged
// recordings.

import Foundation
import Testing

/// One line of a truth file.
private struct Truth: Decodable {
  var traceId: String
  var spans, errorSpans: Int
  var hasError, isSlow, isLate: Bool
  var services: [String]
}

/// One decision record.
private struct FinalDecision: Decodable {
  var traceId, verdict: String
  var final: Bool
  var spanCount, errorCount: Int
  var services: [String]?
}

private func lines<Line: Decodable>(_ text: String, as type: Line.Type) throws -> [Line] {
  let decoder = JSONDecoder()
  decoder.keyDecodingStrategy = .convertFromSnakeCase
  return try text.split(separator: "\n").map { try decoder.decode(type, from: Data($0.utf8)) }
}

/// A record after its length, as in a recording.
private func framed(_ record: [UInt8]) -> [UInt8] { [UInt8(record.count), 0, 0, 0] + record }

@Suite struct ReplayCommandTests {
  /// Generates a recording with many errors and slow traces; returns its path.
  private func generate(_ directory: WorkingDirectory, _ name: String, _ more: String...) throws -> String {
    let run = try CommandRun(
      ["generate", "-o", directory.path(name), "--errors", "0.2", "--slow", "0.1", "--spans-per-trace", "12"]
        + more)
    #expect(run.exitCode == 0, "\(run.errors)")
    return directory.path(name)
  }

  @Test func theSameSeedGivesTheSameFile() throws {
    let directory = try WorkingDirectory()
    for name in ["a.otlp", "b.otlp"] {
      _ = try generate(
        directory, name, "--traces", "50", "--seed", "7", "--truth", directory.path("\(name).truth"))
    }
    #expect(try directory.data("a.otlp") == directory.data("b.otlp"))
    #expect(try directory.data("a.otlp.truth") == directory.data("b.otlp.truth"))
    _ = try generate(directory, "c.otlp", "--traces", "50", "--seed", "8")
    #expect(try directory.data("a.otlp") != directory.data("c.otlp"))
  }

  @Test func aReplayAgreesWithTheTruth() throws {
    let directory = try WorkingDirectory()
    let path = try generate(directory, "a.otlp.zst", "--traces", "300", "--truth", directory.path("truth"))
    let truths = try lines(directory.text("truth"), as: Truth.self)
    #expect(truths.count == 300)
    let run = try CommandRun(
      "replay", path, "--topology", shippedTopology("tail-sampling"), "--json", "--decisions",
      directory.path("d.jsonl"), "--sampled", directory.path("s.otlp"))
    #expect(run.exitCode == 0)
    let report = try run.json()
    #expect(report["traces"] as? Int == 300)
    #expect(report["damaged_records"] as? Int == 0)
    #expect(report["spans"] as? Int == truths.reduce(0) { $0 + $1.spans })
    let decisions = try lines(directory.text("d.jsonl"), as: FinalDecision.self).filter(\.final)
    let byTrace = Dictionary(uniqueKeysWithValues: decisions.map { ($0.traceId, $0) })
    #expect(byTrace.count == 300)
    // Late spans can't change a verdict: traces with late spans are left to the demo's audit.
    for truth in truths where !truth.isLate {
      let decision = try #require(byTrace[truth.traceId])
      #expect(decision.spanCount == truth.spans)
      #expect(decision.errorCount == truth.errorSpans)
      guard truth.hasError || truth.isSlow else { continue }
      #expect(decision.verdict == "keep")
      #expect(decision.services?.sorted() == truth.services)
    }
    let errors = try #require(report["error_traces"] as? Int)
    #expect(errors >= truths.count { $0.hasError && !$0.isLate })
    #expect(report["error_traces_kept"] as? Int == errors)
    #expect(report["error_trace_spans_kept"] as? Int == report["error_trace_spans"] as? Int)
    #expect(report["slow_traces_kept"] as? Int == report["slow_traces"] as? Int)

    // The kept spans are a recording too.
    let again = try CommandRun("replay", directory.path("s.otlp"), "--json", "--strict")
    #expect(again.exitCode == 0)
    #expect(try again.json()["spans"] as? Int == report["kept_spans"] as? Int)
    #expect(try again.json()["error_traces"] as? Int == errors)
  }

  @Test func twoReplaysAreTheSameByteForByte() throws {
    let directory = try WorkingDirectory()
    let path = try generate(directory, "a.otlp.zst", "--traces", "100")
    var reports: [String] = []
    for name in ["1", "2"] {
      let run = try CommandRun(
        "replay", path, "--decisions", directory.path("d\(name)"), "--sampled", directory.path("s\(name).zst")
      )
      #expect(run.exitCode == 0)
      reports.append(run.output)
    }
    #expect(reports[0] == reports[1])
    #expect(try directory.data("d1") == directory.data("d2"))
    #expect(try directory.data("s1.zst") == directory.data("s2.zst"))
    #expect(try !directory.data("d1").isEmpty)
  }

  /// A record of one span that ends so many seconds after 1970, as in a recording.
  private func record(_ trace: UInt8, endingAt seconds: UInt64) -> [UInt8] {
    let end = (0..<8).map { UInt8(truncatingIfNeeded: (seconds * 1_000_000_000) >> UInt64(8 * $0)) }
    let ids =
      [0x0a, 16, trace] + [UInt8](repeating: 7, count: 15) + [0x12, 8] + [UInt8](repeating: 7, count: 8)
    let span = ids + [0x39] + end + [0x41] + end
    return framed([0x12, 0x12, 0x0a].reduce(span) { [$1, UInt8($0.count)] + $0 })
  }

  /// One host's clock is wrong: the report names its record, and no other trace is affected.
  @Test func aRecordThatEndsFarAheadIsNamed() throws {
    let directory = try WorkingDirectory()
    for ahead in [3600, 8_500_000_000] as [UInt64] {
      let records = (0..<20 as Range<UInt8>).map { number in
        record(number, endingAt: 1_700_000_000 + UInt64(number) + (number == 12 ? ahead : 0))
      }
      let path = try directory.write(Data(records.flatMap { $0 }), to: "a.otlp")
      let run = try CommandRun("replay", path)
      #expect(run.exitCode == 0)
      let place = records.prefix(12).reduce(0) { $0 + $1.count }
      #expect(run.output.contains("warning    record 12, at byte \(place), ends long after its neighbours"))
      let report = try CommandRun("replay", path, "--json").json()
      #expect(report["records_ahead"] as? Int == 1)
      #expect(report["first_record_ahead"] as? Int == 12)
      #expect(report["traces"] as? Int == 20)
    }
    _ = try generate(directory, "b.otlp", "--traces", "20")
    #expect(try CommandRun("replay", directory.path("b.otlp")).output.contains("warning") == false)
  }

  @Test(arguments: ["a.otlp", "a.otlp.zst"])
  func aTruncatedRecordingIsReadToItsEnd(_ name: String) throws {
    let directory = try WorkingDirectory()
    _ = try generate(directory, name, "--traces", "60")
    let whole = try directory.data(name)
    let cut = try directory.write(whole.prefix(whole.count * 2 / 3), to: "cut")
    let run = try CommandRun("replay", cut, "--json")
    #expect(run.exitCode == 0)
    let report = try run.json()
    #expect(report["damaged_records"] as? Int ?? 0 >= 1)
    #expect(report["first_damage_offset"] as? Int ?? 0 > 0)
    #expect((report["first_damage"] as? String)?.contains("truncated") == true)
    #expect(report["traces"] as? Int ?? 0 > 10)
    let strict = try CommandRun("replay", cut, "--strict")
    #expect(strict.exitCode == 1)
    #expect(strict.output.contains("damaged"))
    #expect(strict.errors.contains("--strict"))
  }

  @Test func flippedBytesCostTheirRecordsOnly() throws {
    let directory = try WorkingDirectory()
    var bytes = try Data(contentsOf: URL(filePath: try generate(directory, "a.otlp", "--traces", "60")))
    let records = try CommandRun("replay", directory.path("a.otlp"), "--json").json()["records"] as? Int ?? 0
    for place in [1000, 20_000, 40_000] {
      bytes.replaceSubrange(place..<place + 8, with: repeatElement(0xff, count: 8))
    }
    let run = try CommandRun("replay", try directory.write(bytes, to: "flipped"), "--json")
    #expect(run.exitCode == 0)
    #expect(try run.json()["records"] as? Int ?? 0 >= records - 3)
    #expect(try run.json()["traces"] as? Int == 60)
  }

  @Test func anEmptyRecordingIsFineAMissingOneIsNot() throws {
    let directory = try WorkingDirectory()
    let empty = try CommandRun("replay", try directory.write("", to: "empty"), "--json", "--strict")
    #expect(empty.exitCode == 0)
    #expect(try empty.json()["traces"] as? Int == 0)
    let missing = try CommandRun("replay", directory.path("nothing"))
    #expect(missing.exitCode == 1)
    #expect(missing.errors.contains(directory.path("nothing")))
    #expect(missing.errors.split(separator: "\n").count == 1)
    let unwritable = try CommandRun("generate", "-o", directory.path("no/such/directory"), "--traces", "1")
    #expect(unwritable.exitCode == 1)
  }
}

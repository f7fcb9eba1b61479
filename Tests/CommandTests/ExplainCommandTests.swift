// explain: its exit codes, its JSON, and that names from traces do not control the terminal.

import Foundation
import Testing

@Suite struct ExplainCommandTests {
  private static let id = "0123456789abcdef0123456789abcdef"

  /// A recording as a Collector writes it: a root and a failed child with hostile names.
  private func recording(in directory: WorkingDirectory) throws -> String {
    func span(
      _ id: String, _ parent: String, _ name: String, _ end: Int, _ status: Int, start: Int = 1_000_000_000
    ) -> String {
      """
      {"traceId":"\(Self.id)","spanId":"\(id)","parentSpanId":"\(parent)","name":"\(name)",\
      "startTimeUnixNano":"\(start)","endTimeUnixNano":"\(end)","status":{"code":\(status)}}
      """
    }
    let root = span("0000000000000001", "", "GET \\u001b[2J\\n\\u202e/x", 1_250_000_000, 0)
    let child = span(
      "0000000000000002", "0000000000000001", String(repeating: "n", count: 5000), 1_100_000_000, 2,
      start: 1_020_000_000)
    let line = """
      {"resourceSpans":[{"resource":{"attributes":[{"key":"service.name",\
      "value":{"stringValue":"shop\\u0007"}}]},"scopeSpans":[{"spans":[\(root),\(child)]}]}]}
      """
    return try directory.write(line + "\n", to: "a.json")
  }

  @Test func aStoryIsToldWithoutControllingTheTerminal() throws {
    let directory = try WorkingDirectory()
    let run = try CommandRun("explain", Self.id, recording(in: directory))
    #expect(run.exitCode == 0 && run.errors.isEmpty, "\(run.errors)")
    #expect(run.output.hasPrefix("trace      \(Self.id): kept by errors\n"))
    for part in [
      "the error began here", "closed", "yes  errors", "no   slow", "\\u{1b}[2J\\u{a}\\u{202e}/x",
      "  +0 ns  250 ms\n", "…  +20 ms  80 ms  ERROR  <- the error began here",
    ] {
      #expect(run.output.contains(part), "\(part) is not in \(run.output)")
    }
    #expect(
      !run.output.unicodeScalars.contains { $0.value < 0x20 && $0 != "\n" || $0.value == 0x202e })
    #expect(run.output.split(separator: "\n").allSatisfy { $0.count < 700 })
  }

  @Test func theStoryIsJSONToo() throws {
    let directory = try WorkingDirectory()
    let run = try CommandRun("explain", Self.id, recording(in: directory), "--json")
    let story = try run.json()
    #expect(story["verdict"] as? String == "keep" && story["trace_id"] as? String == Self.id)
    let spans = story["spans"] as? [[String: Any]]
    #expect(spans?.map { $0["after_ns"] as? Int } == [0, 20_000_000])
    #expect((story["policies"] as? [[String: Any]])?.count == 3)
  }

  @Test func shadowPoliciesAnswerToo() throws {
    let directory = try WorkingDirectory()
    let topology = try directory.write(
      """
      kind: tail-sampling
      policies:
        - {name: slow, type: latency, latency: {threshold_ms: 60000}}
      shadow:
        - {name: tried, type: status_code, status_code: {status_codes: [ERROR]}}
        - {name: idle, type: latency, latency: {threshold_ms: 90000}}
      """, to: "t.yaml")
    let path = try recording(in: directory)
    let run = try CommandRun("explain", Self.id, path, "--topology", topology)
    #expect(run.output.hasPrefix("trace      \(Self.id): dropped\n"), "\(run.output)\(run.errors)")
    let parts = run.output.components(separatedBy: "shadow policies (they decide nothing)\n")
    try #require(parts.count == 2)
    #expect(!parts[0].contains("tried") && parts[0].contains("no   slow"))
    #expect(parts[1].contains("yes  tried") && parts[1].contains("no   idle"))
    #expect(parts[1].contains("the verdict would be the other one with tried\n"))
    let story = try CommandRun("explain", Self.id, path, "--topology", topology, "--json").json()
    let shadow = try #require(story["shadow"] as? [[String: Any]])
    #expect(shadow.map { $0["answer"] as? String } == ["matches", "does_not_match"])
    #expect(story["shadow_changing"] as? [String] == ["tried"])
  }

  @Test func anUnknownTraceIsAFailure() throws {
    let directory = try WorkingDirectory()
    let other = String(Self.id.reversed())
    let run = try CommandRun("explain", other, recording(in: directory))
    #expect(run.exitCode == 1 && run.output.isEmpty)
    #expect(run.errors.hasPrefix("tailrace: nothing is known of trace \(other) in "))
  }

  @Test(arguments: [
    ["abc", "a.otlp"], [Self.id], [String(repeating: "0", count: 32), "a.otlp"], [Self.id, "-"],
    [Self.id, "a.otlp", "--from", "-1m"],
    [Self.id, "--topology", "t", "--all-partitions", "--partitions", "1"],
  ])
  func usageErrorsExitWithTwo(_ arguments: [String]) throws {
    let run = try CommandRun(["explain"] + arguments)
    #expect(run.exitCode == 2 && run.output.isEmpty, "\(run.errors)")
  }
}

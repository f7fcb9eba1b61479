// bench and demo: they run and report what they promise. Speed is not tested.

import Testing

@Suite struct BenchAndDemoTests {
  @Test func theBenchmarkReportsItsFigures() throws {
    let run = try CommandRun("bench", "--json", "--open-traces", "200", "--passes", "1")
    #expect(run.exitCode == 0, "\(run.errors)")
    let report = try run.json()
    let scan = try #require(report["scan"] as? [String: Any])
    #expect(scan["spans_per_second"] as? Double ?? 0 > 0)
    let core = try #require(report["core"] as? [String: Any])
    for key in [
      "spans_per_second", "bytes_per_second", "peak_resident_bytes", "resident_bytes_per_byte_buffered",
      "bytes_per_open_trace",
    ] {
      #expect(core[key] is Double || core[key] is Int, "\(key)")
    }
  }

  @Test func theBenchmarkTakesARecording() throws {
    let directory = try WorkingDirectory()
    let path = directory.path("a.otlp.zst")
    #expect(try CommandRun("generate", "-o", path, "--traces", "100").exitCode == 0)
    let run = try CommandRun("bench", "--input", path, "--open-traces", "50", "--passes", "1")
    #expect(run.exitCode == 0, "\(run.errors)")
    #expect(run.output.contains("million spans/s"))
    let empty = try CommandRun("bench", "--input", try directory.write("", to: "empty"), "--passes", "1")
    #expect(empty.exitCode == 1)
    #expect(empty.errors.contains("no record"))
  }

  @Test func theScalingBenchmarkHasARowForEachPoint() throws {
    let directory = try WorkingDirectory()
    let run = try CommandRun(
      "bench-scaling", "--quick", "--passes", "1", "--json", "--csv", directory.path("points.csv"))
    #expect(run.exitCode == 0, "\(run.errors)")
    let sweeps = try #require(try run.json()["sweeps"] as? [[String: Any]])
    let quantities = sweeps.compactMap { $0["quantity"] as? String }
    #expect(quantities == ["spans-per-trace", "open-traces", "services", "policies", "spans-per-record"])
    for sweep in sweeps {
      let points = try #require(sweep["points"] as? [[String: Any]])
      #expect(points.count == 2)
      #expect((sweep["left_out"] as? [Any])?.isEmpty == true)
      #expect(points.first?["relative_cost"] as? Double == 1)
      for point in points {
        for key in ["value", "spans_per_second", "relative_cost", "bytes_per_open_trace", "open_traces"] {
          #expect(point[key] as? Double ?? 0 > 0, "\(key)")
        }
      }
    }
    let rows = try directory.text("points.csv").split(separator: "\n").map { $0.split(separator: ",") }
    #expect(rows[0].prefix(2) == ["quantity", "value"] && rows.allSatisfy { $0.count == rows[0].count })
    let names = quantities.map { $0.replacing("-", with: " ") }
    #expect(rows.dropFirst().map { String($0[0]) } == names.flatMap { [$0, $0] })
  }

  @Test func theScalingBenchmarkReportsWhatItLeavesOut() throws {
    let run = try CommandRun(
      "bench-scaling", "--quick", "--passes", "1", "--sweep", "open-traces", "--memory", "1MiB")
    #expect(run.exitCode == 0, "\(run.errors)")
    let lines = run.output.split(separator: "\n")
    #expect(lines.contains { $0.hasPrefix("open traces") && $0.contains(" 1000  left out: ") })
    #expect(try CommandRun("bench-scaling", "--memory", "lots").exitCode == 2)
  }

  @Test func theSimulatedDayHasARowForEachInterval() throws {
    let directory = try WorkingDirectory()
    let run = try CommandRun(
      "report", "--intervals", "240", "--services", "40", "--output", directory.path("day.csv"))
    #expect(run.output.contains("figures              \(directory.path("day.csv"))\n"), "\(run.errors)")
    let rows = try directory.text("day.csv").split(separator: "\n").map {
      $0.split(separator: ",", omittingEmptySubsequences: false)
    }
    #expect(rows.count == 241 && rows.allSatisfy { $0.count == rows[0].count })
    #expect(
      rows.dropFirst().map { $0[1] }.filter { $0 != "" } == ["new service", "outage", "tenfold load of one"])
    // All that is neither a text nor the header is a number.
    #expect(
      rows.dropFirst().allSatisfy { $0.enumerated().allSatisfy { $0 == 1 || Double($1)?.isFinite == true } })
  }

  @Test func theDemoLosesNothing() throws {
    let run = try CommandRun("demo", "--duration", "3s", "--json")
    #expect(run.exitCode == 0, "\(run.errors)")
    // The table is live from its first line on.
    let table = run.errors.split(separator: "\n").filter { $0.contains(" published ") }
    #expect(!table.isEmpty && table.allSatisfy { !$0.contains("  read 0  ") }, "\(run.errors)")
    let report = try run.json()
    let traces = try #require(report["traces"] as? Int)
    #expect(traces > 100)
    #expect(report["decided"] as? Int == traces)
    #expect(report["repeated_decisions"] as? Int == 0)
    for kind in ["errors", "slow"] {
      let share = try #require(report[kind] as? [String: Any])
      #expect(share["complete"] as? Int == share["total"] as? Int)
    }
    #expect(report["reasons"] is [String: Any])
  }
}

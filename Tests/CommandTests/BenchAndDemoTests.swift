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
      "bench-scaling", "--quick", "--passes", "1", "--json", "--plot", directory.path("plot.svg"))
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
    let plot = try directory.text("plot.svg")
    for name in ["spans per trace", "open traces", "services", "policies", "spans per record"] {
      #expect(plot.contains(">\(name)<"))
    }
  }

  @Test func theScalingBenchmarkReportsWhatItLeavesOut() throws {
    let run = try CommandRun(
      "bench-scaling", "--quick", "--passes", "1", "--sweep", "open-traces", "--memory", "1MiB")
    #expect(run.exitCode == 0, "\(run.errors)")
    let lines = run.output.split(separator: "\n")
    #expect(lines.contains { $0.hasPrefix("open traces") && $0.contains(" 1000  left out: ") })
    #expect(try CommandRun("bench-scaling", "--memory", "lots").exitCode == 2)
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

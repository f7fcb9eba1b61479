// plan-capacity: cases calculated by hand, monotonic growth, and the page that shows its output.

import Foundation
import Testing

@Suite struct CapacityTests {
  @Test func thePlanMatchesHandCalculation() throws {
    // 2,000 traces/s of 10 spans of 383 bytes: 20,000 spans/s, 7.66 MB/s.
    let plan = try Plan(
      "--requests-per-second", "2000", "--spans-per-trace", "10", "--span-bytes", "383", "--error-share",
      "0.02", "--decision-wait", "30s",
      "--slow-share", "0.03", "--baseline-share", "0.1", "--incomplete-share", "0.1", "--compression", "4",
      "--spans-per-record", "4", "--set", "cpu-per-million-spans=2", "--set", "cpu-per-million-records=3",
      "--set", "cpu-per-million-traces=5", "--set", "live-factor=2")
    #expect(plan["traffic", "spans"] == 20_000)
    #expect(plan["traffic", "records"] == 5_000)
    #expect(plan["traffic", "bytes"] == 7_660_000)
    // 5 % errors and slow ones, and a tenth of the other 95 %.
    #expect(plan["traffic", "kept"].isAbout(0.145))
    // 0.9 x (1 s + 5 s) + 0.1 x 30 s.
    #expect(plan["traffic", "open for"].isAbout(8.4))
    #expect(plan["traffic", "open traces"].isAbout(16_800))
    #expect(plan["workers", "cores for spans"].isAbout(0.02 * 2))
    #expect(plan["workers", "cores for records"].isAbout(0.005 * 3))
    #expect(plan["workers", "cores for traces"].isAbout(0.002 * 5))
    // The three of them, twice for live traffic, at 60 %.
    #expect(plan["workers", "busy cores"].isAbout(0.13))
    #expect(plan["workers", "cores"].isAbout(0.13 / 0.6))
    #expect(plan["workers", "lanes to fetch"].isAbout(7.66 / 411 / 0.6))
    #expect(plan["workers", "pods"] == 2)
    #expect(plan["workers", "partitions"] == 4)
    // One pod may be down: the other holds everything.
    #expect(plan["memory of a lane", "partitions"] == 4)
    #expect(plan["memory of a lane", "undecided spans"].isAbout(16_800 * 3830 * 1.2))
    #expect(plan["memory of a lane", "open traces"].isAbout(16_800 * 800))
    #expect(plan["memory of a lane", "past verdicts"].isAbout(2000 * 600 * 128))
    // Verdicts may take a quarter of the limit, and need 153.6 MB.
    #expect(plan["memory of a lane", "limit"].isAbout(4 * 153_600_000))
    #expect(plan["memory of a pod", "container"].isAbout(614_400_000 + 201_326_592 + 536_870_912))
    #expect(plan["network and Kafka", "spans, in"].isAbout(1_915_000))
    #expect(plan["network and Kafka", "sampled, from workers"].isAbout(1_915_000 * 0.145))
    let decisions = 2000 * (0.145 * 1046 + 0.855 * 25) / 4
    #expect(plan["network and Kafka", "decisions, from workers"].isAbout(decisions))
    #expect(plan["network and Kafka", "replication"].isAbout(2 * (1_915_000 * 1.145 + decisions)))
    #expect(plan["network and Kafka", "disk for spans"].isAbout(1_915_000 * 6 * 3600 * 3))
  }

  @Test func largeSpansCostByTheByteAndFetchingMayDecide() throws {
    // 1,000 x 50 spans of 38,300 bytes: 1.915 GB/s; a hundred times the reference's size.
    let plan = try Plan(
      "--requests-per-second", "1000", "--span-bytes", "38300", "--lanes", "2", "--set",
      "cpu-per-million-spans=0.4", "--set", "cpu-per-million-records=1.5", "--set",
      "cpu-per-million-traces=3", "--set", "live-factor=1")
    #expect(plan["workers", "cores for spans"].isAbout(0.05 * 0.4 * 100))
    // Records and traces are as many as with small spans.
    #expect(plan["workers", "cores for records"].isAbout(0.05 / 3.8 * 1.5))
    #expect(plan["workers", "cores for traces"].isAbout(0.001 * 3))
    // 7.77 lanes to fetch, two per pod: 4 pods and one spare, 20 partitions, three for some of 8 lanes.
    #expect(plan["workers", "pods"] == 5)
    #expect(plan["workers", "partitions"] == 20)
    #expect(plan["memory of a lane", "partitions"] == 3)
    #expect(
      plan["memory of a pod", "limits.memory"].isAbout(2 * plan["memory of a lane", "limit"]))
    let fetching = try Plan(
      "--requests-per-second", "1000", "--span-bytes", "38300", "--set", "lane-fetch-rate=100000000")
    #expect(fetching["workers", "lanes to fetch"].isAbout(19.15 / 0.6))
    #expect(fetching["workers", "pods"] == 33)
  }

  @Test func smallerTracesAndRecordsCostMore() throws {
    // A million spans a second each time.
    func busyCores(perTrace: Double, _ options: String...) throws -> Double {
      let plan = try Plan(
        [
          "--requests-per-second", "\(1e6 / perTrace)", "--spans-per-trace", "\(perTrace)", "--set",
          "cpu-per-million-records=1.5", "--set", "cpu-per-million-traces=3", "--set", "live-factor=2",
        ] + options)
      return plan["workers", "busy cores"]
    }
    let usual = try busyCores(perTrace: 50)
    #expect(try busyCores(perTrace: 50, "--spans-per-record", "3.8") == usual)
    #expect(try busyCores(perTrace: 5, "--spans-per-record", "3.8").isAbout(usual + 2 * 0.18 * 3))
    #expect(try busyCores(perTrace: 50, "--spans-per-record", "1").isAbout(usual + 2 * (1 - 1 / 3.8) * 1.5))
    // A trace of two spans does not fill a record of 3.8.
    #expect(
      try busyCores(perTrace: 2) == busyCores(perTrace: 2, "--spans-per-record", "2"))
  }

  /// The table of docs/capacity.md shows what a million spans cost.
  @Test func thePageShowsWhatSmallTracesCost() throws {
    let page = try String(contentsOf: repositoryFile("docs/capacity.md"), encoding: .utf8)
    var shown = 0
    for match in page.matches(of: /\n\| ([0-9.]+) \| ([0-9.]+) \| ([0-9.]+) s \|/) {
      let perTrace = try #require(Double(match.1))
      let plan = try Plan(
        "--requests-per-second", "\(1e6 / perTrace)", "--spans-per-trace", String(match.1),
        "--spans-per-record", String(match.2), "--span-bytes", "383")
      let cores = plan["workers", "busy cores"]
      #expect(String(format: "%.2f", cores) == match.3, "\(match.1) spans per trace")
      shown += 1
    }
    #expect(shown == 5)
  }

  @Test func manyVerdictsNeedPartitions() throws {
    // 300 million verdicts, 16 million per partition.
    let plan = try Plan("--requests-per-second", "500000", "--spans-per-trace", "1", "--span-bytes", "100")
    #expect(plan["workers", "partitions"] == 19)
  }

  @Test(arguments: ["requests-per-second", "spans-per-trace", "span-bytes"])
  func moreTrafficNeverNeedsLess(_ option: String) throws {
    var before: Plan?
    for value in ["50", "500", "5000", "50000"] {
      let plan = try Plan(
        (option == "requests-per-second" ? [] : ["--requests-per-second", "1000"]) + ["--\(option)", value])
      for name in [("workers", "cores"), ("workers", "pods"), ("workers", "partitions")] {
        #expect(plan[name.0, name.1] >= before?[name.0, name.1] ?? 0, "\(name) at \(value)")
      }
      for name in ["spans, in", "sampled, from workers", "replication", "disk for spans"] {
        #expect(plan["network and Kafka", name] > before?["network and Kafka", name] ?? 0, "\(name)")
      }
      // Of the fleet, not of one pod: there are more pods.
      let memory = plan["memory of a lane", "limit"] * plan["workers", "pods"]
      #expect(memory >= before.map { $0["memory of a lane", "limit"] * $0["workers", "pods"] } ?? 0)
      before = plan
    }
  }

  @Test func longerWaitsNeedMoreMemory() throws {
    var before = 0.0
    for wait in ["10s", "30s", "2m"] {
      let plan = try Plan("--requests-per-second", "10000", "--decision-wait", wait)
      #expect(plan["memory of a lane", "limit"] > before)
      before = plan["memory of a lane", "limit"]
    }
  }

  @Test(arguments: [
    [], ["--requests-per-second", "0"], ["--requests-per-second", "many"],
    ["--requests-per-second", "nan"],
    ["--requests-per-second", "1", "--span-bytes", "-1"],
    ["--requests-per-second", "1", "--spans-per-record", "0"],
    ["--requests-per-second", "1", "--error-share", "2"],
    ["--requests-per-second", "1", "--decision-wait", "soon"],
    ["--requests-per-second", "1", "--lanes", "0"],
    ["--requests-per-second", "1", "--set", "utilisation"],
    ["--requests-per-second", "1", "--set", "utilisation=0"],
    ["--requests-per-second", "1", "--set", "luck=7"],
  ])
  func usageErrorsExitWithTwo(_ arguments: [String]) throws {
    let run = try CommandRun(["plan-capacity"] + arguments)
    #expect(run.exitCode == 2)
    #expect(run.errors.contains("Error: "))
    #expect(run.output.isEmpty)
  }

  /// Each command block of docs/capacity.md shows what the command prints.
  @Test func thePageShowsWhatTheCommandPrints() throws {
    let page = try String(contentsOf: repositoryFile("docs/capacity.md"), encoding: .utf8)
    var shown = 0
    for match in page.matches(of: /```\n\$ tailrace (plan-capacity [^\n]*)\n([^`]*)```/) {
      let run = try CommandRun(match.1.split(separator: " ").map(String.init))
      #expect(run.exitCode == 0, "\(run.errors)")
      #expect(run.output == String(match.2), "docs/capacity.md: \(match.1)")
      shown += 1
    }
    #expect(shown == 4)
  }
}

/// What `plan-capacity --json` printed.
private struct Plan {
  private var values: [String: Double] = [:]

  init(_ arguments: String...) throws {
    try self.init(arguments)
  }

  init(_ arguments: [String]) throws {
    let run = try CommandRun(["plan-capacity", "--json"] + arguments)
    #expect(run.exitCode == 0, "\(run.errors)")
    let plan = try #require(try run.json()["plan"] as? [String: Any])
    for line in try #require(plan["lines"] as? [[String: Any]]) {
      let section = try #require(line["section"] as? String)
      let name = try #require(line["name"] as? String)
      values["\(section)/\(name)"] = try #require(line["value"] as? Double)
    }
  }

  /// The value of a line; NaN, which equals nothing, if there is no such line.
  subscript(section: String, name: String) -> Double { values["\(section)/\(name)"] ?? .nan }
}

extension Double {
  /// Equal except for rounding.
  fileprivate func isAbout(_ other: Double) -> Bool { abs(self - other) <= 1e-9 * abs(other) }
}

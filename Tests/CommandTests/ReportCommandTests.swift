// report --recording: what topologies keep of a recording, in words and as JSON.

import Foundation
import Testing

@Suite struct ReportCommandTests {
  private func recording(_ directory: WorkingDirectory) throws -> String {
    let path = directory.path("a.otlp")
    let run = try CommandRun([
      "generate", "-o", path, "--traces", "400", "--errors", "0.1", "--spans-per-trace", "8", "--seed", "5",
    ])
    #expect(run.exitCode == 0, "\(run.errors)")
    return path
  }

  @Test func topologiesAreComparedSideBySide() throws {
    let directory = try WorkingDirectory()
    let path = try recording(directory)
    let all = try directory.write(
      "kind: tail-sampling\npolicies: [{name: all, type: always_sample}]\n", to: "all.yaml")
    let share = try directory.write(
      "kind: tail-sampling\npolicies: []\nbaseline: {budget: {traces_percentage: 10}}\n", to: "share.yaml")
    let run = try CommandRun("report", "--recording", path, "--json", all, share)
    #expect(run.exitCode == 0, "\(run.errors)")
    let report = try run.json()
    #expect(report["traces"] as? Int == 400)
    let topologies = try #require(report["topologies"] as? [[String: Any]])
    #expect(topologies.map { $0["name"] as? String } == [all, share])
    #expect(topologies[0]["traces_kept"] as? Int == 400)
    #expect(topologies[0]["budget"] == nil)
    #expect(topologies[1]["budget"] as? String == "10.00 % of traces")
    #expect(topologies[1]["kept_of_budget"] as? Double ?? 0 > 0)
    for kinds in ["services", "operations", "roots"] {
      let coverage = try #require(topologies[0][kinds] as? [String: Int])
      #expect(coverage["total"] == coverage["seen"] && coverage["total"] ?? 0 > 0)
    }
    let shapes = try #require(topologies[0]["shapes"] as? [String: [String: Int]])
    #expect(Set(shapes.keys) == ["edges", "trees", "trees_with_repeats"])
    let services = try #require(report["services"] as? [[String: Any]])
    #expect(topologies[0]["services_inside"] as? Int == services.count)
    let text = try CommandRun("report", "--recording", path, all, share)
    #expect(text.exitCode == 0 && text.output.hasPrefix("400 traces, "), "\(text.output)\(text.errors)")
    #expect(text.output.contains("shapes: trees with repeats"))
    // The defaults.
    #expect(try CommandRun("report", "--recording", path).output.contains("(defaults)"))
  }

  @Test func mistakesAreToldApart() throws {
    let directory = try WorkingDirectory()
    let path = try recording(directory)
    #expect(try CommandRun("report", "--json").exitCode == 2)
    #expect(try CommandRun("report", "a.yaml").exitCode == 2)
    #expect(try CommandRun("report", "--recording", path, "--output", "a.csv").exitCode == 2)
    #expect(try CommandRun("report", "--recording", path, "--rare", "101").exitCode == 2)
    #expect(try CommandRun("report", "--recording", path, directory.path("none.yaml")).exitCode == 2)
    #expect(try CommandRun("report", "--recording", directory.path("none.otlp")).exitCode == 1)
    let empty = try directory.write("", to: "empty.otlp")
    #expect(try CommandRun("report", "--recording", empty).exitCode == 1)
  }
}

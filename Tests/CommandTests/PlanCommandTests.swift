// plan: what changes between two topologies, counted by hand on small recordings and found by JSON.

import Foundation
import Testing

@Suite struct PlanCommandTests {
  private static let errorsOnly = """
    kind: tail-sampling
    policies:
      - {name: errors, type: status_code, status_code: {status_codes: [ERROR]}}
    """
  private static let errorsAndSlow =
    errorsOnly + """

        - {name: slow, type: latency, latency: {threshold_ms: 1000}}
        - {name: never-there, type: string_attribute, string_attribute: {key: no.such.key, values: [x]}}
      """

  private func recording(_ directory: WorkingDirectory) throws -> String {
    let path = directory.path("a.otlp")
    let run = try CommandRun([
      "generate", "-o", path, "--traces", "400", "--errors", "0.1", "--slow", "0.1", "--spans-per-trace", "8",
      "--seed", "5",
    ])
    #expect(run.exitCode == 0, "\(run.errors)")
    return path
  }

  /// The traces that a replay keeps.
  private func kept(
    _ recording: String, _ topology: String, _ directory: WorkingDirectory
  ) throws -> Set<String> {
    let path = directory.path("decisions")
    let run = try CommandRun("replay", recording, "--topology", topology, "--decisions", path)
    #expect(run.exitCode == 0, "\(run.errors)")
    var kept: Set<String> = []
    for line in try directory.text("decisions").split(separator: "\n") {
      let fields = try #require(try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any])
      guard fields["final"] as? Bool == true, fields["verdict"] as? String == "keep" else { continue }
      kept.insert(try #require(fields["trace_id"] as? String))
    }
    return kept
  }

  @Test func aFileAgainstItselfChangesNothing() throws {
    let directory = try WorkingDirectory()
    let path = try recording(directory)
    let file = try directory.write(PlanCommandTests.errorsAndSlow, to: "a.yaml")
    let run = try CommandRun("plan", file, path, "--against", file)
    #expect(run.exitCode == 0, "\(run.errors)")
    #expect(run.output.hasPrefix("No changes: 400 traces compared."), "\(run.output)")
    // The defaults against the defaults, with weights by chance.
    let plain = try directory.write("kind: tail-sampling\n", to: "b.yaml")
    #expect(try CommandRun("plan", plain, path).exitCode == 0)
  }

  @Test func countsAndSamplesAreThoseOfTwoReplays() throws {
    let directory = try WorkingDirectory()
    let path = try recording(directory)
    let old = try directory.write(PlanCommandTests.errorsOnly, to: "old.yaml")
    let new = try directory.write(PlanCommandTests.errorsAndSlow, to: "new.yaml")
    let (before, after) = (try kept(path, old, directory), try kept(path, new, directory))
    let run = try CommandRun("plan", new, path, "--against", old, "--json")
    #expect(run.exitCode == 3)
    let plan = try run.json()
    let changes = try #require(plan["changes"] as? [[String: Any]])
    let added = after.subtracting(before)
    #expect(!added.isEmpty && before.isSubset(of: after))
    let keeps = try #require(changes.first { $0["kind"] as? String == "kept" })
    #expect(keeps["policy"] as? String == "slow")
    #expect(keeps["traces"] as? Int == added.count)
    let samples = try #require(keeps["samples"] as? [[String: Any]])
    #expect(samples.compactMap { $0["trace_id"] as? String } == Array(added.sorted().prefix(3)))
    let kept = try #require(plan["kept"] as? [String: [String: Int]])
    #expect(kept["now"]?["traces"] == before.count && kept["planned"]?["traces"] == after.count)
    let notes = try #require(plan["notes"] as? [String])
    #expect(notes.contains("\"never-there\" matches nothing"))

    let back = try CommandRun("plan", old, path, "--against", new)
    #expect(back.exitCode == 3)
    #expect(
      back.output.contains("- drop, kept so far for \"slow\": \(added.count) traces"), "\(back.output)")
    #expect(back.errors.contains("the plan changes"))
  }

  /// Text and page have the figures of the JSON.
  @Test func allFormsHaveTheSameFigures() throws {
    let directory = try WorkingDirectory()
    let path = try recording(directory)
    let old = try directory.write(PlanCommandTests.errorsOnly, to: "old.yaml")
    let again = """

        - {name: failed, type: and, and: {and_sub_policy: [{name: e, type: status_code, \
      status_code: {status_codes: [ERROR]}}]}}
      """
    let new = try directory.write(PlanCommandTests.errorsAndSlow + again, to: "new.yaml")
    let arguments = ["plan", new, path, "--against", old]
    let plan = try CommandRun(arguments + ["--json"]).json()
    let text = try CommandRun(arguments).output
    #expect(try CommandRun(arguments + ["--html", directory.path("plan.html")]).exitCode == 3)
    let page = try directory.text("plan.html")
    for kind in ["reasons", "services"] {
      let pairs = try #require(plan[kind] as? [String: [String: [String: Int]]])
      #expect(!pairs.isEmpty)
      for (name, pair) in pairs {
        let figures = ["traces", "spans", "bytes"].flatMap { figure in
          ["now", "planned"].map { String(pair[$0]?[figure] ?? -1) }
        }
        let row = text.split(separator: "\n").contains { line in
          line.split(separator: " ") == ([name] + figures).joined(separator: " ").split(separator: " ")
        }
        #expect(row, "\(name) \(figures) is not in \(text)")
        let cells = ([name] + figures).joined(separator: "</td><td>")
        #expect(page.contains("<td>\(cells)</td>"), "\(name)")
      }
    }
    let share = try #require(plan["percent_of_traffic_planned"] as? Double)
    let budget = try #require(text.split(separator: "\n").dropFirst().first)
    #expect(budget.hasPrefix("Storage a day at the recorded rate: "))
    #expect(budget.contains(String(format: "(%.2f %% of the traffic) planned.", share)))
    #expect(page.contains(budget))
    #expect(plan["bytes_a_day_planned"] as? Int ?? 0 > plan["bytes_a_day_now"] as? Int ?? 0)
    #expect(plan["recalls_a_day_planned"] is Int && text.contains("recalls a day"))
    let policies = try #require(plan["policies"] as? [[String: Any]])
    #expect(policies.last?["shadowed_by"] as? [String] == ["errors"])
    #expect(text.contains("\"failed\" is shadowed by \"errors\", before it: each of its"))
  }

  /// They are listed with what they would change, and change nothing.
  @Test func shadowPoliciesAreListed() throws {
    let directory = try WorkingDirectory()
    let path = try recording(directory)
    let old = try directory.write(PlanCommandTests.errorsOnly, to: "old.yaml")
    let new = try directory.write(
      PlanCommandTests.errorsOnly + """

        shadow:
          - {name: tried, type: latency, latency: {threshold_ms: 1000}}
          - {name: quiet, type: drop, drop: {drop_sub_policy: [
              {name: failed, type: status_code, status_code: {status_codes: [ERROR]}}]}}
        """, to: "new.yaml")
    let run = try CommandRun("plan", new, path, "--against", old, "--html", directory.path("plan.html"))
    #expect(run.exitCode == 0 && run.output.hasPrefix("No changes: 400 traces"), "\(run.output)\(run.errors)")
    #expect(run.output.contains("shadow policies (traces whose verdict each would change"))
    #expect(try directory.text("plan.html").contains("<h2>Shadow policies"))
    let plan = try CommandRun("plan", new, path, "--against", old, "--json").json()
    let shadow = try #require(plan["shadow"] as? [[String: Any]])
    #expect(shadow.map { $0["name"] as? String } == ["tried", "quiet"])
    #expect(shadow[0]["would_keep_now"] == nil)
    // As many as the policy would keep if it were promoted.
    let promoted = try directory.write(PlanCommandTests.errorsAndSlow, to: "promoted.yaml")
    let more = try kept(path, promoted, directory).subtracting(try kept(path, old, directory))
    #expect(!more.isEmpty && shadow[0]["would_keep_planned"] as? Int == more.count)
    #expect(shadow[0]["would_drop_planned"] as? Int == 0)
    #expect(shadow[1]["would_drop_planned"] as? Int == (try kept(path, old, directory).count))
    // Gone, it is listed as it is now.
    let gone = try CommandRun("plan", old, path, "--against", new, "--json").json()
    #expect((gone["shadow"] as? [[String: Any]])?.map { $0["name"] as? String } == ["tried", "quiet"])
  }

  @Test func thePageHasNoScriptAndEscapesNames() throws {
    let directory = try WorkingDirectory()
    let path = try recording(directory)
    let name = "<script>alert(1)</script>"
    let new = try directory.write(
      PlanCommandTests.errorsOnly.replacing("name: errors", with: "name: \"\(name)\""), to: "new.yaml")
    let run = try CommandRun("plan", new, path, "--html", directory.path("plan.html"))
    #expect(run.exitCode == 3, "\(run.errors)")
    let page = try directory.text("plan.html")
    #expect(page.hasPrefix("<!doctype html>") && page.hasSuffix("</html>\n"))
    #expect(!page.contains("<script") && page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"))
    #expect(page.contains("default-src 'none'") && !page.contains("http://") && !page.contains("src="))
  }

  @Test func standardInputIsATopologyOrTheRecording() throws {
    let directory = try WorkingDirectory()
    let path = try recording(directory)
    let file = try directory.write(PlanCommandTests.errorsOnly, to: "a.yaml")
    let both = try CommandRun("plan", file, "-", "--against", "-")
    #expect(both.exitCode == 2 && both.errors.contains("standard input"))
    let missing = try CommandRun("plan", directory.path("none.yaml"), path)
    #expect(missing.exitCode == 2)
  }

  /// A veto's policy is in the verdicts on dropped traces.
  @Test func aPolicyThatDropsIsNotCalledIdle() throws {
    let directory = try WorkingDirectory()
    let path = try recording(directory)
    let old = try directory.write(PlanCommandTests.errorsOnly, to: "old.yaml")
    let new = try directory.write(
      PlanCommandTests.errorsOnly + """

          - name: no-errors
            type: drop
            drop: {drop_sub_policy: [{name: e, type: status_code, status_code: {status_codes: [ERROR]}}]}
        """, to: "new.yaml")
    let before = try kept(path, old, directory)
    let plan = try CommandRun("plan", new, path, "--against", old, "--json").json()
    let policies = try #require(plan["policies"] as? [[String: Any]])
    let veto = try #require(policies.first { $0["name"] as? String == "no-errors" })
    #expect(veto["traces_dropped_planned"] as? Int == before.count)
    let notes = try #require(plan["notes"] as? [String])
    #expect(notes.contains("\"no-errors\" drops \(before.count) traces"), "\(notes)")
    let changes = try #require(plan["changes"] as? [[String: Any]])
    let drops = try #require(changes.first { $0["kind"] as? String == "dropped" })
    #expect(drops["policy"] as? String == "no-errors" && drops["traces"] as? Int == before.count)
  }

  @Test func nothingToReadIsAFailure() throws {
    let directory = try WorkingDirectory()
    let file = try directory.write(PlanCommandTests.errorsOnly, to: "a.yaml")
    let empty = try directory.write("", to: "empty.otlp")
    let run = try CommandRun("plan", file, empty, "--against", file)
    #expect(run.exitCode == 1 && run.errors.contains("nothing to compare"), "\(run.errors)")
  }
}

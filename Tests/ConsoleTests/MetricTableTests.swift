// The metric tables, and their copies in docs/metrics.md.

import Foundation
import Testing

@testable import Console

@Suite struct MetricTableTests {
  private static let document = URL(filePath: #filePath).deletingLastPathComponent()
    .deletingLastPathComponent().deletingLastPathComponent().appending(path: "docs/metrics.md")

  private var metrics: [Metric] { MetricSection.all.flatMap(\.metrics) }

  @Test func namesFollowTheConventions() {
    for metric in metrics {
      #expect(metric.name.hasPrefix("tailrace_") || metric.name.hasPrefix("process_"))
      #expect((metric.kind == .counter) == metric.name.hasSuffix("_total"), "\(metric.name)")
      let base = metric.name.hasSuffix("_total") ? String(metric.name.dropLast(6)) : metric.name
      for unit in [Metric.Unit.bytes, .seconds] {
        #expect((metric.unit == unit) == base.hasSuffix("_\(unit.rawValue)"), "\(metric.name)")
      }
      #expect(!metric.help.hasSuffix("."), "\(metric.name): the page adds the full stop")
    }
    #expect(Set(metrics.map(\.name)).count == metrics.count, "each name comes once")
  }

  /// The tables of docs/metrics.md match those in the code. `METRICS=write` regenerates them.
  @Test func theDocumentHasTheSameTables() throws {
    let text = try String(contentsOf: Self.document, encoding: .utf8)
    var expected = text
    for section in MetricSection.all {
      expected = try replaceTable(of: section, in: expected)
    }
    if ProcessInfo.processInfo.environment["METRICS"] == "write" {
      try expected.write(to: Self.document, atomically: true, encoding: .utf8)
    } else {
      let documented = Set(text.split(separator: "\n"))
      let missing = expected.split(separator: "\n").filter { !documented.contains($0) }
      #expect(text == expected, "not in docs/metrics.md (METRICS=write writes it): \(missing)")
    }
  }

  /// The document with the section's table replacing the first one after its heading.
  private func replaceTable(of section: MetricSection, in text: String) throws -> String {
    var lines = text.components(separatedBy: "\n")
    let heading = try #require(lines.firstIndex(of: "## \(section.title)"), "no section \(section.title)")
    let start = try #require(lines[heading...].firstIndex { $0.hasPrefix("| metric") })
    let end = lines[start...].firstIndex { !$0.hasPrefix("|") } ?? lines.endIndex
    lines.replaceSubrange(start..<end, with: table(of: section))
    return lines.joined(separator: "\n")
  }

  private func table(of section: MetricSection) -> [String] {
    ["| metric | type | labels | what |", "|---|---|---|---|"]
      + section.metrics.map { metric in
        let labels = metric.labels.map { "`\($0)`" }.joined(separator: ", ")
        return "| `\(metric.name)` | \(metric.kind.rawValue) | \(labels) | \(metric.help) |"
      }
  }
}

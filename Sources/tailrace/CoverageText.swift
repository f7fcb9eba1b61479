// What topologies keep of a recording, for people and as JSON.

import Foundation
import Pipeline
import Sampling

/// A report on a recording.
struct CoverageText {
  let report: CoverageReport
  /// The candidates' names,
  let names: [String]
  /// and their budgets; nil without an adaptive baseline.
  let budgets: [BaselineBudget?]
  /// Whether the recording could not be read again.
  let isReadOnce: Bool

  /// How many services outside their interval are listed.
  private static let rowsMax = 10

  var lines: [String] {
    let replay = report.candidates[0].replay
    var lines = [
      "\(report.traces) traces, \(report.spans) spans, \(report.services.count) services in "
        + "\(replay.records) records", "",
    ]
    lines += PlanText.table([[""] + names.map { printable($0, most: 40) }] + rows)
    let outside = outsideRows
    if !outside.isEmpty {
      lines += ["", "services outside their 99 % interval (traces that they are in)"]
      lines += PlanText.table([["service", "topology", "truth", "estimate", "from", "to"]] + outside)
    }
    if !notes.isEmpty { lines += ["", "notes"] + notes.map { "  " + $0 } }
    return lines
  }

  private var rows: [[String]] {
    let candidates = report.candidates
    func row(_ name: String, _ value: (Int) -> String) -> [String] { [name] + candidates.indices.map(value) }
    func coverage(_ name: String, _ coverage: CoverageReport.Coverage) -> [String] {
      row(name) { "\(coverage.seen[$0]) of \(coverage.total)" }
    }
    let rare = "rare ones (below \((report.rareShare * 100).formatted()) %)"
    return [
      row("traces kept") { text(share(candidates[$0].traces, report.traces)) + " %" },
      row("spans kept") { text(share(candidates[$0].spans, report.spans)) + " %" },
      row("budget") { budget($0) ?? "none" },
      row("kept of the budget") { ofBudget($0).map { text($0 * 100) + " %" } ?? "" },
      coverage("shapes: sets of calls", report.shapes[0]), coverage("  \(rare)", report.rareShapes[0]),
      coverage("shapes: trees", report.shapes[1]), coverage("  \(rare)", report.rareShapes[1]),
      coverage("shapes: trees with repeats", report.shapes[2]),
      coverage("  \(rare)", report.rareShapes[2]),
      coverage("services", report.serviceCoverage), coverage("operations", report.operations),
      coverage("root operations", report.roots),
      row("traces, scaled up") { place in
        let interval = candidates[place].estimate.interval()
        let estimate = candidates[place].estimate.estimate
        return "\(whole(estimate)) (\(whole(interval.low)) to \(whole(interval.high)))"
      },
      row("services inside 99 %") {
        "\(candidates[$0].servicesInside) of \(report.services.count), "
          + text(share(candidates[$0].servicesInside, report.services.count)) + " %"
      },
    ]
  }

  private var outsideRows: [[String]] {
    var rows: [[String]] = []
    for service in report.services {
      for place in report.candidates.indices {
        let interval = interval(of: service, place)
        let truth = Double(service.traces)
        guard truth < interval.low || truth > interval.high, rows.count < CoverageText.rowsMax else {
          continue
        }
        rows.append([
          printable(service.name, most: 40), printable(names[place], most: 40), "\(service.traces)",
          whole(service.estimates[place].estimate), whole(interval.low), whole(interval.high),
        ])
      }
    }
    return rows
  }

  private func interval(of service: CoverageReport.Service, _ place: Int) -> (low: Double, high: Double) {
    service.estimates[place].interval(heaviest: report.candidates[place].heaviest)
  }

  /// What is not as it seems.
  private var notes: [String] {
    var notes: [String] = []
    if report.uncounted > 0 {
      notes.append(
        "\(report.uncounted) traces, or parts of them that came late, are in no figure: not all topologies "
          + "decided them")
    }
    if report.hasTurned {
      notes.append(
        "memory: traces were counted before the end of the recording; spans that came after that are in "
          + "no shape"
      )
    }
    if report.isCut {
      notes.append(
        "memory: more services, operations or shapes than are told apart; the rest count as one or not")
    }
    let damages = report.candidates[0].replay.damageCount
    if damages > 0 { notes.append("\(damages) stretches of the recording could not be read") }
    if isReadOnce { notes.append("standard input can't be read again: dropped traces were not recalled") }
    return notes
  }

  private func budget(_ place: Int) -> String? {
    switch budgets[place] {
    case nil: nil
    case .shareOfTraces(let share): "\(text(share * 100)) % of traces"
    case .shareOfSpans(let share): "\(text(share * 100)) % of spans"
    case .shareOfBytes(let share): "\(text(share * 100)) % of bytes"
    case .spansPerSecond(let spans): "\(spans.formatted()) spans/s"
    }
  }

  /// What was kept over what may be kept; nil if that is not a share of traces or spans.
  private func ofBudget(_ place: Int) -> Double? {
    let candidate = report.candidates[place]
    return switch budgets[place] {
    case .shareOfTraces(let share): Double(candidate.traces) / (share * Double(max(1, report.traces)))
    case .shareOfSpans(let share): Double(candidate.spans) / (share * Double(max(1, report.spans)))
    case .shareOfBytes(let share):
      Double(candidate.replay.keptBytes) / (share * Double(max(1, candidate.replay.bytes)))
    case .spansPerSecond, nil: nil
    }
  }

  private func share(_ part: Int, _ whole: Int) -> Double { 100 * Double(part) / Double(max(1, whole)) }

  private func text(_ value: Double) -> String { String(format: "%.2f", value) }

  private func whole(_ value: Double) -> String { String(format: "%.0f", value) }
}

extension CoverageText {
  var json: String {
    get throws {
      try ReportJSON.encode(
        Form(
          traces: report.traces, spans: report.spans, uncounted: report.uncounted,
          rarePercent: report.rareShare * 100,
          topologies: report.candidates.indices.map { JSONCandidate(self, $0) },
          services: report.services.map { service in
            JSONService(
              name: service.name, traces: service.traces,
              estimates: report.candidates.indices.map {
                JSONEstimate(service.estimates[$0], interval(of: service, $0))
              })
          }, notes: notes))
    }
  }

  private struct Form: Encodable {
    var traces, spans, uncounted: Int
    var rarePercent: Double
    var topologies: [JSONCandidate]
    var services: [JSONService]
    var notes: [String]
  }

  private struct JSONCandidate: Encodable {
    var name: String
    var tracesKept, spansKept: Int
    var tracesKeptPercent, spansKeptPercent: Double
    var budget: String?
    var keptOfBudget: Double?
    var shapes, rareShapes: [String: JSONCoverage]
    var services, operations, roots: JSONCoverage
    var servicesInside: Int
    var estimate: JSONEstimate

    init(_ text: CoverageText, _ place: Int) {
      let (report, candidate) = (text.report, text.report.candidates[place])
      name = text.names[place]
      (tracesKept, spansKept) = (candidate.traces, candidate.spans)
      tracesKeptPercent = text.share(candidate.traces, report.traces)
      spansKeptPercent = text.share(candidate.spans, report.spans)
      budget = text.budget(place)
      keptOfBudget = text.ofBudget(place)
      let kinds = ["edges", "trees", "trees_with_repeats"]
      let form = { (all: [CoverageReport.Coverage]) in
        Dictionary(uniqueKeysWithValues: zip(kinds, all.map { JSONCoverage($0, place) }))
      }
      (shapes, rareShapes) = (form(report.shapes), form(report.rareShapes))
      services = JSONCoverage(report.serviceCoverage, place)
      operations = JSONCoverage(report.operations, place)
      roots = JSONCoverage(report.roots, place)
      servicesInside = candidate.servicesInside
      estimate = JSONEstimate(candidate.estimate, candidate.estimate.interval())
    }
  }

  private struct JSONCoverage: Encodable {
    var total, seen: Int

    init(_ coverage: CoverageReport.Coverage, _ place: Int) {
      (total, seen) = (coverage.total, coverage.seen[place])
    }
  }

  private struct JSONService: Encodable {
    var name: String
    var traces: Int
    var estimates: [JSONEstimate]
  }

  private struct JSONEstimate: Encodable {
    var kept: Int
    var estimate, low, high: Double

    init(_ count: ScaledCount, _ interval: (low: Double, high: Double)) {
      kept = count.kept
      estimate = count.estimate
      (low, high) = interval
    }
  }
}

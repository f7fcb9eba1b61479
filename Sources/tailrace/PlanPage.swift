// A plan as one page of HTML, with its plots as bars: no script, no other file.

import Foundation
import Pipeline

/// The page of a plan. Names come from traces: all text is escaped, and a content security policy forbids
/// scripts.
struct PlanPage {
  let text: PlanText

  var html: String {
    """
    <!doctype html>
    <html lang="en">
    <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
    <title>Tailrace plan</title>
    <style>
    \(PlanPage.style)
    </style>
    </head>
    <body>
    <h1>Tailrace plan</h1>
    <p>\(PlanPage.escaped(text.summary))</p>
    <p>\(PlanPage.escaped(text.budget ?? ""))</p>
    \(table(["", "now", "planned", "change"], text.totals))
    <h2>Policies: kept traces that they sample</h2>
    \(bars(text.report.policies.map { ($0.name, $0.sampled) }))
    \(shadow)
    <h2>Kept traces by first policy</h2>
    \(table(PlanText.tallyHeader, text.rows(text.report.reasons)))
    <h2>Kept traces by the root's service</h2>
    \(bars(named(text.rows(text.report.services))))
    \(table(PlanText.tallyHeader, text.rows(text.report.services)))
    <h2>Changes</h2>
    \(changes)
    \(notes)
    </body>
    </html>

    """
  }

  private var shadow: String {
    guard !text.report.shadow.isEmpty else { return "" }
    return "<h2>Shadow policies: traces whose verdict each would change</h2>\n"
      + table(PlanText.shadowHeader, text.shadowRows)
  }

  private static let style = """
    :root { color-scheme: light dark; font: 15px/1.4 system-ui, sans-serif; }
    body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
    table { border-collapse: collapse; }
    th, td { padding: .2rem .8rem .2rem 0; text-align: right; unicode-bidi: isolate; }
    th:first-child, td:first-child { text-align: left; overflow-wrap: anywhere; }
    svg { display: block; } .now { fill: #888; } .planned { fill: #2a7de1; }
    code { font-size: .9em; overflow-wrap: anywhere; }
    """

  private func table(_ header: [String], _ rows: [[String]]) -> String {
    let line = { (fields: [String], tag: String) in
      "<tr>" + fields.map { "<\(tag)>\(PlanPage.escaped($0))</\(tag)>" }.joined() + "</tr>"
    }
    return "<table>\n\(line(header, "th"))\n" + rows.map { line($0, "td") + "\n" }.joined() + "</table>"
  }

  /// The rows of the text, with their figures.
  private func named(_ rows: [[String]]) -> [(String, PlanPair)] {
    rows.compactMap { row in
      var pair = PlanPair()
      guard row.count > 2, let old = Int(row[1]), let new = Int(row[2]) else { return nil }
      pair.old.traces = old
      pair.new.traces = new
      return (row[0], pair)
    }
  }

  /// Two bars a row, on one scale.
  private func bars(_ rows: [(String, PlanPair)]) -> String {
    let most = max(1, rows.map { max($0.1.old.traces, $0.1.new.traces) }.max() ?? 1)
    let width = { (value: Int) in String(format: "%.1f", 360 * Double(value) / Double(most)) }
    var lines = ["<table>", "<tr><th></th><th></th><th>now</th><th>planned</th></tr>"]
    for (name, pair) in rows {
      let (old, new) = (pair.old.traces, pair.new.traces)
      lines.append(
        "<tr><td>\(PlanPage.escaped(name))</td>"
          + #"<td><svg width="360" height="18" role="img" aria-label="now \#(old), planned \#(new)">"#
          + #"<rect class="now" width="\#(width(old))" height="8"/>"#
          + #"<rect class="planned" y="9" width="\#(width(new))" height="8"/></svg></td>"#
          + "<td>\(old)</td><td>\(new)</td></tr>")
    }
    return (lines + ["</table>"]).joined(separator: "\n")
  }

  private var changes: String {
    guard text.report.hasChanges else { return "<p>None.</p>" }
    let items = text.report.changes.map { change in
      let samples = change.samples.map { "<br><code>\(PlanPage.escaped(text.describe($0)))</code>" }
      return "<li>\(PlanPage.escaped(PlanText.words(change))): \(change.tally.traces) traces"
        + samples.joined() + "</li>"
    }
    return "<ul>\n" + items.joined(separator: "\n") + "\n</ul>"
  }

  private var notes: String {
    guard !text.notes.isEmpty else { return "" }
    let items = text.notes.map { "<li>\(PlanPage.escaped($0))</li>" }
    return "<h2>Notes</h2>\n<ul>\n" + items.joined(separator: "\n") + "\n</ul>"
  }

  /// Text as it may stand in HTML and in its attributes.
  static func escaped(_ text: String) -> String {
    var out = ""
    for character in printable(text, most: 4096).unicodeScalars {
      switch character {
      case "&": out += "&amp;"
      case "<": out += "&lt;"
      case ">": out += "&gt;"
      case "\"": out += "&quot;"
      case "'": out += "&#39;"
      default: out.unicodeScalars.append(character)
      }
    }
    return out
  }
}

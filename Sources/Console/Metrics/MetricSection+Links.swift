// Links, along which verdicts spread.

internal import Pipeline
internal import Sampling

extension MetricSection {
  static let links: [Metric] = [
    .counter(
      "tailrace_linked_traces_total",
      "Traces that links keep: open ones, and dropped ones whose recall was requested"
    ) { $0.counters.tracesLinked },
    .counter(
      "tailrace_linked_beyond_rate_total",
      "Times that links reached a trace, and links.traces_per_second did not allow to keep it"
    ) { $0.counters.linkedBeyondRate },
    .counter(
      "tailrace_linked_out_of_reach_total",
      "Times that links reached a dropped trace that could not be recalled"
    ) { $0.counters.linkedOutOfReach },
    .counter("tailrace_link_entries_total", "Kept traces written to the topic of links") {
      $0.counters.linkEntries
    },
    .counter("tailrace_links_left_out_total", "Links left out because their trace has many others") {
      $0.counters.linksLeftOut
    },
    .counter("tailrace_links_malformed_total", "Links that could not be read") {
      $0.counters.linksMalformed
    },
    .counter(
      "tailrace_links_forgotten_total",
      "Traces with links forgotten before links.remember has passed, because there were too many"
    ) { $0.counters.linksForgotten },
    .counter(
      "tailrace_links_table_forgotten_total",
      "Kept traces, and traces that they link to, that lanes forgot early because there were too many"
    ) { $0.snapshot.lane.linksForgotten },
    .counter("tailrace_link_pages_unreadable_total", "Records of the topic of links that could not be read") {
      $0.snapshot.lane.linkPagesUnreadable
    },
  ]
}

// Samplers of several partitions, and the topic of links between them.

import Testing

@testable import OTLP
@testable import Sampling

extension World {
  /// Verdicts spread along links.
  static func linked(
    _ links: (inout LinksConfiguration) -> Void = { _ in },
    _ adjust: @escaping (inout SamplerConfiguration) -> Void = { _ in }
  ) -> World {
    var configuration = LinksConfiguration()
    links(&configuration)
    return World {
      $0.windows.recallWindow = .seconds(600)
      $0.links = configuration
      adjust(&$0)
    }
  }

  /// The entries of links since the last call. Other outputs must have been taken.
  func takeLinks() throws -> [LinkEntry] {
    sampler.endLinkPage(into: &effects)
    var entries: [LinkEntry] = []
    for case .link(let page, let traces) in effects.outputs {
      let found = try LinkPage.entries(of: Array(effects.bytes[page]))
      #expect(found.count == traces)
      entries += found
    }
    effects.removeAll()
    return entries
  }

  var hasNoLinks: Bool { !sampler.hasLinkEntries }

  func follow(_ entries: [LinkEntry]) throws -> [Event] {
    sampler.learn(entries)
    sampler.follow(entries, into: &effects)
    return try take()
  }
}

/// Passes entries from all to all, and reads again what that recalls, until nothing spreads any more.
/// Returns what came out of each.
func spread(_ worlds: World...) throws -> [[Event]] {
  var events: [[Event]] = worlds.map { _ in [] }
  for _ in 0..<50 {
    let entries = try worlds.flatMap { try $0.takeLinks() }
    guard !entries.isEmpty else { return events }
    for (place, world) in worlds.enumerated() {
      events[place] += try world.follow(entries)
      events[place] += try world.recall()
    }
  }
  Issue.record("verdicts spread without end")
  return events
}

extension TestSpan {
  /// The same span, with links to traces.
  func linking(to traces: UInt64..., state: String = "") -> TestSpan {
    var span = self
    span.linked = traces.map { TestLink(trace: $0, state: state) }
    return span
  }
}

// The keys of the section `links`.

import Sampling

extension Keys {
  static let links = [
    "direction", "max_hops", "traces_per_second", "remember", "traces", "share_randomness",
  ]
}

extension TopologyReader {
  /// Nil, and noted, if it is not a section.
  mutating func links(
    _ field: TopologyField, _ windows: TailSamplingTopology.Windows, policies: [PolicySpecification]
  ) -> LinksConfiguration? {
    guard let section = section(field) else { return nil }
    checkKeys(of: section, Keys.links) { key in
      key == "topic" ? "the topic's name is topics.links.name" : nil
    }
    var links = LinksConfiguration()
    links.direction = choice("direction", of: section, default: links.direction)
    links.maxHops = integer(
      "max_hops", of: section, in: 1...LinksConfiguration.hopsMax, default: links.maxHops)
    links.tracesPerSecond = integer(
      "traces_per_second", of: section, in: 1...1_000_000, default: links.tracesPerSecond)
    let remember = duration(
      "remember", of: section, in: .seconds(1)...(.seconds(86_400)),
      default: .nanoseconds(links.remember.nanoseconds))
    links.remember = Interval(remember.value)
    links.tracesMax = integer("traces", of: section, in: 1000...10_000_000, default: links.tracesMax)
    links.sharesRandomness = truth("share_randomness", of: section, default: links.sharesRandomness)
    if windows.buffer == .log {
      report("links needs windows.buffer: memory", at: field.place, path: field.path)
    }
    let name = Sampler.linkedReason
    if policies.contains(where: { $0.name == name }) {
      report(
        "the policy name '\(name)' is reserved where there are links: rename the policy",
        at: field.place, path: field.path)
    }
    return links
  }
}

// The topic of links: read whole, and followed by all partitions.

internal import Sampling

extension SamplingJob {
  /// Reads what has been written to the topic, and keeps or recalls the traces of this lane that it reaches.
  mutating func followLinks(through link: some BrokerLink) throws(BrokerError) {
    guard let configuration = configuration.sampler.links,
      let table = workspace.linkTable(configuration)
    else { return }
    var entries: [LinkEntry] = []
    var unreadable: UInt64 = 0
    let isRead = try link.readLinks { record in
      do throws(LedgerError) { entries += try LinkPage.entries(of: record) } catch { unreadable += 1 }
    }
    areLinksKnown = isRead || areLinksKnown
    written.linkPagesUnreadable += unreadable
    let forgottenBefore = table.forgotten
    for entry in entries { table.merge(entry) }
    written.linksForgotten += table.forgotten - forgottenBefore
    // Log time: what the partition that is furthest behind has no use for.
    if !entries.isEmpty, let clock = partitions.map({ $0.state.sampler.clock }).min(), clock != .distantPast {
      table.forget(before: clock - configuration.remember)
    }
    for partition in partitions where !entries.isEmpty || partition.state.sampler.awaitsLinks {
      // At first there may be an hour of them, and what follows from each piece is written before the next.
      for start in stride(from: 0, to: max(1, entries.count), by: Self.entriesAtOnce) {
        let piece = entries[start..<min(entries.count, start + Self.entriesAtOnce)]
        partition.state.sampler.follow(Array(piece), into: &effects)
        try drain(partition, to: link)
      }
    }
  }

  private static var entriesAtOnce: Int { 1024 }
}

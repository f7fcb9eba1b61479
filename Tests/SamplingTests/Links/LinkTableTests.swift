// What is known of links takes so much memory and no more, whatever is sent.

import Testing

@testable import OTLP
@testable import Sampling

@Suite struct LinkTableTests {
  private func id(_ number: UInt64) -> TraceID { TraceID(high: 1, low: number) }

  private func configuration(_ tracesMax: Int = 100_000) -> LinksConfiguration {
    var configuration = LinksConfiguration()
    configuration.tracesMax = tracesMax
    return configuration
  }

  @Test func notesAreBoundedInLinks() {
    var links = TraceLinks(configuration(1000), pageBytesMax: 1 << 16)
    var forgotten: UInt64 = 0
    for trace in 0..<1000 as Range<UInt64> {
      forgotten += links.change(id(trace), at: .at(Int64(trace))) { note in
        note.links = (0..<32).map { id(100_000 + 32 * trace + $0) }
      }
    }
    #expect(links.byteCount < 1_000_000)
    // The last ones stay.
    #expect(forgotten == 875 && links.count == 125 && links[id(999)] != nil)
    #expect(links.linking(to: id(100_000)).isEmpty && links.linking(to: id(100_000 + 32 * 999)) == [id(999)])
    links.forget(at: .at(4_000_000))
    #expect(links.count == 0 && links.byteCount < 10_000)
  }

  /// Of many consumers of the same producers each changes what is known of these.
  @Test func whatComesAgainTakesNoMoreMemory() {
    let table = LinkTable(configuration())
    let linked = (0..<32).map { id(100_000 + $0) }
    for trace in 0..<1000 as Range<UInt64> {
      table.merge(LinkEntry(traceID: id(trace), hops: 0, keptAt: .at(Int64(trace)), links: linked))
    }
    #expect(table.count == 1032 && table.byteCount < 400_000)
    // They are remembered for as long as the last of them, and passed once.
    table.forget(before: .at(999))
    #expect(table.count == 33)
    var passed: [TraceID] = []
    table.forEachLinked(at: .at(1000)) { trace, _ in passed.append(trace) }
    #expect(passed.count == 32 && Set(passed) == Set(linked))
    table.forget(before: .at(1000))
    #expect(table.count == 0 && table.forgotten == 0)
  }

  @Test func theOldestAreForgottenFirst() {
    let table = LinkTable(configuration(1000))
    for trace in 0..<1500 as Range<UInt64> {
      // One comes again and again.
      for number in [trace, 5_000] {
        table.merge(LinkEntry(traceID: id(number), hops: 0, keptAt: .at(Int64(trace)), links: []))
      }
    }
    #expect(table.count == 1000 && table.forgotten == 501)
    #expect(table.hops(ofKept: id(5_000)) == 0 && table.hops(ofKept: id(500)) == nil)
    #expect(table.hops(ofKept: id(501)) == 0)
  }
}

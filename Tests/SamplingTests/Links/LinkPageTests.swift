// The records of the topic of links: as docs/links.md describes them.

import Testing

@testable import OTLP
@testable import Sampling

@Suite struct LinkPageTests {
  private let entries = [
    LinkEntry(
      traceID: TraceID(high: 0x0102_0304_0506_0708, low: 0x090a_0b0c_0d0e_0f10), hops: 0, keptAt: .start,
      links: [TraceID(high: 1, low: 2)]),
    LinkEntry(traceID: TraceID(high: 3, low: 4), hops: 15, keptAt: .at(-5), links: []),
  ]

  private func page(_ entries: [LinkEntry]) -> [UInt8] {
    var writer = LinkPageWriter(pageBytesMax: 1 << 16)
    for entry in entries { writer.append(entry) }
    let (bytes, traces) = writer.takePage()
    #expect(traces == entries.count && writer.isEmpty)
    return bytes
  }

  @Test func whatIsWrittenIsRead() throws {
    #expect(try LinkPage.entries(of: page(entries)) == entries)
    // Pages do not depend on each other.
    #expect(try LinkPage.entries(of: page([entries[1]])) == [entries[1]])
  }

  @Test func everyCutIsNoticedOrEndsAfterAnEntry() throws {
    let bytes = page(entries)
    for count in bytes.indices {
      let found = try? LinkPage.entries(of: Array(bytes[..<count]))
      #expect(found.map { $0 == Array(entries[..<$0.count]) } ?? true)
    }
  }

  @Test func whatIsNoPageIsRefused() {
    var other = page(entries)
    other[3] = 2
    #expect(throws: LedgerError(reason: .version(2), offset: 3)) { try LinkPage.entries(of: other) }
    #expect(throws: LedgerError.self) { try LinkPage.entries(of: Array("{}".utf8)) }
    var far = page(entries)
    far[20] = 16
    #expect(throws: LedgerError(reason: .number, offset: 20)) { try LinkPage.entries(of: far) }
  }

  @Test func aPageEndsBeforeItIsTooLarge() throws {
    let world = World.linked({ $0.tracesPerSecond = 1000 }) { $0.limits.linkPageBytes = 1000 }
    for number in 1...200 as ClosedRange<UInt64> {
      try world.send(.root(number, of: number, .error), at: 1000)
    }
    #expect(world.counters.linkEntries == 200)
    let left = try world.takeLinks().count
    #expect(left > 0 && left < 200, "the others were in pages before")
  }
}

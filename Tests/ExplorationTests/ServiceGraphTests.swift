// The service graph of the index of kept traces: which calls count, how much, and how many edges there are.

import OTLP
import Testing

@testable import Exploration

@Suite struct ServiceGraphTests {
  private func trace(_ number: UInt64) -> TraceID { TraceID(high: 0xdef, low: number) }

  /// `client>server type failed: calls variance client/server seconds`, without what is not there.
  private func lines(_ test: TestIndex) -> [String] {
    test.index.serviceGraph.series.map { edge, isFailed, sums in
      let type = edge.connection == .call ? "" : " \(edge.connection.rawValue)"
      return "\(edge.client)>\(edge.server)\(type)\(isFailed ? " failed" : ""): \(sums.requests) "
        + "\(sums.variance) \(sums.client.sum)/\(sums.server.sum)"
    }
  }

  /// The same of spans whose other one never came.
  private func unpaired(_ test: TestIndex) -> [String] {
    test.index.serviceGraph.unpaired.map { edge, spans in
      "\(edge.client)>\(edge.server)\(edge.connection.rawValue): \(spans.spans) \(spans.dropped)"
    }
  }

  /// Time passes, which takes a record of a span that has nothing to do with any other.
  private func wait(_ test: inout TestIndex, seconds: Int64 = 60) {
    test.time += seconds * 1_000_000_000
    test.add(TestSpan(trace: trace(9999), id: UInt64(test.time), service: "clock", kind: 1))
  }

  private let client = TestSpan(id: 2, parent: 1, service: "shop", kind: 3, duration: 500_000_000)
  private let server = TestSpan(id: 3, parent: 2, service: "stock", duration: 250_000_000)

  // MARK: Edges

  @Test(arguments: [false, true]) func aClientAndItsServer(_ isServerFirst: Bool) {
    var test = TestIndex()
    for span in isServerFirst ? [server, client] : [client, server] { test.add(span) }
    wait(&test)
    #expect(lines(test) == ["shop>stock: 1.0 0.0 0.5/0.25"] && unpaired(test).isEmpty)
  }

  @Test func aProducerAndItsConsumers() {
    var test = TestIndex()
    var (producer, consumer) = (client, server)
    (producer.kind, consumer.kind) = (4, 5)
    test.add(producer)
    // Each of them has taken the message.
    test.add(consumer)
    (consumer.id, consumer.service) = (4, "mail")
    test.add(consumer)
    wait(&test)
    #expect(
      lines(test) == [
        "shop>mail messaging_system: 1.0 0.0 0.5/0.25", "shop>stock messaging_system: 1.0 0.0 0.5/0.25",
      ] && unpaired(test).isEmpty)
  }

  /// The map's calls are edges, whatever the kinds are; the duration of a parent that is no client is no
  /// call's.
  @Test func spansBelowAnotherServicesAreCalls() {
    var test = TestIndex()
    test.add(TestSpan(id: 1, parent: 77, service: "dispatcher", kind: 1, isError: true))
    test.add(TestSpan(id: 2, parent: 1, service: "nightly", kind: 1, duration: 125_000_000))
    #expect(lines(test) == ["dispatcher>nightly: 1.0 0.0 0.0/0.125"])
    #expect(test.index.serviceGraph.series[0].sums.client.buckets.isEmpty)
    #expect(test.index.map(Int64(0)...Int64.max).calls.count == 1)
  }

  /// A service that calls itself: its spans below each other are no calls, a client and a server are.
  @Test func callsWithinAService() {
    var test = TestIndex()
    var own = server
    own.service = "shop"
    test.add(client)
    test.add(own)
    test.add(TestSpan(id: 4, parent: 3, service: "shop", kind: 1))
    #expect(lines(test) == ["shop>shop: 1.0 0.0 0.5/0.25"])
    #expect(test.index.map(Int64(0)...Int64.max).calls.isEmpty)
  }

  @Test(arguments: [(false, false), (false, true), (true, false), (true, true)])
  func aCallFailsOnEitherSide(_ isClients: Bool, _ isServers: Bool) {
    var test = TestIndex()
    var (failed, other) = (client, server)
    (failed.isError, other.isError) = (isClients, isServers)
    test.add(failed)
    test.add(other)
    #expect(lines(test) == ["shop>stock\(isClients || isServers ? " failed" : ""): 1.0 0.0 0.5/0.25"])
  }

  @Test(arguments: [
    ([("db.system", "postgresql"), ("db.name", "orders")], "orders"),
    ([("db.system.name", "mysql"), ("db.namespace", "")], "mysql"), ([("db.namespace", "goods")], "goods"),
    ([("db.system", "redis"), ("peer.service", "cache")], "redis"),
  ])
  func databases(_ attributes: [(String, String)], _ name: String) {
    var test = TestIndex()
    var query = client
    query.attributes = attributes
    test.add(query)
    wait(&test)
    #expect(lines(test) == ["shop>\(name) database: 1.0 0.0 0.5/0.5"] && unpaired(test).isEmpty)
    // It is no operation, and none of the map's services.
    #expect(test.index.serviceNames().map(\.name) == ["clock", "shop"])
    #expect(test.index.trace(client.trace)?.services.map(\.spans) == [1])
  }

  @Test func usersCallServersThatAreRoots() {
    var test = TestIndex()
    test.add(TestSpan(trace: trace(1), id: 1, duration: 125_000_000))
    for kind in [1, 3, 5] as [UInt64] { test.add(TestSpan(trace: trace(1 + kind), id: 1, kind: kind)) }
    #expect(lines(test) == ["user>shop virtual_node: 1.0 0.0 0.0/0.125"])
  }

  /// Whom a client calls is known from the client alone once the server can't be expected any more.
  @Test func servicesWithoutSpansOfTheirOwn() {
    var test = TestIndex()
    var paying = client
    paying.attributes = [("peer.service", "bank")]
    (paying.threshold, paying.isError) = ("8", true)
    test.add(paying)
    paying.id = 4
    test.add(paying)
    // This one has its server.
    (paying.id, paying.trace) = (2, trace(1))
    test.add(paying)
    var answer = server
    (answer.trace, answer.service, answer.threshold) = (trace(1), "bank", "8")
    test.add(answer)
    wait(&test, seconds: 59)
    #expect(lines(test) == ["shop>bank failed: 2.0 2.0 1.0/0.5"])
    wait(&test, seconds: 1)
    // w (w - 1) n^2 with w = 2 and n = 2.
    #expect(
      lines(test) == ["shop>bank failed: 2.0 2.0 1.0/0.5", "shop>bank virtual_node failed: 4.0 8.0 2.0/0.0"])
    #expect(unpaired(test).isEmpty)
  }

  /// Both halves of a call have one id in Zipkin.
  @Test(arguments: [false, true]) func halvesThatShareTheirID(_ isServerFirst: Bool) {
    var test = TestIndex()
    test.add(TestSpan(id: 1, parent: 77, service: "shop", kind: 1))
    var shared = server
    (shared.id, shared.parent) = (2, 1)
    for span in isServerFirst ? [shared, client] : [client, shared] { test.add(span) }
    wait(&test)
    #expect(lines(test) == ["shop>stock: 1.0 0.0 0.0/0.25"] && unpaired(test).isEmpty)
  }

  // MARK: Weights

  /// 100 traces, each kept with one half: 200 calls, each with a variance of w (w - 1) n^2 = 2; a tenth of
  /// them failed.
  @Test func callsAreScaledUpByTheirWeights() {
    var test = TestIndex()
    for number in 1...100 as ClosedRange<UInt64> {
      var (calling, called) = (client, server)
      (calling.trace, called.trace) = (trace(number), trace(number))
      (calling.threshold, called.threshold) = ("8", "8")
      called.isError = number % 10 == 0
      test.add(calling)
      test.add(called)
    }
    #expect(lines(test) == ["shop>stock: 180.0 180.0 90.0/45.0", "shop>stock failed: 20.0 20.0 10.0/5.0"])
  }

  /// Three calls of one trace come and go together.
  @Test func callsOfATraceAreNotIndependent() {
    var test = TestIndex()
    for id in 1...3 as ClosedRange<UInt64> {
      var (calling, called, query) = (client, server, client)
      (calling.id, called.id, called.parent, query.id) = (id, id + 10, id, id + 20)
      (calling.threshold, called.threshold, query.threshold) = ("c", "c", "c")
      called.isError = id == 2
      query.name = "query \(id)"
      query.attributes = [("db.name", "orders")]
      for span in [calling, called, query] { test.add(span) }
    }
    // w (w - 1) n^2 with w = 4 and n = 3.
    for server in ["stock", "orders"] {
      let sums = test.index.serviceGraph.series.filter { $0.edge.server == server }.map(\.sums)
      #expect(sums.reduce(0) { $0 + $1.requests } == 12 && sums.reduce(0) { $0 + $1.variance } == 108)
    }
  }

  @Test func durationsAreInBuckets() throws {
    var test = TestIndex()
    for (number, duration) in [2_000_000, 2_000_001, 1_400_000_000, 60_000_000_000].enumerated() {
      var (calling, called) = (client, server)
      (calling.trace, called.trace) = (trace(UInt64(number) + 1), trace(UInt64(number) + 1))
      called.duration = UInt64(duration)
      called.threshold = "8"
      test.add(calling)
      test.add(called)
    }
    let buckets = try #require(test.index.serviceGraph.series.first?.sums.server.buckets)
    #expect(buckets == [2, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 2])
  }

  // MARK: What is counted once, or not at all

  @Test func spansThatComeTwiceCountOnce() {
    var test = TestIndex()
    var query = client
    (query.id, query.attributes) = (9, [("db.name", "orders")])
    for span in [server, server, client, server, client, query, query] { test.add(span) }
    wait(&test)
    #expect(lines(test) == ["shop>orders database: 1.0 0.0 0.5/0.5", "shop>stock: 1.0 0.0 0.5/0.25"])
    #expect(unpaired(test).isEmpty)
    #expect(test.index.map(Int64(0)...Int64.max).calls.map(\.summary.samples) == [1])
    #expect(test.index.trace(client.trace)?.spans == 3)
  }

  /// What was there before does not count; a call whose second span comes later does, with both durations.
  @Test func thePastIsLeftOut() {
    var test = TestIndex()
    test.isPast = true
    for number in 1...3 as ClosedRange<UInt64> {
      var (calling, called, query) = (client, server, client)
      (calling.trace, called.trace, query.trace) = (trace(number), trace(number), trace(number))
      (query.id, query.attributes) = (9, [("db.name", "orders")])
      test.add(calling)
      test.add(query)
      test.add(TestSpan(trace: trace(number), id: 1))
      if number < 3 { test.add(called) }
    }
    #expect(lines(test).isEmpty && test.index.map(Int64(0)...Int64.max).calls.map(\.summary.calls) == [2])
    test.isPast = false
    var late = server
    late.trace = trace(3)
    test.add(late)
    wait(&test)
    #expect(lines(test) == ["shop>stock: 1.0 0.0 0.5/0.25"] && unpaired(test).isEmpty)
  }

  /// Each is told once, and counts as a call if it comes later all the same.
  @Test func halvesWithoutTheOther() {
    var test = TestIndex()
    var (calling, called) = (client, server)
    (calling.threshold, called.trace, called.threshold) = ("8", trace(1), "c")
    test.add(calling)
    test.add(called)
    (called.id, called.kind, called.service) = (4, 5, "mail")
    test.add(called)
    // No half of a call.
    test.add(TestSpan(trace: trace(1), id: 5, parent: 2, service: "inner", kind: 1))
    wait(&test, seconds: 59)
    #expect(unpaired(test).isEmpty)
    for _ in 0..<3 { wait(&test) }
    let halves = [">mailmessaging_system: 4.0 0.0", ">stock: 4.0 0.0", "shop>: 2.0 0.0"]
    #expect(unpaired(test) == halves && lines(test).isEmpty)
    calling.trace = trace(1)
    test.add(calling)
    for _ in 0..<3 { wait(&test) }
    #expect(unpaired(test) == halves)
    #expect(
      lines(test).map { $0.prefix { $0 != ":" } } == [
        "shop>inner", "shop>mail messaging_system", "shop>stock",
      ])
  }

  // MARK: Limits

  /// Hostile variety fills the room that there is, and all others are one edge; none is lost.
  @Test func edgesAreBounded() {
    var test = TestIndex(bytesMax: 1 << 20)
    for number in 1...2000 as ClosedRange<UInt64> {
      var (calling, called) = (client, server)
      (calling.trace, called.trace) = (trace(number), trace(number))
      calling.service = "a\(number)"
      called.service = "b\(number)" + String(repeating: "\u{202e}\"\\\n", count: Int(number % 100))
      test.add(calling)
      test.add(called)
      #expect(test.index.byteCount <= 1 << 20)
    }
    let series = test.index.serviceGraph.series
    #expect(series.count == 33 && series.reduce(0) { $0 + $1.sums.requests } == 2000)
    #expect(series.map(\.edge).contains { ($0.client, $0.server) == ("(other)", "(other)") })
    #expect(Set(series.map(\.edge)).count == series.count)
    #expect(series.allSatisfy { $0.edge.server.utf8.count <= 256 })
  }

  /// Names that mean something here are no other series than those.
  @Test func servicesWithOddNames() {
    var test = TestIndex()
    for (number, name) in ["", "unknown_service", "(other)", "user", "\0"].enumerated() {
      var (calling, called) = (client, server)
      (calling.trace, called.trace) = (trace(UInt64(number) + 1), trace(UInt64(number) + 1))
      (calling.service, called.service) = (name, "stock")
      test.add(calling)
      test.add(called)
    }
    #expect(
      lines(test).map { $0.prefix { $0 != ":" } } == [
        "\0>stock", "(other)>stock", "unknown_service>stock", "user>stock",
      ])
    #expect(test.index.serviceGraph.series.reduce(0) { $0 + $1.sums.requests } == 5)
  }

  /// Clients and servers that nobody answers are bounded; what leaves early is told.
  @Test(arguments: [2, 3] as [UInt64]) func waitingIsBounded(_ kind: UInt64) {
    var test = TestIndex(bytesMax: 1 << 20)
    for number in 1...5000 as ClosedRange<UInt64> {
      test.add(TestSpan(trace: trace(number), id: 2, parent: 1, kind: kind))
      #expect(test.index.byteCount <= 1 << 20)
    }
    wait(&test)
    let unpaired = test.index.serviceGraph.unpaired
    #expect(unpaired.map { $0.edge.client + ">" + $0.edge.server } == [kind == 2 ? ">shop" : "shop>"])
    #expect(unpaired[0].spans.spans + unpaired[0].spans.dropped == 5000)
    #expect(unpaired[0].spans.spans > 50 && unpaired[0].spans.dropped > 4000)
  }
}

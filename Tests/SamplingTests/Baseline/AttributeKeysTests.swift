// Keys made of attributes: which ones a trace has, what happens to failures, and what limits them.

import Simulation
import Testing

@testable import OTLP
@testable import Sampling

/// A sampler whose baseline is shared by attributes, and its counts.
private final class KeyWorld {
  let world: World
  private var milliseconds: Int64 = 0
  /// Traces of different rounds differ outside their randomness.
  var round: UInt64 = 0

  init(_ attributes: [String], services: Int = 100, _ adjust: (inout SamplerConfiguration) -> Void = { _ in })
  {
    world = World { configuration in
      configuration.policies = [Policy(name: "baseline", rule: .adaptive)]
      configuration.windows.decisionWait = .seconds(1)
      configuration.limits.services = services
      var baseline = BaselineConfiguration()
      baseline.key = .attributes(attributes)
      baseline.interval = .seconds(10)
      configuration.baseline = baseline
      adjust(&configuration)
    }
  }

  /// Sends a record in an interval of its own.
  func send(_ spans: [TestSpan]) {
    let spans = spans.map { span in
      var span = span
      span.trace |= round << 56
      return span
    }
    #expect(world.ingest(record(spans), key: nil, at: .at(milliseconds)) == nil)
  }

  /// Lets an interval pass and returns what was counted in it.
  func counts() throws -> TrafficRecord {
    // Everything is decided in the interval in which it arrived, which was a whole one.
    world.sampler.advance(to: .at(milliseconds + 2000), into: &world.effects)
    _ = try world.take()
    milliseconds += 10_000
    round += 1
    world.sampler.advance(to: .at(milliseconds), into: &world.effects)
    var records: [TrafficRecord] = []
    for case .count(_, let range) in world.effects.outputs {
      records.append(try TrafficRecord(decoding: Array(world.effects.bytes[range])))
    }
    _ = try world.take()
    return try #require(records.last)
  }

  func adopt(_ rates: [String: Double], other: Double = 0.01) {
    var adopted = BaselineRates(starting: BaselineConfiguration())
    adopted.newTracesMax = 0
    adopted.other = SamplingThreshold(probability: other)
    adopted.entries = rates.map { name, rate in
      BaselineRates.Entry(
        name: Array(name.utf8), threshold: SamplingThreshold(probability: rate), isBoosted: false)
    }.sorted { $0.name.precedes($1.name) }
    world.sampler.adopt(adopted)
  }
}

/// Names as tests write them: a bar between values.
private func names(_ record: TrafficRecord) -> [String] {
  record.entries.map { entry in
    String(decoding: entry.name.map { $0 == TrafficName.separator ? 0x7c : $0 }, as: UTF8.self)
  }
}

private func separated(_ name: String) -> String { name.replacing("|", with: "\u{1f}") }

private func span(
  _ id: UInt64, _ service: String = "shop", _ attributes: [TestAttribute] = [],
  resource: [TestAttribute] = [], status: SpanStatus = .unset
) -> TestSpan {
  TestSpan(
    id: id, parent: id > 1 ? 1 : 0, status: status, service: service, attributes: attributes,
    resource: resource)
}

private func route(_ route: String) -> TestAttribute { TestAttribute("http.route", .text(route)) }

@Suite struct AttributeKeysTests {
  struct Case: Sendable, CustomTestStringConvertible {
    var testDescription: String
    var attributes: [String]
    var spans: [TestSpan]
    var names: [String]

    init(
      _ name: String, of attributes: [String] = ["service.name", "http.route"], _ spans: [TestSpan],
      gives names: [String]
    ) {
      testDescription = name
      self.attributes = attributes
      self.spans = spans
      self.names = names
    }
  }

  static let cases = [
    Case("resource and span", [span(1, "shop", [route("/cart")])], gives: ["shop|/cart"]),
    Case(
      "several routes", [span(1, "shop", [route("/cart")]), span(2, "shop", [route("/pay")])],
      gives: ["shop|/cart", "shop|/pay"]),
    Case(
      "a key that says less is left out",
      [
        span(1, "shop", [route("/cart")]), span(2, "shop"), span(3, "stock", [route("/items")]),
        span(4, "shop"),
      ],
      gives: ["shop|/cart", "stock|/items"]),
    Case(
      "even if it arrived first", [span(1, "shop"), span(2, "shop", [route("/cart")])],
      gives: ["shop|/cart"]),
    Case(
      "but not where it differs", [span(1, "shop", [route("/cart")]), span(2, "mail")],
      gives: ["mail|", "shop|/cart"]),
    Case("nothing but the resource", [span(1, "shop"), span(2, "shop")], gives: ["shop|"]),
    Case("nothing at all", [span(1, "")], gives: []),
    Case(
      "the span's own counts", of: ["a"],
      [
        span(
          1, "x", [TestAttribute("a", .text("own"))],
          resource: [
            TestAttribute("a", .text("its"))
          ])
      ], gives: ["own"]),
    Case(
      "its resource's else", of: ["a"], [span(1, "x", [], resource: [TestAttribute("a", .text("its"))])],
      gives: ["its"]),
    Case(
      "also where its own has no value", of: ["a"],
      [
        span(1, "x", [TestAttribute("a", .list("own"))], resource: [TestAttribute("a", .text("its"))])
      ], gives: ["its"]),
    Case("empty text is none", [span(1, "shop", [route("")])], gives: ["shop|"]),
    Case(
      "numbers and truth", of: ["a", "b", "c", "d"],
      [
        span(
          1, "x",
          [
            TestAttribute("a", .integer(-504)), TestAttribute("b", .truth(true)),
            TestAttribute("c", .real(200)), TestAttribute("d", .integer(.min)),
          ])
      ], gives: ["-504|true|200|-9223372036854775808"]),
    Case(
      "no other values", of: ["a", "b", "c", "d", "e"],
      [
        span(
          1, "x",
          [
            TestAttribute("a", .real(0.5)), TestAttribute("b", .map("x")), TestAttribute("c", .bytes([1])),
            TestAttribute("d", .nothing), TestAttribute("e", .raw([0xff])),
          ])
      ], gives: []),
    Case(
      "the separator in a value", of: ["a", "b"],
      [span(1, "x", [TestAttribute("a", .text("x\u{1f}y"))])], gives: ["x?y|"]),
    Case(
      "each value is cut separately", of: ["a", "b"],
      [
        span(
          1, "x",
          [
            TestAttribute("a", .text(String(repeating: "x", count: 300))), TestAttribute("b", .text("end")),
          ])
      ], gives: [String(repeating: "x", count: 127) + "|end"]),
  ]

  /// In any order of spans, in one record or in several.
  @Test(arguments: cases) func theKeysOfATrace(_ example: Case) throws {
    let world = KeyWorld(example.attributes)
    for spans in [example.spans, example.spans.reversed()] {
      world.send(spans)
      #expect(names(try world.counts()) == example.names)
      for span in spans { world.send([span]) }
      let record = try world.counts()
      #expect(names(record) == example.names)
      #expect(record.entries.allSatisfy { $0.traffic.seen == 1 })
      #expect(record.other.seen == (example.names.isEmpty ? 1 : 0))
    }
  }

  @Test func aFailureOfAKeyThatSaysLessIsOneOfThoseThatSayMore() throws {
    let world = KeyWorld(["service.name", "http.route"])
    world.send([
      span(1, "shop", [route("/cart")]), span(2, "mail"), span(3, "shop", status: .error),
      span(4, "stock", [route("/items")]),
    ])
    let record = try world.counts()
    #expect(names(record) == ["mail|", "shop|/cart", "stock|/items"])
    #expect(record.entries.map(\.traffic.failed) == [0, 1, 0])
    // It failed where the route is named, too.
    world.send([span(1, "mail"), span(2, "shop", [route("/cart")], status: .error)])
    #expect(try world.counts().entries.map(\.traffic.failed) == [0, 1])
  }

  @Test func theLargestRateOfItsKeysIsTheTraces() throws {
    let world = KeyWorld(["service.name", "http.route"])
    world.send([span(1)])
    _ = try world.counts()
    world.adopt(
      [separated("shop|/cart"): 0.25, separated("shop|/pay"): 0.5, separated("shop|"): 1], other: 0.125)
    // From the next interval on new names are no longer kept whole.
    _ = try world.counts()
    for (routes, rate) in [(["/cart"], 0.25), (["/cart", "/pay"], 0.5), (["/new"], 0.125)] {
      world.send(
        routes.enumerated().map { number, text in
          var span = span(UInt64(number) + 1, "shop", [route(text)])
          (span.trace, span.parent) = (TestSpan.lucky, 9)
          return span
        })
      world.round += 1
      world.world.sampler.advance(to: world.world.clock + .seconds(1), into: &world.world.effects)
      #expect(try world.world.take().written.map(\.probability) == [rate])
    }
  }

  @Test func aTraceHasSoManyKeysAtMost() throws {
    let world = KeyWorld(["http.route"]) { $0.limits.servicesPerTrace = 3 }
    world.send((1...9).map { span($0, "shop", [route("/\($0)")]) })
    #expect(names(try world.counts()) == ["/1", "/2", "/3"])
  }

  /// New names beyond the limit share one rate, and those that have rates keep them.
  @Test func aFloodOfNamesIsBounded() throws {
    let world = KeyWorld(["http.route"], services: 50)
    world.send([span(1, "shop", [route("/known")])])
    _ = try world.counts()
    world.adopt(["/known": 0.5])
    for number in 0..<500 as Range<UInt64> {
      var flood = span(1, "shop", [route("/\(number)")])
      flood.trace = number + 10
      world.send([flood])
    }
    #expect(world.world.sampler.baseline?.attributes?.names.count == 50)
    #expect(world.world.counters.keysBeyondLimit == 450)
    var known = span(1, "shop", [route("/known")])
    known.trace = TestSpan.lucky
    world.send([known])
    let record = try world.counts()
    #expect(record.entries.count == 51 && record.other.seen == 450)
    #expect(record.entries.contains { $0.name == Array("/known".utf8) && $0.isKnown })
  }

  /// Names in no open trace make room, and a successor gets no rate but its own.
  @Test func namesGoWithTheirTraces() throws {
    let world = KeyWorld(["http.route"], services: 4)
    for round in 0..<40 {
      world.send((1...4).map { span($0, "shop", [route("/\(round)/\($0)")]) })
      #expect(names(try world.counts()) == (1...4).map { "/\(round)/\($0)" })
    }
    #expect(world.world.counters.keysBeyondLimit == 0)
    #expect(world.world.sampler.baseline?.attributes?.names.count ?? 99 <= 4)
  }

  /// Names of spans are values like others; the tuples of known names are found without being made again.
  @Test func namesOfSpansAreValues() throws {
    let world = KeyWorld([]) { $0.baseline?.key = .parts([.attribute("service.name"), .spanName]) }
    for _ in 0..<3 {
      var (one, two, three) = (span(1, "shop"), span(2, "shop"), span(3, "mail", status: .error))
      (one.name, two.name, three.name) = ("GET /", "pay", "GET /")
      world.send([one, two, two, three])
      var own = span(4, "shop", [TestAttribute("service.name", .text("other"))])
      own.name = "pay"
      world.send([own])
      let record = try world.counts()
      #expect(names(record) == ["mail|GET /", "other|pay", "shop|GET /", "shop|pay"])
      #expect(record.entries.map(\.traffic.failed) == [1, 0, 0, 0])
    }
    #expect(world.world.sampler.baseline?.attributes?.names.count == 4)
  }

  /// What is the same in all spans of a trace joins each of its tuples.
  @Test func tracesHaveValuesToo() throws {
    let world = KeyWorld([]) { configuration in
      configuration.baseline?.key = .parts([.rootOperation, .attribute("http.route"), .traceShape])
    }
    world.send([span(1, "shop", [route("/cart")]), span(2, "mail", [route("/send")])])
    let record = try world.counts()
    let shape = names(record)[0].suffix(16)
    #expect(names(record) == ["GET /|/cart|\(shape)", "GET /|/send|\(shape)"])
    #expect(shape.allSatisfy { $0.isHexDigit })
    world.send([span(1, "shop")])
    let alone = try #require(names(try world.counts()).first)
    #expect(alone.hasPrefix("GET /||") && alone.suffix(16) != shape)
  }

  @Test func servicesAreAsTheyWere() throws {
    let world = KeyWorld(["service.name"]) { $0.baseline?.key = .service }
    #expect(world.world.sampler.baseline?.attributes == nil)
    world.send([span(1, "shop"), span(2, "mail", status: .error)])
    let record = try world.counts()
    #expect(names(record) == ["mail", "shop"] && record.entries.map(\.traffic.failed) == [1, 0])
  }
}

// The calls between services as counters that only grow, for Prometheus. Names, labels and buckets are those
// of the Collector's service-graph connector; the counts are estimates from kept traces.

/// Durations in seconds, counted by weight in buckets that don't change.
public struct GraphDurations: Sendable {
  /// The upper bounds of all buckets but the last, in milliseconds: the connector's default.
  public static let bounds: [UInt64] = [
    2, 4, 6, 8, 10, 50, 100, 200, 400, 800, 1000, 1400, 2000, 5000, 10_000, 15_000,
  ]
  private static let millisecond: UInt64 = 1_000_000

  /// The weights by bucket; empty while nothing was observed.
  public private(set) var buckets: [Double] = []
  /// The sum of weight times duration, in seconds.
  public private(set) var sum = 0.0

  mutating func add(nanoseconds: UInt64, weight: Double) {
    if buckets.isEmpty { buckets = Array(repeating: 0, count: GraphDurations.bounds.count + 1) }
    let bucket = GraphDurations.bounds.firstIndex { nanoseconds <= $0 * GraphDurations.millisecond }
    buckets[bucket ?? GraphDurations.bounds.count] += weight
    sum += weight * Double(nanoseconds) / 1e9
  }
}

/// What is known of the calls from one service to another, by whether they failed.
public struct GraphSums: Sendable {
  var tally = Tally()
  /// As the spans of the client say.
  public internal(set) var client = GraphDurations()
  /// As the spans of the server say.
  public internal(set) var server = GraphDurations()

  /// How many there were, estimated.
  public var requests: Double { tally.weight }
  /// The variance of that.
  public var variance: Double { tally.variance }
}

/// Calls between services since the graph began to count, by client, server and kind of connection. It is
/// bounded, and nothing ever leaves it: what there is no room for is one edge.
public struct ServiceGraph: Sendable {
  /// What connects a client and a server. The values are the connector's.
  public enum Connection: String, Sendable {
    /// A call, or nothing that is known.
    case call = ""
    /// A message, from its producer to its consumer.
    case messaging = "messaging_system"
    /// A call to a database, which has no spans.
    case database
    /// One of the two has no spans.
    case virtualNode = "virtual_node"
  }

  /// A client and a server. An empty one is not known.
  public struct Edge: Hashable, Sendable {
    /// Its name.
    public var client = ""
    /// Its name.
    public var server = ""
    /// What connects them.
    public var connection = Connection.call
  }

  /// A call to be counted. Durations are nil where no span tells them.
  struct Call {
    var edge: Edge
    var isFailed: Bool
    var weight: Double
    /// How many such calls its trace has had before.
    var before: Double
    var clientDuration, serverDuration: UInt64?
  }

  /// Halves of calls whose other half never came.
  public struct Unpaired: Sendable {
    /// Those that were waited for to the end.
    public internal(set) var spans = 0.0
    /// Those that had to make room before.
    public internal(set) var dropped = 0.0
  }

  private struct Key: Hashable {
    var client, server: UInt32
    var connection: Connection
  }

  private struct Outcomes {
    var fine = GraphSums(), failed = GraphSums()
  }

  /// Whose spans have no `service.name`: as in the metrics from all traffic.
  private static let unknownService = "unknown_service"
  /// Stands for the side of a call that is not known.
  private static let nobody = UInt32.max
  /// Of both outcomes, with four full histograms.
  private static let edgeBytes = 1200
  private static let unpairedBytes = 64

  private var names: NamePool
  private var calls: [Key: Outcomes] = [:]
  private var lone: [Key: Unpaired] = [:]
  private let edgesMax: Int
  /// Whether what is read now is counted: not while it is of the past.
  var isCounting = true

  init(bytesMax: Int) {
    names = NamePool(bytesMax: min(1 << 19, bytesMax / 32))
    edgesMax = min(1000, bytesMax >> 15)
  }

  var byteCount: Int {
    names.byteCount + calls.count * ServiceGraph.edgeBytes + lone.count * ServiceGraph.unpairedBytes
  }

  /// All edges with calls, in order, once for each outcome that they have.
  public var series: [(edge: Edge, isFailed: Bool, sums: GraphSums)] {
    ServiceGraph.ordered(calls.map { (edge($0.key), $0.value) }).flatMap { edge, outcomes in
      [(edge, false, outcomes.fine), (edge, true, outcomes.failed)].filter { $0.2.requests > 0 }
    }
  }

  /// All edges of which one side never came, in order.
  public var unpaired: [(edge: Edge, spans: Unpaired)] {
    ServiceGraph.ordered(lone.map { (edge($0.key), $0.value) }).map { ($0.0, $0.1) }
  }

  private static func ordered<Value>(_ edges: [(Edge, Value)]) -> [(Edge, Value)] {
    func parts(_ edge: Edge) -> [String] { [edge.client, edge.server, edge.connection.rawValue] }
    return edges.sorted { parts($0.0).lexicographicallyPrecedes(parts($1.0)) }
  }

  private func edge(_ key: Key) -> Edge {
    func name(_ number: UInt32) -> String { number == ServiceGraph.nobody ? "" : names[number] }
    return Edge(client: name(key.client), server: name(key.server), connection: key.connection)
  }

  /// Adds a call. Both of its sides are known; an empty name is that of a service without one.
  mutating func count(_ call: Call) {
    let isFull = calls.count >= edgesMax
    var key = Key(
      client: number(of: call.edge.client, isFull), server: number(of: call.edge.server, isFull),
      connection: call.edge.connection)
    if isFull, calls[key] == nil { key = ServiceGraph.otherKey }
    let outcome = call.isFailed ? \Outcomes.failed : \Outcomes.fine
    calls[key, default: Outcomes()][keyPath: outcome].add(call)
  }

  /// Adds a span whose other one did not come; the side that is not known is nil.
  mutating func countUnpaired(
    client: String?, server: String?, _ connection: Connection, weight: Double, isDropped: Bool
  ) {
    let isFull = lone.count >= edgesMax
    var key = Key(
      client: client.map { number(of: $0, isFull) } ?? ServiceGraph.nobody,
      server: server.map { number(of: $0, isFull) } ?? ServiceGraph.nobody, connection: connection)
    if isFull, lone[key] == nil { key = ServiceGraph.otherKey }
    let count = isDropped ? \Unpaired.dropped : \Unpaired.spans
    lone[key, default: Unpaired()][keyPath: count] += weight
  }

  private static let otherKey = Key(client: NamePool.other, server: NamePool.other, connection: .call)

  /// The number of a name, which is new only while there is room for another edge: what no edge has takes no
  /// memory.
  private mutating func number(of service: String, _ isFull: Bool) -> UInt32 {
    let name = service.isEmpty ? ServiceGraph.unknownService : service
    return names.find(name) ?? (isFull ? NamePool.other : names.take(name))
  }
}

extension GraphSums {
  fileprivate mutating func add(_ call: ServiceGraph.Call) {
    tally.add(weight: call.weight, count: 1, before: call.before, isError: call.isFailed)
    if let duration = call.clientDuration { client.add(nanoseconds: duration, weight: call.weight) }
    if let duration = call.serverDuration { server.add(nanoseconds: duration, weight: call.weight) }
  }
}

// What a trace looks like: which operation calls which, whatever its ids, order and times.

/// A span, as far as its trace's shape depends on it.
struct ShapeSpan {
  var id: UInt64
  /// Zero for a root.
  var parent: UInt64
  /// The number of its service and name.
  var operation: UInt32
}

/// Three shapes of a trace, each a hash: two traces look alike if the numbers are the same.
struct TraceShape: Equatable {
  /// The set of its edges: (operation of the parent, own operation) of each span, or own operation alone
  /// where the trace does not have the parent.
  var edges: UInt64
  /// Its tree, without repetitions: of alike subtrees below one span, one counts.
  var tree: UInt64
  /// Its tree with repetitions.
  var calls: UInt64

  /// The order in which spans come does not matter. Of spans with the same id the one with the least parent
  /// and operation counts.
  init(of spans: [ShapeSpan]) {
    let sorted = spans.sorted { ($0.id, $0.parent, $0.operation) < ($1.id, $1.parent, $1.operation) }
    var nodes: [ShapeSpan] = []
    for span in sorted where nodes.last?.id != span.id { nodes.append(span) }
    let places = Dictionary(uniqueKeysWithValues: nodes.enumerated().map { ($0.element.id, $0.offset) })
    var children = [[Int]](repeating: [], count: nodes.count)
    var order: [Int] = []
    var pairs: Set<UInt64> = []
    for (place, node) in nodes.enumerated() {
      let own = UInt64(node.operation)
      if let parent = places[node.parent], parent != place {
        children[parent].append(place)
        pairs.insert(UInt64(nodes[parent].operation) << 32 | own)
      } else {
        order.append(place)
        pairs.insert(UInt64(UInt32.max) << 32 | own)
      }
    }
    edges = TraceShape.hash(pairs.sorted())
    // Level by level, so that children come after their parents. Spans whose parents form a ring are never
    // reached: they count by their edges only.
    let roots = order
    var next = 0
    while next < order.count {
      order.append(contentsOf: children[order[next]])
      next += 1
    }
    var trees = [UInt64](repeating: 0, count: nodes.count)
    var calls = trees
    for place in order.reversed() {
      let own = UInt64(nodes[place].operation)
      trees[place] = TraceShape.hash([own] + Set(children[place].map { trees[$0] }).sorted())
      calls[place] = TraceShape.hash([own] + children[place].map { calls[$0] }.sorted())
    }
    tree = TraceShape.hash(Set(roots.map { trees[$0] }).sorted())
    self.calls = TraceShape.hash(roots.map { calls[$0] }.sorted())
  }

  private static let hasher = SipHash(key: (0x7472_6163_6573, 0x7368_6170_6573))

  private static func hash(_ numbers: [UInt64]) -> UInt64 {
    var hash = UInt64(numbers.count)
    for (place, number) in numbers.enumerated() { hash = hasher.hash(hash, number, UInt64(place)).0 }
    return hash
  }
}

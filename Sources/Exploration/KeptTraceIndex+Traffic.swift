// The map of services and the latencies of operations, from the weighted counts of each minute.

internal import OTLP

/// What is known of an operation, a service's calls, or the calls between two services.
public struct TrafficSummary: Sendable {
  /// How many there were, with the 99 % interval.
  public var calls, low, high: Double
  /// The share that failed.
  public var errorShare: Double
  /// Percentiles of the duration, in nanoseconds; nil without calls.
  public var median, p95, p99: Double?
  /// How many were kept.
  public var samples: Double

  init(_ tally: Tally, _ latencies: Latencies) {
    calls = tally.weight
    (low, high) = tally.interval
    errorShare = tally.weight > 0 ? tally.errorWeight / tally.weight : 0
    median = latencies.quantile(0.5)
    p95 = latencies.quantile(0.95)
    p99 = latencies.quantile(0.99)
    samples = tally.samples
  }

  func append(to json: inout JSONText) {
    json.set("calls", calls)
    json.set("calls_low", low)
    json.set("calls_high", high)
    json.set("errors_share", errorShare)
    json.set("p50_ns", median)
    json.set("p95_ns", p95)
    json.set("p99_ns", p99)
    json.set("samples", samples)
  }
}

/// Which services there are and which calls which.
public struct ServiceMap: Sendable {
  /// Services, the most called first, and calls likewise.
  public var services: [(name: String, summary: TrafficSummary)]
  /// Calls between services, the most frequent first.
  public var calls: [(from: String, to: String, summary: TrafficSummary)]
  /// Links: spans of `to` that link to one of `from`, as those that take messages do.
  public var links: [(from: String, to: String, summary: TrafficSummary)]
  /// Whether there are more.
  public var isTruncated = false

  /// The document of `/v1/map`.
  public func document() -> JSONText {
    var json = JSONText()
    json.object { json in
      json.key("services")
      json.array { json in
        for each in services {
          json.object { json in
            json.set("name", each.name)
            each.summary.append(to: &json)
          }
        }
      }
      for (key, edges) in [("calls" as StaticString, calls), ("links", links)] {
        json.key(key)
        json.array { json in
          for each in edges {
            json.object { json in
              json.set("from", each.from)
              json.set("to", each.to)
              each.summary.append(to: &json)
            }
          }
        }
      }
      json.set("truncated", isTruncated)
    }
    return json
  }
}

/// A sum while it is made.
private struct Sum {
  var tally = Tally()
  var latencies = Latencies()

  var summary: TrafficSummary { TrafficSummary(tally, latencies) }
}

extension KeptTraceIndex {
  private static let servicesMax = 1000
  private static let callsMax = 5000
  private static let bucketsMax = 60
  private static let dotsMax = 2000

  private func minutes(_ times: ClosedRange<Int64>) -> [TrafficStep] {
    let minute: Int64 = 60_000_000_000
    return steps.filter { (times.lowerBound / minute...times.upperBound / minute).contains($0.key) }.map(
      \.value)
  }

  /// The map of the services between two moments of log time, to the minute.
  public func map(_ times: ClosedRange<Int64>) -> ServiceMap {
    var services: [UInt32: Sum] = [:]
    var edges: [UInt32: Sum] = [:]
    var linked: [UInt32: Sum] = [:]
    for step in minutes(times) {
      for (number, tally) in step.operations where pairs[number].second == PairPool.entry {
        services[pairs[number].first, default: Sum()].tally.add(tally)
      }
      for (key, cell) in step.operationCells {
        let pair = pairs[UInt32(truncatingIfNeeded: key >> 8)]
        guard pair.second == PairPool.entry else { continue }
        services[pair.first, default: Sum()].latencies.add(cell, class: Int(key & 255))
      }
      for (number, tally) in step.calls { edges[number, default: Sum()].tally.add(tally) }
      for (key, cell) in step.callCells {
        edges[UInt32(truncatingIfNeeded: key >> 8), default: Sum()].latencies.add(cell, class: Int(key & 255))
      }
      for (number, tally) in step.links { linked[number, default: Sum()].tally.add(tally) }
      for (key, cell) in step.linkCells {
        let number = UInt32(truncatingIfNeeded: key >> 8)
        linked[number, default: Sum()].latencies.add(cell, class: Int(key & 255))
      }
    }
    let nodes = services.sorted { $0.value.tally.weight > $1.value.tally.weight }
    let isTruncated =
      nodes.count > KeptTraceIndex.servicesMax || max(edges.count, linked.count) > KeptTraceIndex.callsMax
    return ServiceMap(
      services: nodes.prefix(KeptTraceIndex.servicesMax).map { (names[$0.key], $0.value.summary) },
      calls: lines(edges), links: lines(linked), isTruncated: isTruncated)
  }

  /// The most frequent pairs of services.
  private func lines(_ edges: [UInt32: Sum]) -> [(from: String, to: String, summary: TrafficSummary)] {
    edges.sorted { $0.value.tally.weight > $1.value.tally.weight }.prefix(KeptTraceIndex.callsMax).map {
      (names[calls[$0.key].first], names[calls[$0.key].second], $0.value.summary)
    }
  }

  /// The document of `/v1/latency`: the durations of an operation's spans; without an operation, of those by
  /// which calls enter the service; and the kept traces that have some, with the longest span of each.
  public func latencies(of service: String, _ operation: String?, _ times: ClosedRange<Int64>) -> JSONText {
    var sum = Sum()
    var dots: [(number: Int, duration: UInt64, isError: Bool)] = []
    let first = names.find(service)
    let second = operation.map { names.find($0) } ?? PairPool.entry
    if let first, let second, let pair = pairs.find(PairPool.Pair(first: first, second: second)) {
      for step in minutes(times) {
        if let tally = step.operations[pair] { sum.tally.add(tally) }
        for number in 0...LatencyScale.classMax {
          if let cell = step.operationCells[UInt64(pair) << 8 | UInt64(number)] {
            sum.latencies.add(cell, class: number)
          }
        }
      }
      var number = rows.end - 1
      while number >= rows.start, dots.count < KeptTraceIndex.dotsMax {
        if times.contains(rows[number].time), let place = words.find(pair, in: rows[number].pairs) {
          let info = PairInfo(word: words[after: place])
          dots.append((number, info.duration, info.hasError))
        }
        number -= 1
      }
    }
    return document(sum, dots)
  }

  private func document(_ sum: Sum, _ dots: [(number: Int, duration: UInt64, isError: Bool)]) -> JSONText {
    var json = JSONText()
    json.object { json in
      json.key("buckets")
      json.array { json in
        for bucket in sum.latencies.buckets(KeptTraceIndex.bucketsMax) {
          json.object {
            $0.set("low_ns", bucket.low)
            $0.set("high_ns", bucket.high)
            $0.set("weight", bucket.cell.weight)
            $0.set("samples", Int(bucket.cell.samples))
            $0.set("errors", Int(bucket.cell.errors))
          }
        }
      }
      json.key("dots")
      json.array { json in
        for dot in dots {
          let row = rows[dot.number]
          json.object {
            $0.set("trace_id", row.id.description)
            $0.set("start_ns", String(row.start))
            $0.set("duration_ns", Double(dot.duration))
            $0.set("error", dot.isError)
            $0.set("reason", row.flags.contains(.isDecided) ? names[row.policy] : "")
          }
        }
      }
      json.set("truncated", dots.count >= KeptTraceIndex.dotsMax)
      sum.summary.append(to: &json)
    }
    return json
  }
}

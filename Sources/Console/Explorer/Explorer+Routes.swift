// The explorer's own interface: see docs/console.md.

internal import Exploration
internal import Foundation
internal import OTLP
internal import Pipeline
internal import Sampling
internal import Synchronization
internal import Topology

extension Explorer {
  static let tracesMax = 1500
  private static let servicesMax = 1000
  /// A service's operations in lists.
  private static let operationsMax = 1000
  private static let stepsMax = 1000
  /// Of each trace that is wanted, so many are read where a search has to look at the spans.
  private static let candidates = 4

  /// The latest log time; the time of day before the first record.
  func clock() -> Int64 {
    let clock = following.index.withLock { $0.traces.clock }
    return clock > 0 ? clock : Moment.now.wall.nanoseconds
  }

  private func checked(_ body: () throws(BadParameter) -> ConsoleResponse) -> ConsoleResponse {
    do throws(BadParameter) { return try body() } catch {
      return ConsoleResponse(.badRequest, error: error.text)
    }
  }

  static func traceID(_ text: String) -> TraceID? {
    guard (1...32).contains(text.utf8.count) else { return nil }
    let whole = String(repeating: "0", count: 32 - text.utf8.count) + text
    return Array(whole.utf8).withRawBytes { TraceID(key: $0) }.flatMap { $0.isZero ? nil : $0 }
  }

  // MARK: Status and services

  func status() -> JSONText {
    let state = following.current
    let (traces, spans, bytes, bytesMax, span, evicted, unreadable) = following.index.withLock {
      let index = $0.traces
      return (
        index.count, index.spansRead, index.byteCount, index.bytesMax, index.span, index.evicted,
        index.unreadable
      )
    }
    let topics = topology.topics
    var json = JSONText()
    json.object { json in
      json.set("version", version)
      json.set("group", topology.worker.group)
      json.key("topics")
      json.object {
        $0.set("spans", topics.spans.name)
        $0.set("decisions", topics.decisions.name)
        $0.set("sampled", topics.sampled)
        $0.set("stats", topology.baseline == nil ? nil : topics.stats)
        $0.set("verdicts", topics.verdicts)
        $0.set("logs", topics.logs == nil ? nil : topics.sampledLogs)
      }
      json.key("index")
      json.object {
        $0.set("traces", traces)
        $0.set("spans", Double(spans))
        $0.set("bytes", bytes)
        $0.set("bytes_max", bytesMax)
        $0.set("from_ns", span.map { String($0.lowerBound) })
        $0.set("to_ns", span.map { String($0.upperBound) })
        $0.set("evicted", Double(evicted))
        $0.set("unreadable_records", Double(unreadable))
        $0.set("caught_up", following.share >= 1)
        $0.set("progress", following.share)
        $0.set("records_a_second", state.rate)
      }
      json.set("baseline_percentage", baselinePercentage)
      let baseline = topology.baseline == nil ? [] : ["baseline"]
      json.set("policies", topology.decidingPolicies.map(\.name) + baseline)
      json.set("errors", state.errors)
    }
    return json
  }

  /// The baseline's budget as a share of traces or spans; nil without one, or if it is a rate.
  private var baselinePercentage: Double? {
    switch SamplerConfiguration(topology).baseline?.budget {
    case .shareOfTraces(let share), .shareOfSpans(let share), .shareOfBytes(let share): share * 100
    default: nil
    }
  }

  func services() -> JSONText {
    let clock = clock()
    let (names, sums) = following.index.withLock {
      ($0.traces.serviceNames(), $0.traces.overview(from: 0, to: max(clock, 1), steps: 1).services)
    }
    let counts = Dictionary(sums.map { ($0.name, $0) }) { first, _ in first }
    var json = JSONText()
    json.object { json in
      json.key("services")
      json.array { json in
        for service in names.prefix(Explorer.servicesMax) {
          json.object {
            $0.set("name", service.name)
            $0.set("traces", counts[service.name]?.kept ?? 0)
            $0.set("spans", counts[service.name]?.spans ?? 0)
            $0.set("errors", counts[service.name]?.errors ?? 0)
            $0.set("operations", Array(service.operations.prefix(Explorer.operationsMax)))
          }
        }
      }
      json.set("total", names.count)
      json.set("truncated", names.count > Explorer.servicesMax)
    }
    return json
  }

  // MARK: Overview

  func overview(_ request: ConsoleRequest) -> ConsoleResponse {
    checked { () throws(BadParameter) in
      let times = try request.times(clock: clock())
      let count = try request.count("steps", 1...Explorer.stepsMax, otherwise: 60)
      let (sums, arrivals, rates, recalls, bytes) = following.index.withLock { kept in
        let sums = kept.traces.overview(from: times.lowerBound, to: times.upperBound, steps: count)
        return (
          sums, kept.arrivals?.steps(from: sums.from, step: sums.step, count: count),
          kept.arrivals?.rates() ?? [:], kept.traces.recalls, kept.traces.byteCount
        )
      }
      var json = JSONText()
      json.object { json in
        json.set("from_ns", String(sums.from))
        json.set("to_ns", String(times.upperBound))
        json.set("step_ns", Double(sums.step))
        json.set("kept", sums.kept)
        json.set("kept_weight", sums.weight)
        json.set("dropped", arrivals?.dropped)
        json.set("kept_spans", sums.spans)
        json.set("kept_bytes", sums.bytes)
        json.set("in_spans", arrivals?.spans)
        json.set("in_traces", arrivals?.traces)
        json.set("errors", sums.errors)
        json.set("slow", sums.slow)
        append(sums, rates, to: &json)
        appendBudget(sums, arrivals.map { (traces: $0.traces, spans: $0.spans) }, to: &json)
        appendLag(to: &json)
        json.key("recalls")
        json.object {
          $0.set("requested", recalls.requested)
          $0.set("done", recalls.done)
          $0.set("gone", recalls.gone)
        }
        json.key("memory")
        json.object {
          $0.set("index_bytes", bytes)
          $0.set("process_bytes", ProcessFigures.now?.residentBytes)
        }
      }
      return ConsoleResponse(json: json)
    }
  }

  private func append(_ sums: KeptOverview, _ rates: [String: Double], to json: inout JSONText) {
    json.key("by_reason")
    json.array { json in
      for each in sums.reasons {
        json.object {
          $0.set("reason", each.policy)
          $0.set("policy", each.policy)
          $0.set("kept", each.kept)
          $0.set("spans", each.spans)
          $0.set("bytes", each.bytes)
        }
      }
    }
    json.key("by_service")
    json.array { json in
      for each in sums.services.prefix(Explorer.servicesMax) {
        json.object {
          $0.set("name", each.name)
          $0.set("kept", each.kept)
          $0.set("weight", each.weight)
          $0.set("errors", each.errors)
          $0.set("spans", each.spans)
          $0.set("bytes", each.bytes)
          $0.set("rate", rates[each.name])
        }
      }
    }
    json.set("truncated", sums.services.count > Explorer.servicesMax)
    json.set("total", sums.services.count)
  }

  private func appendBudget(
    _ sums: KeptOverview, _ arrivals: (traces: [Double], spans: [Double])?, to json: inout JSONText
  ) {
    /// Only of the steps in which something is known to have arrived.
    func share(_ kept: [Double], _ arrived: [Double]?) -> Double? {
      guard let arrived else { return nil }
      let known = zip(kept, arrived).filter { $0.1 > 0 }
      let total = known.reduce(0) { $0 + $1.1 }
      return total > 0 ? 100 * known.reduce(0) { $0 + $1.0 } / total : nil
    }
    json.key("budget")
    json.object {
      $0.set("percentage_target", baselinePercentage)
      $0.set("percentage_kept_traces", share(sums.kept, arrivals?.traces))
      $0.set("percentage_kept_spans", share(sums.spans, arrivals?.spans))
    }
  }

  private func appendLag(to json: inout JSONText) {
    let lag = following.current.lag
    json.key("lag")
    json.object { json in
      let records = lag?.reduce(0) { $0 + Int(max(0, $1.end - ($1.committed ?? 0))) }
      json.set("records", records)
      json.key("partitions")
      json.array { json in
        for each in lag ?? [] {
          json.object {
            $0.set("partition", Int(each.partition))
            $0.set("committed", each.committed.map { Int($0) })
            $0.set("end", Int(each.end))
          }
        }
      }
    }
  }

  // MARK: Traces

  func traces(_ request: ConsoleRequest) -> ConsoleResponse {
    checked { () throws(BadParameter) in
      let query = try query(request)
      let (found, total, isCut) = search(query)
      var json = JSONText()
      json.object { json in
        json.set("total", total)
        json.set("truncated", isCut || found.count < total)
        json.key("traces")
        json.array { json in for trace in found { trace.append(to: &json) } }
      }
      return ConsoleResponse(json: json)
    }
  }

  private func query(_ request: ConsoleRequest) throws(BadParameter) -> TraceQuery {
    var query = TraceQuery()
    query.service = request["service"]
    query.operation = request["operation"]
    for text in request.values(of: "tag") {
      let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      guard parts.count == 2, !parts[0].isEmpty else {
        throw BadParameter(text: "tag: '\(text.prefix(40))' is not of the form key=value")
      }
      query.tags.append((String(parts[0]), String(parts[1])))
    }
    query.reason = request["reason"]
    query.policy = request["policy"]
    query.hasError = request["error"].map { $0 == "1" || $0 == "true" }
    let least = try request.duration("min_duration") ?? 0
    let most = try request.duration("max_duration") ?? .max
    guard least <= most else { throw BadParameter(text: "min_duration is longer than max_duration") }
    query.durations = least...most
    if request["from"] != nil || request["to"] != nil { query.times = try request.times(clock: clock()) }
    query.limit = try request.count("limit", 1...Explorer.tracesMax, otherwise: 200)
    if let sort = request["sort"] {
      guard let order = TraceQuery.Order(rawValue: sort) else {
        throw BadParameter(text: "sort is newest, longest or longest_whole")
      }
      query.order = order
    }
    return query
  }

  /// Searches the index; where that asks for tags, also the spans of what it finds. Then the total is that of
  /// the index, which may count a few others, and `isCut` tells that not all of them were looked at.
  private func search(_ query: TraceQuery) -> (found: [FoundTrace], total: Int, isCut: Bool) {
    guard !query.tags.isEmpty else {
      let (found, total) = following.index.withLock { $0.traces.search(query) }
      return (found, total, false)
    }
    var wide = query
    wide.limit = min(Explorer.tracesMax, query.limit * Explorer.candidates)
    let (found, total) = following.index.withLock { $0.traces.search(wide) }
    let read = reading.withLock { $0.read(found, withDecisions: false) }
    let matching = Set(read.traces.filter { $0.matches(query) }.map(\.id))
    let verified = found.filter { matching.contains($0.id) }
    let isWhole = found.count == total && read.missing == nil
    return (
      Array(verified.prefix(query.limit)), isWhole ? verified.count : total, !isWhole
    )
  }

  func trace(_ text: String) -> ConsoleResponse {
    guard let id = Explorer.traceID(text) else {
      return ConsoleResponse(.badRequest, error: "a trace id is 32 hexadecimal digits, not all zero")
    }
    guard let found = following.index.withLock({ $0.traces.trace(id) }) else {
      return ConsoleResponse(.notFound, error: "trace \(id) is not in the index")
    }
    let read = reading.withLock { $0.read([found], withDecisions: true) }
    let trace = read.traces.first ?? TraceSpans(id)
    return ConsoleResponse(
      json: trace.document(decisions: read.decisions, logs: read.logs, missing: read.missing))
  }

  // MARK: Map, latency, explain

  func map(_ request: ConsoleRequest) -> ConsoleResponse {
    checked { () throws(BadParameter) in
      let times = try request.times(clock: clock())
      return ConsoleResponse(json: following.index.withLock { $0.traces.map(times) }.document())
    }
  }

  func latency(_ request: ConsoleRequest) -> ConsoleResponse {
    checked { () throws(BadParameter) in
      let times = try request.times(clock: clock())
      guard let service = request["service"] else { throw BadParameter(text: "service is missing") }
      let operation = request["operation"]
      return ConsoleResponse(
        json: following.index.withLock { $0.traces.latencies(of: service, operation, times) })
    }
  }

  private static let explainPatience = Duration.seconds(60)

  /// The story of a trace, as `tailrace explain --json` tells it.
  func explain(_ text: String) -> ConsoleResponse {
    guard let id = Explorer.traceID(text) else {
      return ConsoleResponse(.badRequest, error: "a trace id is 32 hexadecimal digits, not all zero")
    }
    let deadline = ContinuousClock.now + Explorer.explainPatience
    do {
      // A partition without a leader holds up the other pages, and the console's end.
      var search = TraceStory.Search()
      search.patience = .seconds(10)
      let story = try TraceStory.inTopics(of: topology, of: id, search) { _, _ in
        ContinuousClock.now < deadline && !following.stopped
      }
      guard let story else {
        return ConsoleResponse(.notFound, error: "nothing is known of trace \(id) in the topics")
      }
      let encoder = JSONEncoder()
      encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
      encoder.keyEncodingStrategy = .convertToSnakeCase
      var response = ConsoleResponse(contentType: "application/json", body: "")
      response.bytes = Array(try encoder.encode(story))
      return response
    } catch {
      return ConsoleResponse(.serviceUnavailable, error: "\(error)")
    }
  }
}

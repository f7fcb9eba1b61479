// Jaeger's query API, for its UI and for Grafana.
//
// Source: Jaeger's HTTP handlers (`internal/extension/jaegerquery/internal/http_handler.go` and
// `query_parser.go` of <https://github.com/jaegertracing/jaeger>): times are microseconds since 1970, a
// lookback of dependencies is milliseconds, tags are one JSON object or repeated `key:value`.

internal import Exploration
internal import Foundation
internal import OTLP
internal import Synchronization

extension Explorer {
  private static let jaegerLimit = 100
  private static let microsecond: Int64 = 1000
  private static let millisecond: Int64 = 1_000_000
  private static let day: Int64 = 86_400_000_000_000

  /// Answers a path below `/api/`.
  func jaeger(_ path: String, _ request: ConsoleRequest) -> ConsoleResponse {
    let parts = path.split(separator: "/", omittingEmptySubsequences: true).map(String.init)
    switch (parts.first, parts.count) {
    case ("services", 1): return names(following.index.withLock { $0.traces.serviceNames() }.map(\.name))
    // A service's name may have slashes in it, as it may have anything.
    case ("services", 3...) where parts.last == "operations":
      let name = path.dropFirst("services/".count).dropLast("/operations".count)
      return names(operations(of: String(name)))
    case ("operations", 1): return operations(request)
    case ("traces", 1): return jaegerSearch(request)
    case ("traces", 2): return jaegerTrace(parts[1])
    case ("dependencies", 1): return dependencies(request)
    default: return failure(.notFound, "there is no such path")
    }
  }

  private func failure(_ status: ConsoleStatus, _ text: String) -> ConsoleResponse {
    ConsoleResponse(json: JaegerDocuments.failure(status.rawValue, text), status: status)
  }

  private func names(_ names: [String]) -> ConsoleResponse {
    ConsoleResponse(
      json: JaegerDocuments.answer(total: names.count) { json in for name in names { json.string(name) } })
  }

  private func operations(of service: String) -> [String] {
    following.index.withLock { $0.traces.serviceNames() }.first { $0.name == service }?.operations ?? []
  }

  /// With the kinds of their spans: one entry for each kind.
  private func operations(_ request: ConsoleRequest) -> ConsoleResponse {
    guard let service = request["service"] else {
      return failure(.badRequest, "parameter 'service' is required")
    }
    var found = following.index.withLock { $0.traces.operationKinds(of: service) }
    if let kind = request["spanKind"] { found.removeAll { $0.kind != kind } }
    return ConsoleResponse(
      json: JaegerDocuments.answer(total: found.count) { json in
        for each in found {
          json.object {
            $0.set("name", each.name)
            $0.set("spanKind", each.kind)
          }
        }
      })
  }

  private func jaegerTrace(_ text: String) -> ConsoleResponse {
    guard let id = Explorer.traceID(text) else { return failure(.badRequest, "malformed trace id") }
    guard let found = following.index.withLock({ $0.traces.trace(id) }) else {
      return failure(.notFound, "trace not found")
    }
    let read = reading.withLock { $0.read([found], withDecisions: false) }
    guard !read.traces.isEmpty else { return failure(.notFound, "trace not found: \(read.missing ?? "")") }
    return ConsoleResponse(
      json: JaegerDocuments.traces(read.traces, warnings: read.missing.map { [$0] } ?? []))
  }

  private func dependencies(_ request: ConsoleRequest) -> ConsoleResponse {
    let end = request["endTs"].map { Int64($0) } ?? clock() / Explorer.millisecond
    let lookback = request["lookback"].map { Int64($0) } ?? Explorer.day / Explorer.millisecond
    guard let end, let lookback, end >= 0, lookback >= 0 else {
      return failure(.badRequest, "endTs and lookback are milliseconds")
    }
    let last = end.multipliedReportingOverflow(by: Explorer.millisecond)
    let to = last.overflow ? Int64.max : last.partialValue
    let reach = lookback.multipliedReportingOverflow(by: Explorer.millisecond)
    let from = max(0, to - (reach.overflow ? to : min(to, reach.partialValue)))
    return ConsoleResponse(
      json: JaegerDocuments.dependencies(following.index.withLock { $0.traces.map(from...to) }))
  }

  // MARK: Search

  private func jaegerSearch(_ request: ConsoleRequest) -> ConsoleResponse {
    let ids = request.values(of: "traceID").compactMap { Explorer.traceID($0) }
    if !ids.isEmpty {
      let found = following.index.withLock { kept in
        ids.prefix(Explorer.tracesMax).compactMap { kept.traces.trace($0) }
      }
      let read = reading.withLock { $0.read(found, withDecisions: false) }
      return ConsoleResponse(json: JaegerDocuments.traces(read.traces))
    }
    do throws(BadParameter) {
      let query = try jaegerQuery(request)
      var wide = query
      // The index's filter lets a few others through; the spans decide.
      wide.limit = min(Explorer.tracesMax, query.limit * 2)
      let found = following.index.withLock { $0.traces.search(wide) }.found
      let read = reading.withLock { $0.read(found, withDecisions: false) }
      let traces = read.traces.filter { $0.matches(query) }
      return ConsoleResponse(
        json: JaegerDocuments.traces(
          Array(traces.prefix(query.limit)), warnings: read.missing.map { [$0] } ?? []))
    } catch {
      return failure(.badRequest, error.text)
    }
  }

  private func jaegerQuery(_ request: ConsoleRequest) throws(BadParameter) -> TraceQuery {
    var query = TraceQuery()
    guard let service = request["service"] else {
      throw BadParameter(text: "parameter 'service' is required")
    }
    query.service = service
    query.operation = request["operation"]
    query.areDurationsOfSpans = true
    let least = try request.duration("minDuration") ?? 0
    let most = try request.duration("maxDuration") ?? .max
    guard least <= most else {
      throw BadParameter(text: "'maxDuration' should be greater than 'minDuration'")
    }
    query.durations = least...most
    query.limit = try request.count("limit", 0...Int.max, otherwise: Explorer.jaegerLimit)
    query.limit = min(max(1, query.limit), Explorer.tracesMax)
    query.times = try jaegerTimes(request)
    for text in request.values(of: "tag") {
      let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
      guard parts.count == 2 else {
        throw BadParameter(
          text: "malformed 'tag' parameter, expecting key:value, received: \(text.prefix(40))")
      }
      query.tags.append((String(parts[0]), String(parts[1])))
    }
    for text in request.values(of: "tags") {
      guard let object = try? JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: String] else {
        throw BadParameter(text: "malformed 'tags' parameter, expecting an object of texts")
      }
      query.tags += object.sorted { $0.key < $1.key }.map { (key: $0.key, value: $0.value) }
    }
    return query
  }

  private func jaegerTimes(_ request: ConsoleRequest) throws(BadParameter) -> ClosedRange<Int64> {
    func microseconds(_ name: String) throws(BadParameter) -> Int64? {
      guard let text = request[name] else { return nil }
      guard let value = Int64(text), value >= 0 else {
        throw BadParameter(text: "'\(name)' is microseconds since 1970")
      }
      let (nanoseconds, overflow) = value.multipliedReportingOverflow(by: Explorer.microsecond)
      return overflow ? .max : nanoseconds
    }
    // A lookback is what the UI shows; with it come the bounds. Without bounds it counts from the log's end.
    let end = try microseconds("end")
    var start = try microseconds("start")
    if start == nil, let lookback = request["lookback"] {
      // Days, as the UI offers them, are no unit of Go's.
      let days =
        lookback.hasSuffix("d")
        ? Int64(lookback.dropLast()).flatMap { $0 >= 0 ? min($0, 36_500) * Explorer.day : nil } : nil
      guard let reach = days ?? ConsoleRequest.nanoseconds(lookback).map({ Int64(clamping: $0) }) else {
        throw BadParameter(text: "'lookback' is a duration such as 1h")
      }
      start = max(0, (end ?? clock()) - reach)
    }
    let (from, to) = (start ?? 0, end ?? .max)
    guard from <= to else { throw BadParameter(text: "'start' is after 'end'") }
    return from...to
  }
}

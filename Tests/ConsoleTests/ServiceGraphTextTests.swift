// The page of the calls between services, line by line.

import Testing

@testable import Console
@testable import Exploration

@Suite struct ServiceGraphTextTests {
  private func lines(_ graph: ServiceGraph) -> [String] {
    MetricsText(of: graph).text.split(separator: "\n").map(String.init)
  }

  @Test func everyFamilyHasItsSamples() {
    var graph = ServiceGraph(bytesMax: 64 << 20)
    for isFailed in [false, true] {
      graph.count(
        ServiceGraph.Call(
          edge: ServiceGraph.Edge(client: "shop", server: "st\"o\\c\nk", connection: .messaging),
          isFailed: isFailed, weight: 2.5, before: 0, clientDuration: nil, serverDuration: 1_400_000_000))
    }
    graph.countUnpaired(client: "shop", server: nil, .call, weight: 4, isDropped: false)
    graph.countUnpaired(client: nil, server: "stock", .messaging, weight: 8, isDropped: true)
    let found = lines(graph)
    let heads = found.filter { $0.hasPrefix("# TYPE ") }.map { String($0.dropFirst(7)) }
    #expect(
      heads == [
        "traces_service_graph_request_total counter", "traces_service_graph_request_failed_total counter",
        "traces_service_graph_request_variance_total counter",
        "traces_service_graph_request_client_seconds histogram",
        "traces_service_graph_request_server_seconds histogram",
        "traces_service_graph_unpaired_spans_total counter",
        "traces_service_graph_dropped_spans_total counter",
      ])
    let edge = #"client="shop",server="st\"o\\c\nk",connection_type="messaging_system""#
    let total = "traces_service_graph_request_total{\(edge),failed="
    #expect(found.filter { $0.hasPrefix(total) } == ["\(total)\"false\"} 2.5", "\(total)\"true\"} 2.5"])
    let failed = "traces_service_graph_request_failed_total{"
    #expect(found.filter { $0.hasPrefix(failed) } == ["\(failed)\(edge),failed=\"true\"} 2.5"])
    #expect(found.contains("traces_service_graph_request_variance_total{\(edge),failed=\"true\"} 3.75"))
    // The client's duration is not known.
    #expect(!found.contains { $0.hasPrefix("traces_service_graph_request_client_seconds") })
    let server = "traces_service_graph_request_server_seconds"
    let own = "\(edge),failed=\"true\""
    #expect(found.contains("\(server)_bucket{\(own),le=\"0.002\"} 0"))
    #expect(found.contains("\(server)_bucket{\(own),le=\"1\"} 0"))
    #expect(found.contains("\(server)_bucket{\(own),le=\"1.4\"} 2.5"))
    #expect(found.contains("\(server)_bucket{\(own),le=\"15\"} 2.5"))
    #expect(found.contains("\(server)_bucket{\(own),le=\"+Inf\"} 2.5"))
    #expect(found.contains("\(server)_sum{\(own)} 3.5") && found.contains("\(server)_count{\(own)} 2.5"))
    #expect(found.filter { $0.hasPrefix("\(server)_bucket{\(own)") }.count == 17)
    #expect(
      found.filter { $0.contains("_spans_total{") } == [
        #"traces_service_graph_unpaired_spans_total{client="shop",server="",connection_type=""} 4"#,
        #"traces_service_graph_dropped_spans_total{client="","#
          + #"server="stock",connection_type="messaging_system"} 8"#,
      ])
  }

  @Test func anEmptyGraphHasItsFamilies() {
    #expect(lines(ServiceGraph(bytesMax: 1 << 20)).count == 14)
  }
}

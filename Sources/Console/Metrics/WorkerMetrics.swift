// A worker's page of metrics, read from its status.

internal import Pipeline
internal import Sampling
internal import Synchronization
import Topology

/// Makes the page of metrics from a worker's status.
///
/// Labels are bounded: policies, triggers and reasons by configuration and code, partitions by the worker's
/// assignment, brokers by the cluster, services by `console.services`.
final class WorkerMetrics: Sendable {
  private let version: String
  private let clientVersion: String
  private let services: ServiceLabels

  init(_ topology: Topology, version: String, clientVersion: String) {
    self.version = version
    self.clientVersion = clientVersion
    services = ServiceLabels(most: topology.worker.console.services)
  }

  /// - Parameter topology: the one in effect.
  func text(
    _ status: WorkerStatus, _ topology: Topology, at now: Instant, process: ProcessFigures?,
    console: [String: UInt64] = ConsoleCounters().byReason
  ) -> String {
    let measures = status.measures
    let scrape = Scrape(
      version: version, clientVersion: clientVersion, topology: topology, status: status,
      snapshot: status.snapshot, measures: measures, services: services.bound(measures.services),
      consumers: ClientFigures(status.lanes.map(\.consumerStatistics)),
      producers: ClientFigures(status.lanes.map(\.producerStatistics)), now: now, process: process,
      closedConnections: console)
    let own: MetricSection =
      switch topology {
      case .tailSampling: .tailSampling
      case .repartition: .repartition
      case .export: .export
      }
    var text = MetricsText()
    for section in [.allKinds, own, .clients, .process] {
      for metric in section.metrics {
        if let samples = metric.read(scrape) { text.append(metric, samples) }
      }
    }
    return text.text
  }
}

/// Everything metrics are read from, gathered once per page.
struct Scrape {
  let version: String
  let clientVersion: String
  /// The one in effect.
  let topology: Topology
  let status: WorkerStatus
  /// The totals of all lanes.
  let snapshot: LaneSnapshot
  /// The measurements of all lanes.
  let measures: LaneMeasures
  /// Verdicts by service label.
  let services: [String: ServiceVerdicts]
  let consumers: ClientFigures
  let producers: ClientFigures
  let now: Instant
  /// Nil on systems without process figures.
  let process: ProcessFigures?
  /// Connections that the console closed, by reason.
  let closedConnections: [String: UInt64]

  var counters: SamplerCounters { snapshot.counters }
}

/// Which services have their own label: the first to appear, for as long as the process lives. So no counter
/// ever goes back.
private final class ServiceLabels: Sendable {
  private let most: Int
  private let admitted = Mutex<Set<String>>([])

  init(most: Int) {
    self.most = most
  }

  /// The counts of labelled services, and of all others together.
  func bound(_ services: [String: ServiceVerdicts]) -> [String: ServiceVerdicts] {
    admitted.withLock { admitted in
      for name in services.keys.sorted() where admitted.count < most && !ServiceLabels.isShared(name) {
        admitted.insert(name)
      }
      var bounded: [String: ServiceVerdicts] = [:]
      for (name, verdicts) in services {
        let label = ServiceLabels.isShared(name) || admitted.contains(name) ? name : Sampler.otherServicesName
        bounded[label, default: ServiceVerdicts()].add(verdicts)
      }
      return bounded
    }
  }

  private static func isShared(_ name: String) -> Bool {
    name == Sampler.otherServicesName || name == Sampler.rootlessName
  }
}

// The arithmetic of a plan: each line is computed from earlier lines, and shows how.

import Foundation
import Sampling
import Topology

/// The traffic that a fleet is planned for.
struct CapacityTraffic: Encodable {
  var requestsPerSecond = 0.0
  var spansPerTrace = 50.0
  /// Spans of one record of `spans`: what an exporter or collector batches of one trace.
  var spansPerRecord = 3.8
  var spanBytes = 430.0
  /// Maximum seconds from the first span to the verdict.
  var decisionWait = 35.0
  /// Seconds from the root to the verdict of a trace with all its parents.
  var decisionWaitAfterRoot = 5.0
  /// Seconds from a trace's first span to its root.
  var traceDuration = 1.0
  /// Share of traces that wait for all of `decisionWait`: without a root, with a parent missing, with
  /// asynchronous spans, or with nothing but a root.
  var incompleteShare = 0.02
  /// Seconds for which verdicts are remembered.
  var lateWindow = 600.0
  var errorShare = 0.01
  var slowShare = 0.01
  var baselineShare = 0.01
  /// How many times smaller records are on the wire and on disk.
  var compression = 1.0
  var replication = 3.0
  /// Hours for which `spans` is kept.
  var retentionHours = 6.0
  /// Lanes of a pod.
  var lanes = 1.0
}

/// What the traffic needs.
struct CapacityPlan: Encodable {
  /// One line of the arithmetic.
  struct Line: Encodable {
    let section: String
    let name: String
    /// How the value is computed, in numbers.
    let arithmetic: String
    let value: Double
    let unit: Unit
  }

  enum Unit: String, Encodable {
    case share
    case seconds
    case spansPerSecond = "spans/s"
    case tracesPerSecond = "traces/s"
    case recordsPerSecond = "records/s"
    case bytesPerSecond = "bytes/s"
    case bytes
    case traces
    case cores
    case count = ""
  }

  private(set) var traffic: CapacityTraffic
  private(set) var lines: [Line] = []
  /// The section that lines are added to.
  private var section = ""

  init(_ traffic: CapacityTraffic, _ coefficients: CapacityCoefficients) {
    self.traffic = traffic
    let rates = addTraffic()
    let fleet = addFleet(coefficients, rates)
    addMemory(coefficients, rates, fleet)
    addNetwork(coefficients, rates)
  }

  private enum CodingKeys: CodingKey {
    case traffic, lines
  }

  private mutating func add(_ name: String, _ value: Double, _ unit: Unit, _ arithmetic: String) -> Double {
    lines.append(Line(section: section, name: name, arithmetic: arithmetic, value: value, unit: unit))
    return value
  }

  private struct Rates {
    var spans, records, bytes, keptShare, openTraces: Double
  }

  private mutating func addTraffic() -> Rates {
    section = "traffic"
    let t = traffic
    let spans = add(
      "spans", t.requestsPerSecond * t.spansPerTrace, .spansPerSecond,
      "\(Self.number(t.requestsPerSecond)) requests/s x \(Self.number(t.spansPerTrace)) spans")
    let records = add(
      "records", spans / t.spansPerRecord, .recordsPerSecond,
      "\(Self.number(spans)) spans/s / \(Self.number(t.spansPerRecord)) spans")
    let bytes = add(
      "bytes", spans * t.spanBytes, .bytesPerSecond,
      "\(Self.number(spans)) spans/s x \(Self.number(t.spanBytes)) bytes")
    let forced = min(1, t.errorShare + t.slowShare)
    let kept = add(
      "kept", forced + (1 - forced) * t.baselineShare, .share,
      "\(Self.percent(t.errorShare)) errors + \(Self.percent(t.slowShare)) slow "
        + "+ \(Self.percent(t.baselineShare)) of the other \(Self.percent(1 - forced))")
    let soonest = min(t.decisionWait, t.traceDuration + t.decisionWaitAfterRoot)
    let open = add(
      "open for", (1 - t.incompleteShare) * soonest + t.incompleteShare * t.decisionWait, .seconds,
      "\(Self.percent(1 - t.incompleteShare)) x \(Self.number(soonest)) s "
        + "+ \(Self.percent(t.incompleteShare)) x \(Self.number(t.decisionWait)) s")
    let traces = add(
      "open traces", t.requestsPerSecond * open, .traces,
      "\(Self.number(t.requestsPerSecond)) traces/s x \(Self.number(open)) s")
    return Rates(spans: spans, records: records, bytes: bytes, keptShare: kept, openTraces: traces)
  }

  private struct Fleet {
    var partitions, lanes: Double
  }

  /// Adds the cores that spans, records and traces keep busy; returns their sum.
  private mutating func addBusyCores(_ coefficients: CapacityCoefficients, _ rates: Rates) -> Double {
    let reference = coefficients["reference-span-bytes"]
    let factor = max(1, traffic.spanBytes / reference)
    let larger =
      factor > 1 ? " x \(Self.number(traffic.spanBytes)) / \(Self.number(reference)) bytes" : ""
    let parts = [
      ("spans", rates.spans, factor, larger), ("records", rates.records, 1, ""),
      ("traces", traffic.requestsPerSecond, 1, ""),
    ].map { name, rate, factor, suffix in
      let perMillion = coefficients["cpu-per-million-\(name)"]
      return add(
        "cores for \(name)", rate / 1e6 * perMillion * factor, .cores,
        "\(Self.number(rate)) \(name)/s x \(Self.number(perMillion)) s / 1,000,000\(suffix)")
    }
    let live = coefficients["live-factor"]
    return add(
      "busy cores", parts.reduce(0, +) * live, .cores,
      "(\(parts.map(Self.number).joined(separator: " + "))) x \(Self.number(live)) for live traffic")
  }

  private mutating func addFleet(_ coefficients: CapacityCoefficients, _ rates: Rates) -> Fleet {
    section = "workers"
    let busy = addBusyCores(coefficients, rates)
    let utilisation = coefficients["utilisation"]
    let cores = add(
      "cores", busy / utilisation, .cores,
      "\(Self.number(busy)) / \(Self.number(utilisation)) of a core in use")
    let fetch = coefficients["lane-fetch-rate"]
    let fetching = add(
      "lanes to fetch", rates.bytes / fetch / utilisation, .count,
      "\(Self.data(rates.bytes))/s / \(Self.data(fetch))/s / \(Self.number(utilisation))")
    let most = max(cores, fetching)
    let lanes = traffic.lanes
    let loaded = add(
      "pods for the load", max(1, (most / lanes).rounded(.up)), .count,
      "\(Self.number(most)) \(cores >= fetching ? "cores, one per lane" : "lanes") "
        + "/ \(Self.number(lanes)) per pod, rounded up")
    let spare = coefficients["spare-pods"]
    _ = add("pods", loaded + spare, .count, "\(Self.number(loaded)) + \(Self.number(spare)) spare")
    let perLane = coefficients["partitions-per-lane"]
    let byLanes = ((loaded + spare) * lanes * perLane).rounded(.up)
    let (verdicts, verdictsMax) = (traffic.requestsPerSecond * traffic.lateWindow, Double(Limits().verdicts))
    let byVerdicts = (verdicts / verdictsMax).rounded(.up)
    let partitions = add(
      "partitions", max(byLanes, byVerdicts), .count,
      byLanes >= byVerdicts
        ? "\(Self.number(loaded + spare)) pods x \(Self.lanes(lanes)) x \(Self.number(perLane))"
        : "\(Self.number(verdicts)) past verdicts / \(Self.number(verdictsMax)) per partition, rounded up")
    return Fleet(partitions: partitions, lanes: loaded * lanes)
  }

  private mutating func addMemory(_ coefficients: CapacityCoefficients, _ rates: Rates, _ fleet: Fleet) {
    section = "memory of a lane"
    let partitions = add(
      "partitions", (fleet.partitions / fleet.lanes).rounded(.up), .count,
      "\(Self.number(fleet.partitions)) / \(Self.lanes(fleet.lanes)) without the spare, rounded up")
    let share = partitions / fleet.partitions
    let part = "\(Self.number(partitions)) / \(Self.number(fleet.partitions))"
    let open = rates.openTraces * share
    let perByte = coefficients["memory-per-span-byte"]
    let traceBytes = traffic.spansPerTrace * traffic.spanBytes
    let spans = add(
      "undecided spans", open * traceBytes * perByte, .bytes,
      "\(Self.number(rates.openTraces)) traces x \(part) x \(Self.number(traceBytes)) bytes "
        + "x \(Self.number(perByte))"
    )
    let perTrace = coefficients["bytes-per-open-trace"]
    let tables = add(
      "open traces", open * perTrace, .bytes,
      "\(Self.number(rates.openTraces)) traces x \(part) x \(Self.number(perTrace)) bytes")
    let perVerdict = coefficients["bytes-per-verdict"]
    let verdicts = add(
      "past verdicts", traffic.requestsPerSecond * traffic.lateWindow * share * perVerdict, .bytes,
      "\(Self.number(traffic.requestsPerSecond)) traces/s x \(Self.number(traffic.lateWindow)) s x \(part) "
        + "x \(Self.number(perVerdict)) bytes")
    let uncompressed = coefficients["uncompressed-share"]
    let quarter = coefficients["table-share"]
    let sum = spans / uncompressed + tables + verdicts
    let largest = max(tables, verdicts) / quarter
    let limit = add(
      "limit", max(sum, largest), .bytes,
      sum >= largest
        ? "\(Self.data(spans)) / \(Self.number(uncompressed)) + \(Self.data(tables)) + \(Self.data(verdicts))"
        : "\(Self.data(max(tables, verdicts))) / \(Self.number(quarter)), the limit of one table")
    section = "memory of a pod"
    let lanes = traffic.lanes
    let memory = add(
      "limits.memory", limit * lanes, .bytes, "\(Self.data(limit)) x \(Self.lanes(lanes))")
    let (queues, program) = (coefficients["queue-bytes-per-lane"], coefficients["program-bytes"])
    _ = add(
      "container", memory + queues * lanes + program, .bytes,
      "\(Self.data(memory)) + \(Self.data(queues)) x \(Self.lanes(lanes)) + \(Self.data(program))")
  }

  private mutating func addNetwork(_ coefficients: CapacityCoefficients, _ rates: Rates) {
    section = "network and Kafka"
    let t = traffic
    let smaller = t.compression == 1 ? "" : " / \(Self.number(t.compression))"
    let input = add(
      "spans, in", rates.bytes / t.compression, .bytesPerSecond, "\(Self.data(rates.bytes))/s\(smaller)")
    _ = add("spans, to workers", input, .bytesPerSecond, "each span is read once")
    let sampled = add(
      "sampled, from workers", rates.bytes * rates.keptShare / t.compression, .bytesPerSecond,
      "\(Self.data(rates.bytes))/s x \(Self.percent(rates.keptShare))\(smaller)")
    let (keptBytes, droppedBytes) = (
      coefficients["decision-bytes-kept"], coefficients["decision-bytes-dropped"]
    )
    let perTrace = rates.keptShare * keptBytes + (1 - rates.keptShare) * droppedBytes
    let decisions = add(
      "decisions, from workers", t.requestsPerSecond * perTrace / t.compression, .bytesPerSecond,
      "\(Self.number(t.requestsPerSecond)) traces/s "
        + "x (\(Self.percent(rates.keptShare)) x \(Self.number(keptBytes)) "
        + "+ \(Self.percent(1 - rates.keptShare)) x \(Self.number(droppedBytes)) bytes)\(smaller)")
    let written = input + sampled + decisions
    _ = add(
      "replication", written * (t.replication - 1), .bytesPerSecond,
      "(\(Self.data(input))/s + \(Self.data(sampled))/s + \(Self.data(decisions))/s) "
        + "x \(Self.number(t.replication - 1)) followers"
    )
    _ = add(
      "disk for spans", input * t.retentionHours * 3600 * t.replication, .bytes,
      "\(Self.data(input))/s x \(Self.number(t.retentionHours)) h x \(Self.number(t.replication)) replicas")
  }
}

extension CapacityPlan {
  /// The plan for people.
  var text: String {
    var text: [String] = []
    var section = ""
    for line in lines {
      if line.section != section {
        section = line.section
        text.append(text.isEmpty ? section : "\n\(section)")
      }
      let value = CapacityPlan.text(line)
      text.append(
        "  \(line.name.padding(toLength: 24, withPad: " ", startingAt: 0))"
          + String(repeating: " ", count: max(0, 20 - value.count)) + "\(value)   = \(line.arithmetic)")
    }
    return text.joined(separator: "\n")
  }

  private static func text(_ line: Line) -> String {
    switch line.unit {
    case .share: percent(line.value)
    case .seconds: "\(number(line.value)) s"
    case .bytes: data(line.value)
    case .bytesPerSecond: "\(data(line.value))/s"
    case .count: number(line.value)
    default: "\(number(line.value)) \(line.unit.rawValue)"
    }
  }

  /// With groups of three digits, and at most two decimal places.
  static func number(_ value: Double) -> String {
    let text = String(format: value >= 100 || value == value.rounded() ? "%.0f" : "%.2f", value)
    let parts = text.split(separator: ".")
    var grouped = ""
    for (place, digit) in parts[0].reversed().enumerated() {
      if place > 0, place % 3 == 0 { grouped = ",\(grouped)" }
      grouped = "\(digit)\(grouped)"
    }
    var fraction = parts.count == 2 ? parts[1] : ""
    while fraction.last == "0" { fraction.removeLast() }
    return fraction.isEmpty ? grouped : "\(grouped).\(fraction)"
  }

  /// With three digits and a decimal unit, as is usual for networks and disks.
  fileprivate static func data(_ bytes: Double) -> String {
    let units = [(1e15, "PB"), (1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "KB")]
    guard let (size, name) = units.first(where: { bytes >= $0.0 }) else { return "\(number(bytes)) bytes" }
    let value = bytes / size
    return String(format: value < 9.995 ? "%.2f" : value < 99.95 ? "%.1f" : "%.0f", value) + " \(name)"
  }

  fileprivate static func lanes(_ count: Double) -> String {
    count == 1 ? "1 lane" : "\(number(count)) lanes"
  }

  fileprivate static func percent(_ share: Double) -> String { "\(number(100 * share)) %" }
}

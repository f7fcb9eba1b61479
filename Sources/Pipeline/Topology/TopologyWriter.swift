// The configuration in effect, as a topology file again: every default filled in, every secret masked.

extension Topology {
  /// The configuration in effect as YAML, secrets replaced by `***`. Apart from those it reads back as this
  /// topology. Durations are given in whole milliseconds.
  public var redactedDescription: String {
    var writer = TopologyWriter()
    switch self {
    case .tailSampling(let topology): writer.write(topology)
    case .repartition(let topology): writer.write(topology)
    }
    return writer.text
  }
}

private struct TopologyWriter {
  var text = ""

  mutating func write(_ topology: TailSamplingTopology) {
    line(0, "kind: tail-sampling")
    write(topology.worker)
    let topics = topology.topics
    write(topics.creation)
    line(1, "spans: {name: \(value(topics.spans.name)), encoding: \(topics.spans.encoding.rawValue)}")
    line(1, "decisions:")
    line(2, "name: \(value(topics.decisions.name))")
    line(2, "encoding: \(topics.decisions.encoding.rawValue)")
    line(2, "dropped: \(topics.decisions.dropped.rawValue)")
    line(1, "sampled: {name: \(value(topics.sampled))}")
    line(1, "dead_letters: {name: \(value(topics.deadLetters))}")
    line(0, "windows:")
    line(1, "decision_wait: \(DurationText.format(topology.windows.decisionWait))")
    line(1, "decision_wait_after_root: \(DurationText.format(topology.windows.decisionWaitAfterRoot))")
    line(1, "late_window: \(DurationText.format(topology.windows.lateWindow))")
    line(0, "limits:")
    line(1, "spans_per_trace: \(topology.limits.spansPerTrace)")
    line(1, "bytes_per_trace: \(ByteSizeText.format(topology.limits.bytesPerTrace))")
    line(1, "record_bytes: \(ByteSizeText.format(topology.limits.recordBytes))")
    line(1, "memory: \(ByteSizeText.format(topology.limits.memory))")
    line(1, "services: \(topology.limits.services)")
    line(0, "policies:")
    for policy in topology.policies {
      line(1, "- name: \(value(policy.name))")
      write(policy.rule)
    }
  }

  mutating func write(_ topology: RepartitionTopology) {
    line(0, "kind: repartition")
    write(topology.worker)
    let topics = topology.topics
    write(topics.creation)
    line(
      1, "raw_spans: {name: \(value(topics.rawSpans.name)), encoding: \(topics.rawSpans.encoding.rawValue)}")
    line(1, "spans: {name: \(value(topics.spans))}")
    line(1, "dead_letters: {name: \(value(topics.deadLetters))}")
    line(0, "limits:")
    line(1, "record_bytes: \(ByteSizeText.format(topology.recordBytesMax))")
  }

  private mutating func write(_ worker: WorkerSettings) {
    line(0, "group: \(value(worker.group))")
    line(0, "lanes: \(worker.lanes)")
    line(0, "delivery: \(worker.delivery.rawValue)")
    line(0, "commit_interval: \(DurationText.format(worker.commitInterval))")
    line(0, "commit_records: \(worker.commitRecords)")
    line(0, "stop_timeout: \(DurationText.format(worker.stopTimeout))")
    line(0, "kafka:")
    for property in worker.kafka.redacted {
      line(1, "\(scalar(property.name)): \(value(property.value))")
    }
  }

  private mutating func write(_ creation: TopicCreation) {
    line(0, "topics:")
    line(1, "create: \(creation.enabled)")
    line(1, "partitions: \(creation.partitions)")
    line(1, "replication_factor: \(creation.replicationFactor ?? -1)")
  }

  private mutating func write(_ rule: PolicyRule) {
    switch rule {
    case .alwaysSample:
      line(2, "type: always_sample")
    case .statusCode(let codes):
      line(2, "type: status_code")
      line(2, "status_code: {status_codes: [\(codes.map(\.rawValue).joined(separator: ", "))]}")
    case .latency(let threshold, let upperThreshold):
      let lower = NumberText.format(threshold / .milliseconds(1))
      let upper = NumberText.format((upperThreshold ?? .zero) / .milliseconds(1))
      line(2, "type: latency")
      line(2, "latency: {threshold_ms: \(lower), upper_threshold_ms: \(upper)}")
    case .probabilistic(let percentage):
      line(2, "type: probabilistic")
      line(2, "probabilistic: {sampling_percentage: \(NumberText.format(percentage))}")
    }
  }

  private mutating func line(_ depth: Int, _ content: String) {
    text += String(repeating: "  ", count: depth) + content + "\n"
  }

  /// A value, whose dollars would otherwise be read as variables.
  private func value(_ text: String) -> String {
    scalar(text.split(separator: "$", omittingEmptySubsequences: false).joined(separator: "$$"))
  }

  /// A scalar: plain where no reader can take it for anything but text, else in double quotes.
  private func scalar(_ text: String) -> String {
    let isPlain = text.utf8.allSatisfy { byte in
      switch Unicode.Scalar(byte) {
      case "a"..."z", "A"..."Z", "0"..."9", ".", "_", "-", "/": true
      default: false
      }
    }
    let words = ["true", "false", "yes", "no", "on", "off", "null", "y", "n"]
    let startsAsText = text.utf8.first.map { Unicode.Scalar($0).properties.isAlphabetic } ?? false
    if isPlain, startsAsText, !words.contains(text.lowercased()) { return text }
    var quoted = "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": quoted += "\\\""
      case "\\": quoted += "\\\\"
      case " "..."~": quoted.unicodeScalars.append(scalar)
      default:
        let digits = String(scalar.value, radix: 16)
        quoted += "\\U" + String(repeating: "0", count: 8 - digits.count) + digits
      }
    }
    return quoted + "\""
  }
}

// A workload's generated traffic, decoded for the tests.

import Simulation

/// All records of a workload and all its truths.
struct GeneratedTraffic {
  var records: [WorkloadRecord] = []
  /// The spans of each record.
  var spans: [[DecodedSpan]] = []
  var truths: [TraceTruth] = []

  /// Generates `traces` traces and decodes every record.
  init(traces: Int, _ change: (inout WorkloadOptions) -> Void = { _ in }) throws {
    var options = WorkloadOptions()
    options.traceCount = traces
    change(&options)
    var workload = Workload(options)
    while let record = workload.next() {
      records.append(record)
      spans.append(try decodeSpans(record.bytes))
      truths += workload.takeFinishedTruths()
    }
    truths += workload.takeFinishedTruths()
  }

  /// The spans of each trace, from all records.
  var traces: [TraceKey: [DecodedSpan]] { Dictionary(grouping: spans.joined(), by: \.trace) }
}

extension TraceTruth {
  /// The trace's id.
  var trace: TraceKey { TraceKey(high: traceIDHigh, low: traceIDLow) }
}

/// Options for small traces, so that a test can have many.
func smallTraces(_ options: inout WorkloadOptions) {
  options.spansPerTrace = 6
}

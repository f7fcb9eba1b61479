// A plan as JSON.

import Foundation
import Pipeline
import Sampling

extension PlanText {
  var json: String {
    get throws {
      let pairs = { (pairs: [String: PlanPair]) in pairs.mapValues { JSONPair($0) } }
      let days = perDay(report.kept.old.bytes, report.kept.new.bytes)
      let recallDays = perDay(recalls.old, recalls.new)
      return try ReportJSON.encode(
        Form(
          changes: report.changes.map { change in
            JSONChange(
              kind: change.kind.rawValue, policy: change.policy, traces: change.tally.traces,
              spans: change.tally.spans, bytes: change.tally.bytes,
              samples: change.samples.map {
                JSONSample(
                  traceID: $0.traceID, service: $0.service, durationNs: $0.duration,
                  spanCount: $0.spanCount, errorCount: $0.errorCount)
              })
          },
          compared: report.compared, uncompared: report.uncompared, durationNs: report.duration.nanoseconds,
          kept: JSONPair(report.kept),
          bytesADayNow: days?.old, bytesADayPlanned: days?.new,
          percentOfTrafficNow: PlanText.share(report.kept.old.bytes, report.old.bytes),
          percentOfTrafficPlanned: PlanText.share(report.kept.new.bytes, report.new.bytes),
          memoryNow: report.oldMemory,
          memoryPlanned: report.newMemory, recallsNow: report.old.counters.recallsRequested,
          recallsPlanned: report.new.counters.recallsRequested, recallsADayNow: recallDays?.old,
          recallsADayPlanned: recallDays?.new,
          policies: report.policies.map {
            JSONPolicy(
              name: $0.name, isOld: $0.isOld, isNew: $0.isNew, sampled: JSONPair($0.sampled),
              alone: JSONPair($0.alone), tracesDroppedNow: $0.dropped.old.traces,
              tracesDroppedPlanned: $0.dropped.new.traces, shadowedBy: $0.shadowedBy)
          },
          shadow: report.shadow.map {
            JSONShadow(
              name: $0.name, wouldKeepNow: $0.old?.wouldKeep.traces,
              wouldKeepPlanned: $0.new?.wouldKeep.traces,
              wouldDropNow: $0.old?.wouldDrop.traces, wouldDropPlanned: $0.new?.wouldDrop.traces)
          }, reasons: pairs(report.reasons), services: pairs(report.services), notes: notes))
    }
  }

  private struct Form: Encodable {
    var changes: [JSONChange]
    var compared, uncompared: Int
    var durationNs: Int64
    var kept: JSONPair
    var bytesADayNow, bytesADayPlanned: Int?
    var percentOfTrafficNow, percentOfTrafficPlanned: Double
    var memoryNow, memoryPlanned: Int
    var recallsNow, recallsPlanned: UInt64
    var recallsADayNow, recallsADayPlanned: Int?
    var policies: [JSONPolicy]
    var shadow: [JSONShadow]
    var reasons, services: [String: JSONPair]
    var notes: [String]
  }

  private struct JSONPair: Encodable {
    var now, planned: JSONTally

    init(_ pair: PlanPair) {
      now = JSONTally(traces: pair.old.traces, spans: pair.old.spans, bytes: pair.old.bytes)
      planned = JSONTally(traces: pair.new.traces, spans: pair.new.spans, bytes: pair.new.bytes)
    }
  }

  private struct JSONTally: Encodable {
    var traces, spans, bytes: Int
  }

  private struct JSONPolicy: Encodable {
    var name: String
    var isOld, isNew: Bool
    var sampled, alone: JSONPair
    var tracesDroppedNow, tracesDroppedPlanned: Int
    var shadowedBy: [String]
  }

  /// Without a number where a topology does not have the policy.
  private struct JSONShadow: Encodable {
    var name: String
    var wouldKeepNow, wouldKeepPlanned, wouldDropNow, wouldDropPlanned: UInt64?
  }

  private struct JSONChange: Encodable {
    var kind, policy: String
    var traces, spans, bytes: Int
    var samples: [JSONSample]
  }

  private struct JSONSample: Encodable {
    var traceID, service: String
    var durationNs: Int64
    var spanCount, errorCount: Int
  }
}

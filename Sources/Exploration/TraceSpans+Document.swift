// A trace as the document of `/v1/traces/{id}`.

internal import OTLP
internal import Sampling

extension TraceSpans {
  /// The document.
  ///
  /// - Parameters:
  ///   - decisions: the trace's decision records with their places.
  ///   - logs: its logs; nil where logs don't follow their traces.
  ///   - missing: why spans are missing, if they are.
  public func document(
    decisions: [(record: [UInt8], position: RecordPosition)], logs: TraceLogs? = nil, missing: String?
  ) -> JSONText {
    var json = JSONText()
    json.object { json in
      json.set("trace_id", id.description)
      json.key("spans")
      json.array { json in for span in spans { append(span, to: &json) } }
      json.key("resources")
      json.array { json in
        for attributes in resources { TraceSpans.append(attributes, to: &json) }
      }
      json.key("decisions")
      json.array { json in
        for (record, position) in decisions { append(record, position, to: &json) }
      }
      json.key("logs")
      if let logs { logs.append(to: &json) } else { json.null() }
      json.set("missing", missing)
      json.set("truncated", isTruncated || logs?.isTruncated == true)
    }
    return json
  }

  static func append(_ attributes: [Attribute], to json: inout JSONText) {
    json.array { json in for attribute in attributes { attribute.append(to: &json) } }
  }

  private func append(_ span: WholeSpan, to json: inout JSONText) {
    json.object { json in
      json.set("span_id", TraceSpans.hexadecimal(span.spanID))
      json.set("parent_span_id", span.parentID.isEmpty ? nil : TraceSpans.hexadecimal(span.parentID))
      json.key("service")
      json.string(bytes: service(of: span))
      json.key("operation")
      json.string(bytes: span.name)
      json.set("kind", SpanKind.name(span.kind))
      json.set("start_ns", String(span.start))
      json.set("duration_ns", Double(span.duration))
      json.set("status", span.isError ? "error" : span.status == 1 ? "ok" : "unset")
      json.key("status_message")
      json.string(bytes: span.statusMessage)
      json.key("attributes")
      TraceSpans.append(span.attributes, to: &json)
      json.set("resource", span.resource)
      json.key("scope")
      json.string(bytes: span.scopeName + (span.scopeVersion.isEmpty ? [] : [0x20] + span.scopeVersion))
      json.key("events")
      json.array { json in
        for event in span.events {
          json.object { json in
            json.set("time_ns", String(event.time))
            json.key("name")
            json.string(bytes: event.name)
            json.key("attributes")
            TraceSpans.append(event.attributes, to: &json)
          }
        }
      }
      json.key("links")
      json.array { json in
        for link in span.links {
          json.object { json in
            json.set("trace_id", TraceSpans.hexadecimal(link.traceID))
            json.set("span_id", TraceSpans.hexadecimal(link.spanID))
            json.key("attributes")
            TraceSpans.append(link.attributes, to: &json)
          }
        }
      }
      json.key("trace_state")
      json.string(bytes: span.traceState)
    }
  }

  /// A decision record with its place, and a few of its facts under the names of this interface.
  private func append(_ record: [UInt8], _ position: RecordPosition, to json: inout JSONText) {
    // Of a topic that was made anew, another trace's record may be in that place.
    guard let facts = record.withRawBytes({ DecisionFacts(record: $0) }), facts.traceID == id else { return }
    json.object { json in
      json.set("at_ns", String(facts.decidedAt.nanoseconds))
      json.set("final", facts.isFinal)
      json.set("revised", facts.isRevised)
      json.set("late", facts.isLate)
      json.set("verdict", facts.isKept ? "keep" : "drop")
      json.set("trigger", facts.trigger)
      json.set("reason", facts.reasons.first ?? facts.policy)
      json.set("reasons", facts.reasons)
      json.set("policy", facts.policy)
      json.set("adjusted_count", facts.adjustedCount)
      json.set("spans", facts.spanCount)
      json.set("errors", facts.errorCount)
      json.set("truncated_spans", facts.truncatedCount)
      json.set("recall", facts.recall)
      json.set("partition", Int(position.partition))
      json.set("offset", Int(position.offset))
      json.key("record")
      json.json(record)
    }
  }

  static func hexadecimal(_ bytes: [UInt8]) -> String {
    var text: [UInt8] = []
    for byte in bytes { Hexadecimal.append(UInt64(byte), digits: 2, to: &text) }
    return String(decoding: text, as: UTF8.self)
  }
}

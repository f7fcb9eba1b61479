// The documents of Jaeger's query API, as its UI and Grafana read them.
//
// Source: Jaeger's model of its UI and its translation of OTLP (`internal/uimodel`,
// `internal/jptrace` of <https://github.com/jaegertracing/jaeger>).

internal import OTLP

/// Documents of Jaeger's query API.
public enum JaegerDocuments {
  /// A list of names, and the like: what every answer is wrapped in.
  public static func answer(total: Int, _ body: (inout JSONText) -> Void) -> JSONText {
    var json = JSONText()
    json.object { json in
      json.key("data")
      json.array(body)
      json.set("total", total)
      json.set("limit", 0)
      json.set("offset", 0)
      json.key("errors")
      json.null()
    }
    return json
  }

  /// An error: `{"data":null,…,"errors":[{"code":404,"msg":"trace not found"}]}`.
  public static func failure(_ code: Int, _ message: String) -> JSONText {
    var json = JSONText()
    json.object { json in
      json.key("data")
      json.null()
      json.set("total", 0)
      json.set("limit", 0)
      json.set("offset", 0)
      json.key("errors")
      json.array { json in
        json.object {
          $0.set("code", code)
          $0.set("msg", message)
        }
      }
    }
    return json
  }

  /// Traces.
  public static func traces(_ traces: [TraceSpans], warnings: [String] = []) -> JSONText {
    answer(total: 0) { json in
      for trace in traces { trace.appendJaeger(to: &json, warnings) }
    }
  }

  /// The calls between services, and the links between those that don't call each other: Jaeger has one kind
  /// of dependency.
  public static func dependencies(_ map: ServiceMap) -> JSONText {
    let called = Set(map.calls.map { [$0.from, $0.to] })
    return answer(total: 0) { json in
      for call in map.calls + map.links.filter({ !called.contains([$0.from, $0.to]) }) {
        json.object {
          $0.set("parent", call.from)
          $0.set("child", call.to)
          $0.set("callCount", call.summary.calls.rounded())
        }
      }
    }
  }
}

extension TraceSpans {
  fileprivate func appendJaeger(to json: inout JSONText, _ warnings: [String]) {
    json.object { json in
      json.set("traceID", id.description)
      json.key("spans")
      json.array { json in for span in spans { appendJaeger(span, to: &json) } }
      json.key("processes")
      json.object { json in
        for (number, attributes) in resources.enumerated() {
          json.key(text: "p\(number + 1)")
          json.object { json in
            let name = attributes.last { $0.key == TraceSpans.serviceName }?.value.text ?? []
            json.key("serviceName")
            json.string(bytes: name)
            json.key("tags")
            json.array { json in
              for attribute in attributes where attribute.key != TraceSpans.serviceName {
                attribute.appendJaeger(to: &json)
              }
            }
          }
        }
      }
      json.key("warnings")
      if warnings.isEmpty { json.null() } else { json.array { json in warnings.forEach { json.string($0) } } }
    }
  }

  private static let serviceName = Array("service.name".utf8)

  private func appendJaeger(_ span: WholeSpan, to json: inout JSONText) {
    json.object { json in
      json.set("traceID", id.description)
      json.set("spanID", TraceSpans.hexadecimal(span.spanID))
      json.key("operationName")
      json.string(bytes: span.name)
      json.key("references")
      json.array { json in appendReferences(of: span, to: &json) }
      json.set("startTime", Double(span.start / 1000))
      json.set("duration", Double(span.duration / 1000))
      json.key("tags")
      json.array { json in for tag in span.jaegerTags { tag.appendJaeger(to: &json) } }
      json.key("logs")
      json.array { json in
        for event in span.events {
          json.object { json in
            json.set("timestamp", Double(event.time / 1000))
            json.key("fields")
            json.array { json in
              if !event.name.isEmpty { Attribute("event", event.name).appendJaeger(to: &json) }
              for attribute in event.attributes { attribute.appendJaeger(to: &json) }
            }
          }
        }
      }
      json.set("processID", "p\(span.resource + 1)")
      json.key("warnings")
      json.null()
    }
  }

  private func appendReferences(of span: WholeSpan, to json: inout JSONText) {
    func append(_ type: String, _ trace: String, _ span: [UInt8]) {
      json.object {
        $0.set("refType", type)
        $0.set("traceID", trace)
        $0.set("spanID", TraceSpans.hexadecimal(span))
      }
    }
    if !span.parentID.isEmpty { append("CHILD_OF", id.description, span.parentID) }
    for link in span.links {
      let isChild = link.attributes.contains {
        $0.key == Array("opentracing.ref_type".utf8) && $0.value.text == Array("child_of".utf8)
      }
      append(isChild ? "CHILD_OF" : "FOLLOWS_FROM", TraceSpans.hexadecimal(link.traceID), link.spanID)
    }
  }
}

extension WholeSpan {
  /// The attributes, with what OTLP has in fields and Jaeger in tags.
  fileprivate var jaegerTags: [Attribute] {
    var tags: [Attribute] = []
    if !scopeName.isEmpty { tags.append(Attribute("otel.scope.name", scopeName)) }
    if !scopeVersion.isEmpty { tags.append(Attribute("otel.scope.version", scopeVersion)) }
    tags += attributes
    if let name = SpanKind.jaegerName(kind) { tags.append(Attribute("span.kind", Array(name.utf8))) }
    if isError {
      tags.append(Attribute("otel.status_code", Array("ERROR".utf8)))
      tags.append(Attribute(key: Array("error".utf8), value: .boolean(true)))
    } else if status == 1 {
      tags.append(Attribute("otel.status_code", Array("OK".utf8)))
    }
    if !statusMessage.isEmpty { tags.append(Attribute("otel.status_description", statusMessage)) }
    if !traceState.isEmpty { tags.append(Attribute("w3c.tracestate", traceState)) }
    return tags
  }
}

extension Attribute {
  fileprivate init(_ key: String, _ value: [UInt8]) {
    self.init(key: Array(key.utf8), value: .string(value))
  }

  /// Appends it as `{"key":…,"type":…,"value":…}`: lists and maps as text.
  fileprivate func appendJaeger(to json: inout JSONText) {
    json.object { json in
      json.key("key")
      json.string(bytes: key)
      json.set("type", value.jaegerType)
      json.key("value")
      switch value {
      case .array, .map, .missing: json.string(bytes: value.text)
      default: value.append(to: &json)
      }
    }
  }
}

extension AttributeContent {
  fileprivate var jaegerType: String {
    switch self {
    case .boolean: "bool"
    case .integer: "int64"
    case .double: "float64"
    case .bytes: "binary"
    case .string, .array, .map, .missing: "string"
    }
  }
}

// One member of a tracestate by its key, for the path `trace_state["key"]`.

import OTLP

enum TraceStateEntry {
  /// The value of the member `key` of the tracestate in `range`: empty text if there is no such member, and
  /// `missing` if the tracestate is invalid, as in the Collector.
  static func value(of key: RawSpan, in range: ByteRange, of bytes: RawSpan) -> ConditionValue {
    let list = TraceStateList(range, of: bytes)
    guard list.isReadByCollectors else { return .missing }
    return list.value(of: key, in: bytes).map { .string($0) } ?? .ownText(ByteRange(offset: 0, count: 0))
  }
}

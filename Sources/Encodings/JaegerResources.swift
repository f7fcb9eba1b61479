// Jaeger's processes, which become resources.

import OTLP

/// Writes the processes of spans as resources. A process comes with each of its spans: what the latest ones
/// have become is remembered, so that most are only compared.
struct JaegerResources {
  private var processes = KnownResources(isUsed: true)
  /// What they have become, by their places; behind these that of a process that is not remembered. A process
  /// that is has 1 KiB at most, and its resource 4 KiB: an empty tag, of two bytes, becomes eight.
  private var contents: [[UInt8]] = []
  /// The capacity of all of them.
  private var contentBytes = 0
  /// Where the resource is that was read last.
  private var place = KnownResources.places
  /// The process that is being written.
  private var tags = ReusedList<SpanTag>()
  private var output: [UInt8] = []

  private static let serviceName = Array("service.name".utf8)

  /// The resource that was read last, as the content of its message.
  var current: [UInt8] { contents.isEmpty ? [] : contents[place] }

  /// Reads the process in `range`.
  mutating func read(_ range: ByteRange, in bytes: RawSpan) throws(MalformedInput) {
    if contents.isEmpty { contents = Array(repeating: [], count: KnownResources.places + 1) }
    let known = processes.place(of: range, in: bytes)
    place = known ?? KnownResources.places
    if let known, processes.find(range, place: known, in: bytes) != nil { return }
    try write(range, in: bytes)
    let before = contents[place].capacity
    contents[place].removeAll(keepingCapacity: true)
    contents[place] += output
    contentBytes += contents[place].capacity - before
    // Only now: nothing is known of a process that can't be read.
    if let known { processes.remember(range, place: known, service: nil, in: bytes) }
  }

  /// Writes the resource to `output`.
  private mutating func write(_ range: ByteRange, in bytes: RawSpan) throws(MalformedInput) {
    output.removeAll(keepingCapacity: true)
    tags.removeAll()
    var name = ByteRange(offset: 0, count: 0)
    let limit = PartLimit(range)
    var cursor = WireCursor(range)
    while !cursor.isAtEnd {
      let tag = try cursor.tag(in: bytes)
      try limit.check(tags.count, at: tag.offset)
      switch tag.field {
      case JaegerProcessField.serviceName: name = try cursor.content(of: tag, in: bytes)
      case JaegerProcessField.tags:
        tags.append(try JaegerSpan.tag(cursor.content(of: tag, in: bytes), in: bytes))
      default: try cursor.skip(tag, in: bytes)
      }
    }
    let room = Int(range.count) + OutputRoom.attribute * (tags.count + 2)
    output.appendText(room: room) { out in
      // What Jaeger's collector writes for spans that came without a service.
      if name.count > 0, !bytes.spells("OTLPResourceNoServiceName", in: name) {
        JaegerResources.serviceName.withRawBytes {
          out.attribute(
            ResourceField.attributes, $0, AnyValueField.string, bytes.extracting(name.indices))
        }
      }
      for index in tags.indices { out.attribute(ResourceField.attributes, tags[index], in: bytes) }
    }
  }

  /// Bytes of memory in use.
  var byteCount: Int {
    processes.byteCount + contents.capacity * MemoryLayout<[UInt8]>.stride + contentBytes + tags.byteCount
      + output.capacity
  }
}

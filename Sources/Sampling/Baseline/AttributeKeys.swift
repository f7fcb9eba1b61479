// The keys of open traces, if the baseline is shared over attributes or names of spans instead of services.
//
// A span's key is the tuple of its values: for each attribute its own, else its resource's. A missing value
// stays empty, so a key may have fewer values than another one of its trace: one span of a server names the
// route, the others only the service. Such implied keys are left out when the trace is decided, so the result
// does not depend on the order in which spans arrive.

import OTLP

/// The keys of a partition's open traces. Names are stored once and released with the last trace that has
/// them.
struct AttributeKeys {
  /// A key of a trace, before the trace is decided.
  private struct Note {
    /// `none` for all keys that are not tracked individually.
    var name: NameID
    /// Whether a span with this key failed.
    var isFailed: Bool
    /// The previous note of the same trace, or the next free one.
    var previous: Int32
  }

  private struct NoteList {
    var last: Int32 = -1
    var count: UInt16 = 0
    /// Bit *n* is set if a key's number is *n* in its low seven bits: most keys are evidently new.
    var filter: (UInt64, UInt64) = (0, 0)

    /// Adds a key's number. Returns whether it may be there already.
    @inline(__always)
    mutating func insert(_ name: NameID) -> Bool {
      let bit: UInt64 = 1 << UInt64(name.slot & 63)
      if name.slot & 64 == 0 {
        defer { filter.0 |= bit }
        return filter.0 & bit != 0
      }
      defer { filter.1 |= bit }
      return filter.1 & bit != 0
    }
  }

  /// The number of a key found last for a span's name and a resource.
  private struct Found {
    var tag: UInt64 = 0
    var name = NameID.none
    /// The count of sweeps when it was found: names that are freed lose their numbers.
    var sweeps = 0
  }

  /// A key of a trace that is being decided.
  struct Gathered {
    var name: NameID
    var isFailed: Bool
    /// Whether another key of the trace has the same values and more.
    fileprivate(set) var isImplied = false
  }

  /// The names of the keys: values in the order of the attributes, joined by `TrafficName.separator`.
  private(set) var names: NameTable
  /// What `gather` found, in order of arrival.
  private(set) var gathered: [Gathered] = []
  /// The key that `read` made.
  private(set) var name: [UInt8] = []

  private var wanted: WantedAttributes
  /// By attribute: which value of the key it is.
  private let places: [Int]
  /// Which value is the span's name; nil for none.
  private let namePlace: Int?
  /// How many values a key has here.
  private let valueCount: Int
  private let seed: HashSeed
  /// The keys of spans without values of their own, by the low bits of their tags.
  private var known: [Found] = []
  private static let knownCount = 2048
  /// The tag of the span read last: its name and its resource; 0 if these do not tell its key.
  private var tag: UInt64 = 0
  private var resourceNumbers: [UInt64] = []
  /// Longer values are cut, so the name as a whole never is: no value crowds out another.
  private let valueBytesMax: Int
  private let keysPerTraceMax: Int
  /// By the name's number: bit *i* is set if it has a value for attribute *i*.
  private var shapes: [UInt8] = []
  private var shape: UInt8 = 0
  /// The values of each resource of the current record, and those of the span.
  private var resourceValues: [AttributeValue] = []
  private var values: [AttributeValue] = []
  /// Whether the trace has the key of the resource's values only.
  private var isResourceNoted = false

  private var notes: [Note] = []
  private var firstFree: Int32 = -1
  /// By the trace's slot.
  private var lists: [NoteList] = []

  /// Nil if keys have no part that differs from span to span.
  init?(_ key: BaselineKey, limits: Limits, seed: HashSeed) {
    let parts = key.parts.filter { !$0.isOfTrace }
    guard !parts.isEmpty else { return nil }
    var (attributes, places): ([String], [Int]) = ([], [])
    for (place, part) in parts.enumerated() {
      guard case .attribute(let attribute) = part else { continue }
      attributes.append(attribute)
      places.append(place)
    }
    wanted = WantedAttributes(keys: attributes)
    self.places = places
    namePlace = parts.firstIndex(of: .spanName)
    valueCount = parts.count
    self.seed = seed
    valueBytesMax = TrafficName.valueBytesMax(of: key)
    keysPerTraceMax = limits.servicesPerTrace
    names = NameTable(seed: seed, capacity: limits.services, bytesMax: TrafficName.bytesMax)
    name.reserveCapacity(TrafficName.bytesMax)
    values = Array(repeating: .missing, count: valueCount)
  }

  /// Bytes of memory in use.
  var byteCount: Int {
    notes.capacity * MemoryLayout<Note>.stride + lists.capacity * MemoryLayout<NoteList>.stride
      + names.byteCount + shapes.capacity + resourceValues.capacity * MemoryLayout<AttributeValue>.stride
      + known.capacity * MemoryLayout<Found>.stride + resourceNumbers.capacity * 8
  }

  /// Frees the memory for a record's resources.
  mutating func releaseResources() {
    resourceValues = []
    resourceNumbers = []
  }

  // MARK: Reading

  /// Reads the resources of another record.
  mutating func startRecord(_ record: ScannedRecord, _ bytes: RawSpan) {
    resourceValues.removeAll(keepingCapacity: true)
    resourceNumbers.removeAll(keepingCapacity: true)
    for resource in record.resources {
      let start = resourceValues.count
      resourceNumbers.append(resource.number)
      for _ in 0..<valueCount { resourceValues.append(.missing) }
      guard !wanted.isEmpty else { continue }
      wanted.read(resource, of: record, bytes)
      for found in wanted.found { resourceValues[start + places[found.key]] = found.value }
    }
  }

  /// Prepares for spans of another resource or another trace.
  mutating func startResource() {
    isResourceNoted = false
  }

  /// Reads what makes the key of a span. Returns whether to add it: not if the trace already has it.
  mutating func read(_ span: SpanView, of bytes: RawSpan) -> Bool {
    if !wanted.isEmpty { wanted.read(span, of: bytes) }
    tag = 0
    guard namePlace == nil else {
      let number = resourceNumbers[Int(span.resource)]
      guard wanted.found.isEmpty, number != 0 || wanted.isEmpty else { return true }
      let digest = seed.digest(bytes.extracting(span.name.indices))
      tag = max(1, seed.fold(digest, number ^ 0x9e37_79b9_7f4a_7c15))
      return true
    }
    let isOwn = !wanted.found.isEmpty
    guard isOwn || !isResourceNoted || span.status == .error else { return false }
    if !isOwn { isResourceNoted = true }
    return true
  }

  /// Makes the key of the span read last. Returns whether it has one.
  mutating func makeName(_ span: SpanView, of bytes: RawSpan) -> Bool {
    let start = Int(span.resource) * valueCount
    for place in 0..<valueCount { values[place] = resourceValues[start + place] }
    for found in wanted.found where found.value.isKeyValue { values[places[found.key]] = found.value }
    if let namePlace { values[namePlace] = .string(span.name) }
    name.removeAll(keepingCapacity: true)
    shape = 0
    for place in 0..<valueCount {
      if place > 0 { name.append(TrafficName.separator) }
      guard values[place].isKeyValue else { continue }
      shape |= 1 << UInt8(place)
      append(values[place], of: bytes)
    }
    return shape != 0
  }

  private mutating func append(_ value: AttributeValue, of bytes: RawSpan) {
    switch value {
    case .string(let text):
      name.append(value: bytes.extracting(text.indices).extracting(first: valueBytesMax))
    case .boolean(let truth): name.append(contentsOf: truth ? "true".utf8 : "false".utf8)
    case .integer(let number): name.appendDecimal(number)
    case .double(let number): if let whole = Int64(exactly: number) { name.appendDecimal(whole) }
    case .missing, .array, .map, .bytes: break
    }
  }

  // MARK: Keys of traces

  /// Adds the key of the span read last to the trace in `slot`, if it was found lately.
  @inline(__always)
  mutating func addFound(to slot: Int, isFailed: Bool) -> Bool {
    guard tag != 0, !known.isEmpty else { return false }
    let found = known[Int(truncatingIfNeeded: tag) & (AttributeKeys.knownCount - 1)]
    guard found.tag == tag, found.sweeps == names.sweepCount else { return false }
    if note(found.name, in: slot, isFailed) { names.retain(found.name) }
    return true
  }

  /// Remembers that the span read last has this key.
  private mutating func remember(_ name: NameID) {
    guard tag != 0 else { return }
    if known.isEmpty { known = Array(repeating: Found(), count: AttributeKeys.knownCount) }
    known[Int(truncatingIfNeeded: tag) & (AttributeKeys.knownCount - 1)] = Found(
      tag: tag, name: name, sweeps: names.sweepCount)
  }

  /// Adds the key just read to the trace in `slot`, if its name is known.
  mutating func addKnown(to slot: Int, isFailed: Bool) -> Bool {
    guard let known = name.withRawBytes({ names.find($0) }) else { return false }
    remember(known)
    if note(known, in: slot, isFailed) { names.retain(known) }
    return true
  }

  /// Whether a new name stays within the limit.
  mutating func makeRoom() -> Bool { names.makeRoom() }

  /// Adds the key just read, whose name is new, to the trace in `slot`. Returns the name's number, which may
  /// be reused from another name.
  mutating func addNew(to slot: Int, isFailed: Bool) -> NameID {
    let bytes = name
    let id = bytes.withRawBytes { names.intern($0) }
    while shapes.count <= Int(id.slot) { shapes.append(0) }
    shapes[Int(id.slot)] = shape
    if !note(id, in: slot, isFailed) { names.release(id) }
    remember(id)
    return id
  }

  /// Adds the shared key of all names that are not tracked individually to the trace in `slot`.
  mutating func addOther(to slot: Int, isFailed: Bool) {
    _ = note(.none, in: slot, isFailed)
  }

  /// Adds a key to a trace. Returns whether the trace did not have it.
  private mutating func note(_ name: NameID, in slot: Int, _ isFailed: Bool) -> Bool {
    while lists.count <= slot { lists.append(NoteList()) }
    let mayBeThere = lists[slot].insert(name)
    var place = mayBeThere ? lists[slot].last : -1
    while place >= 0 {
      if notes[Int(place)].name == name {
        if isFailed { notes[Int(place)].isFailed = true }
        return false
      }
      place = notes[Int(place)].previous
    }
    guard Int(lists[slot].count) < keysPerTraceMax else { return false }
    let note = Note(name: name, isFailed: isFailed, previous: lists[slot].last)
    if firstFree >= 0 {
      place = firstFree
      firstFree = notes[Int(place)].previous
      notes[Int(place)] = note
    } else {
      place = Int32(truncatingIfNeeded: notes.count)
      notes.append(note)
    }
    lists[slot].last = place
    lists[slot].count += 1
    return true
  }

  /// Releases the keys of the closed trace in `slot`.
  mutating func release(_ slot: Int) {
    guard slot < lists.count else { return }
    var place = lists[slot].last
    while place >= 0 {
      let note = notes[Int(place)]
      names.release(note.name)
      notes[Int(place)].previous = firstFree
      firstFree = place
      place = note.previous
    }
    lists[slot] = NoteList()
  }

  // MARK: Deciding

  /// Finds the keys of the trace in `slot`, and which of them are implied by others, which inherit their
  /// failures.
  mutating func gather(_ slot: Int) {
    gathered.removeAll(keepingCapacity: true)
    var place = slot < lists.count ? lists[slot].last : -1
    while place >= 0 {
      let note = notes[Int(place)]
      gathered.append(Gathered(name: note.name, isFailed: note.isFailed))
      place = note.previous
    }
    gathered.reverse()
    guard gathered.contains(where: { shapeMask(of: $0.name) != shapeMask(of: gathered[0].name) }) else {
      return
    }
    for less in gathered.indices {
      for more in gathered.indices where isImplied(gathered[less].name, by: gathered[more].name) {
        gathered[less].isImplied = true
        if gathered[less].isFailed { gathered[more].isFailed = true }
      }
    }
  }

  private func shapeMask(of name: NameID) -> UInt8 { name == .none ? 0 : shapes[Int(name.slot)] }

  /// Whether `more` has all the values that `less` has, and others.
  private func isImplied(_ less: NameID, by more: NameID) -> Bool {
    guard less != .none, more != .none else { return false }
    let (part, whole) = (shapes[Int(less.slot)], shapes[Int(more.slot)])
    guard part != whole, part & whole == part else { return false }
    let (left, right) = (names.bytes(of: less), names.bytes(of: more))
    var (here, there) = (0, 0)
    for place in 0..<valueCount {
      let (hereEnd, thereEnd) = (AttributeKeys.end(of: left, here), AttributeKeys.end(of: right, there))
      if part & 1 << UInt8(place) != 0, left[here..<hereEnd] != right[there..<thereEnd] { return false }
      (here, there) = (hereEnd + 1, thereEnd + 1)
    }
    return true
  }

  /// The end of the value that starts at `start`.
  private static func end(of name: [UInt8], _ start: Int) -> Int {
    name[start...].firstIndex(of: TrafficName.separator) ?? name.count
  }
}

extension AttributeValue {
  /// Whether a key can have it: a non-empty string, a boolean, or a whole number (even one encoded as a
  /// floating-point number). All others count as missing.
  fileprivate var isKeyValue: Bool {
    switch self {
    case .string(let text): text.count > 0
    case .boolean, .integer: true
    case .double(let number): Int64(exactly: number) != nil
    case .missing, .array, .map, .bytes: false
    }
  }
}

// A deterministic automaton whose states are made when a text first needs them.

/// Runs a program over texts. A state stands for the set of the program's instructions that wait for the next
/// byte, so each byte is one look-up in a table once its transition is known.
///
/// `$`, `\b` and the like depend on the next byte. An instruction that waits for it stays in the set and is
/// settled by that byte, or by the end of the text, which is a symbol of its own. So a match is found one
/// byte late, which does not change whether there is one.
///
/// The table is bounded: when it is full, all states are forgotten and the run continues from the current
/// one. The worst text costs a walk over the whole program per byte.
///
/// The design is that of RE2 (Russ Cox, "Regular Expression Matching in the Wild", 2010).
struct LazyAutomaton {
  /// States, their sets and their transitions take at most this much.
  static let cacheBytesMax = 256 * 1024

  /// Targets of transitions. Any other target is the place of a state's row in the table, always above these.
  private static let unknown: UInt32 = 0
  private static let dead: UInt32 = 1
  private static let match: UInt32 = 2

  private struct State {
    var hash: UInt32
    /// Its instructions' place in `members`.
    var first: UInt32
    var count: UInt32
    var behind: Behind
    /// Whether one of them depends on the next byte.
    var isWaiting: Bool
  }

  /// What is known about the byte before a place.
  private struct Behind: OptionSet {
    let rawValue: UInt8
    static let textStart = Behind(rawValue: 1)
    static let newline = Behind(rawValue: 2)
    static let word = Behind(rawValue: 4)
  }

  /// What comes after a place.
  private enum Ahead { case unknown, end, newline, word, other }

  private let program: RegularExpressionProgram
  private let classes: [UInt8]
  /// One row per state: one symbol per class, then the end of the text.
  private let rowLength: Int
  private let endSymbol: Int
  /// The bits of `Behind` that conditions of the program depend on.
  private let behindMask: Behind

  /// Row 0 is unused, so that a row's place is above `match`.
  private var table: [UInt32] = []
  private var states: [State] = []
  private var members: [UInt32] = []
  /// Open addressing: the states' numbers, from one, by their sets; zero is free.
  private var index: [UInt32] = []
  private var start: UInt32 = 0

  /// The generation in which each instruction was last visited.
  private var visits: [UInt32] = []
  private var generation: UInt32 = 0
  private var stack: [UInt32] = []
  private var present: [UInt32] = []
  private var next: [UInt32] = []
  /// Bytes read and instructions visited so far.
  private(set) var steps = 0
  /// How often all states were forgotten.
  private(set) var flushes = 0

  init(_ program: RegularExpressionProgram) {
    self.program = program
    classes = program.classes
    endSymbol = program.representatives.count
    rowLength = max(endSymbol + 1, Int(LazyAutomaton.match) + 1)
    var behindMask: Behind = []
    if program.uses(.textStart, .lineStart) { behindMask.insert(.textStart) }
    if program.uses(.lineStart) { behindMask.insert(.newline) }
    if program.uses(.wordBoundary, .notWordBoundary) { behindMask.insert(.word) }
    self.behindMask = behindMask
  }

  /// Bytes of memory in use, without the program.
  var byteCount: Int {
    let numbers =
      table.capacity + members.capacity + index.capacity + visits.capacity + stack.capacity + present.capacity
      + next.capacity
    return 4 * numbers + MemoryLayout<State>.stride * states.capacity
  }

  /// Makes tables without states, before the first text and after `release`.
  private mutating func prepare() {
    table = [UInt32](repeating: 0, count: rowLength)
    index = [UInt32](repeating: 0, count: 64)
    visits = [UInt32](repeating: 0, count: program.instructions.count)
  }

  /// Forgets all states and frees their memory.
  mutating func release() {
    start = LazyAutomaton.unknown
    (table, states, members, index) = ([], [], [], [])
    (visits, stack, present, next) = ([], [], [], [])
    generation = 0
  }

  var cacheBytes: Int {
    4 * (table.count + members.count + index.count) + MemoryLayout<State>.stride * states.count
  }

  mutating func matches(_ text: RawSpan) -> Bool {
    if start == LazyAutomaton.unknown {
      if table.isEmpty { prepare() }
      start = makeStart()
    }
    var state = start
    if program.needsWellFormed {
      runWellFormed(text, &state)
    } else {
      run(text, 0..<text.byteCount, &state)
    }
    if state > LazyAutomaton.match { state = step(state, endSymbol) }
    return state == LazyAutomaton.match
  }

  // MARK: Reading

  /// Reads `range` of `text`, or less if the outcome is known earlier.
  private mutating func run(_ text: RawSpan, _ range: Range<Int>, _ state: inout UInt32) {
    var place = range.lowerBound
    while place < range.upperBound, state > LazyAutomaton.match {
      let first = place
      follow(text, &place, range.upperBound, &state)
      steps += place - first
      guard place < range.upperBound else { return }
      // Sound: `follow` has read this byte.
      let byte = unsafe text.unsafeLoad(fromByteOffset: place, as: UInt8.self)
      state = step(state, Int(classes[Int(byte)]))
      place += 1
    }
  }

  /// Follows known transitions that lead to states. Stops before the first other one.
  @inline(__always)
  private func follow(_ text: RawSpan, _ place: inout Int, _ end: Int, _ state: inout UInt32) {
    let table = table.span
    let classes = classes.span
    while place < end {
      // Sound: the load checks its bounds, and every bit pattern is a UInt8.
      let byte = unsafe text.unsafeLoad(fromByteOffset: place, as: UInt8.self)
      let target = table[Int(state) &+ Int(classes[Int(byte)])]
      if target <= LazyAutomaton.match { return }
      state = target
      place &+= 1
    }
  }

  /// Runs over all of `text`, reading each byte that is not part of a well-formed sequence as U+FFFD.
  private mutating func runWellFormed(_ text: RawSpan, _ state: inout UInt32) {
    var place = 0
    while place < text.byteCount, state > LazyAutomaton.match {
      // In pieces, so that an early outcome saves the rest.
      let (end, isIllFormed) = text.wellFormedEnd(from: place, pieceBytes: 4096)
      run(text, place..<end, &state)
      place = end
      guard isIllFormed else { continue }
      place += 1
      for byte: UInt8 in [0xEF, 0xBF, 0xBD] where state > LazyAutomaton.match {
        state = step(state, Int(classes[Int(byte)]))
      }
    }
  }

  // MARK: Making states

  private mutating func makeStart() -> UInt32 {
    beginVisits()
    next.removeAll(keepingCapacity: true)
    let isMatch = close(program.start, .textStart, .unknown) { $0.next.append($1) }
    return isMatch ? LazyAutomaton.match : state(of: .textStart)
  }

  /// The target of `state` on `symbol`, which is computed and stored if unknown.
  private mutating func step(_ state: UInt32, _ symbol: Int) -> UInt32 {
    steps += 1
    let known = table[Int(state) + symbol]
    if known != LazyAutomaton.unknown { return known }
    let flushesBefore = flushes
    let target = makeTarget(states[Int(state) / rowLength - 1], symbol)
    // After a flush the row belongs to another state.
    if flushes == flushesBefore { table[Int(state) + symbol] = target }
    return target
  }

  private mutating func makeTarget(_ state: State, _ symbol: Int) -> UInt32 {
    let isEnd = symbol == endSymbol
    let byte = isEnd ? 0 : program.representatives[symbol]
    let ahead: Ahead = isEnd ? .end : byte == 0x0A ? .newline : isWordByte(byte) ? .word : .other
    if settle(state, ahead) { return LazyAutomaton.match }
    if isEnd { return LazyAutomaton.dead }

    beginVisits()
    next.removeAll(keepingCapacity: true)
    let behind: Behind = ahead == .newline ? .newline : ahead == .word ? .word : []
    for place in present.indices {
      guard let target = target(of: program.instructions[Int(present[place])], on: byte) else { continue }
      if close(target, behind, .unknown, { $0.next.append($1) }) { return LazyAutomaton.match }
    }
    return next.isEmpty ? LazyAutomaton.dead : self.state(of: behind)
  }

  /// Puts the state's instructions into `present`, with those that depend on `ahead` settled. Returns whether
  /// that gives a match.
  private mutating func settle(_ state: State, _ ahead: Ahead) -> Bool {
    let own = Int(state.first)..<Int(state.first) + Int(state.count)
    present.removeAll(keepingCapacity: true)
    present.append(contentsOf: members[own])
    steps += present.count
    guard state.isWaiting else { return false }
    beginVisits()
    for place in own {
      guard case .look = program.instructions[Int(members[place])] else {
        visits[Int(members[place])] = generation
        continue
      }
    }
    for place in own {
      guard case .look = program.instructions[Int(members[place])] else { continue }
      if close(members[place], state.behind, ahead, { $0.present.append($1) }) { return true }
    }
    return false
  }

  private func target(of instruction: RegularExpressionProgram.Instruction, on byte: UInt8) -> UInt32? {
    switch instruction {
    case .bytes(let low, let high, let next): return low <= byte && byte <= high ? next : nil
    case .anyOf(let first, let count):
      for transition in program.transitions[Int(first)..<Int(first + count)] where byte <= transition.high {
        return byte >= transition.low ? transition.next : nil
      }
      return nil
    case .split, .look, .match: return nil
    }
  }

  private mutating func beginVisits() {
    generation &+= 1
    guard generation == 0 else { return }
    for place in visits.indices { visits[place] = 0 }
    generation = 1
  }

  /// Visits all instructions that `root` leads to without reading a byte. Gives `keep` those that read one
  /// and, while `ahead` is unknown, those that depend on it. Returns whether a match is among them.
  @inline(__always)
  private mutating func close(
    _ root: UInt32, _ behind: Behind, _ ahead: Ahead, _ keep: (inout LazyAutomaton, UInt32) -> Void
  ) -> Bool {
    stack.removeAll(keepingCapacity: true)
    stack.append(root)
    while let place = stack.popLast() {
      steps += 1
      guard visits[Int(place)] != generation else { continue }
      visits[Int(place)] = generation
      switch program.instructions[Int(place)] {
      case .match: return true
      case .split(let one, let other):
        stack.append(other)
        stack.append(one)
      case .look(let look, let next):
        switch LazyAutomaton.holds(look, behind, ahead) {
        case true: stack.append(next)
        case false: break
        case nil: keep(&self, place)
        }
      case .bytes, .anyOf: keep(&self, place)
      }
    }
    return false
  }

  /// Whether a condition holds; nil if it depends on what is ahead and that is unknown.
  private static func holds(_ look: Look, _ behind: Behind, _ ahead: Ahead) -> Bool? {
    switch look {
    case .textStart: behind.contains(.textStart)
    case .lineStart: !behind.isDisjoint(with: [.textStart, .newline])
    case .textEnd: ahead == .unknown ? nil : ahead == .end
    case .lineEnd: ahead == .unknown ? nil : ahead == .end || ahead == .newline
    case .wordBoundary: ahead == .unknown ? nil : behind.contains(.word) != (ahead == .word)
    case .notWordBoundary: ahead == .unknown ? nil : behind.contains(.word) == (ahead == .word)
    }
  }

  // MARK: Storing states

  /// The state whose set is `next`, found or added.
  private mutating func state(of behind: Behind) -> UInt32 {
    next.sort()
    let isWaiting = next.contains { if case .look = program.instructions[Int($0)] { true } else { false } }
    let behind = isWaiting ? behind.intersection(behindMask) : []
    var hash = 0x811C_9DC5 ^ UInt32(behind.rawValue)
    for member in next { hash = (hash ^ member) &* 0x9E37_79B1 ^ hash >> 15 }
    if let found = find(hash, behind) { return found }
    let added = 4 * (rowLength + next.count + index.count) + MemoryLayout<State>.stride
    if cacheBytes + added > LazyAutomaton.cacheBytesMax { flush() }
    states.append(
      State(
        hash: hash, first: UInt32(members.count), count: UInt32(next.count), behind: behind,
        isWaiting: isWaiting))
    members.append(contentsOf: next)
    let row = UInt32(table.count)
    for _ in 0..<rowLength { table.append(LazyAutomaton.unknown) }
    if states.count * 2 > index.count {
      index = [UInt32](repeating: 0, count: index.count * 2)
      for number in states.indices { enter(number) }
    } else {
      enter(states.count - 1)
    }
    return row
  }

  private func find(_ hash: UInt32, _ behind: Behind) -> UInt32? {
    var slot = Int(hash) & (index.count - 1)
    while index[slot] != 0 {
      let number = Int(index[slot]) - 1
      let state = states[number]
      if state.hash == hash, state.behind == behind, Int(state.count) == next.count,
        members[Int(state.first)..<Int(state.first + state.count)].elementsEqual(next)
      {
        return UInt32((number + 1) * rowLength)
      }
      slot = (slot + 1) & (index.count - 1)
    }
    return nil
  }

  private mutating func enter(_ number: Int) {
    var slot = Int(states[number].hash) & (index.count - 1)
    while index[slot] != 0 { slot = (slot + 1) & (index.count - 1) }
    index[slot] = UInt32(number + 1)
  }

  private mutating func flush() {
    flushes += 1
    start = LazyAutomaton.unknown
    states.removeAll(keepingCapacity: true)
    members.removeAll(keepingCapacity: true)
    table.removeLast(table.count - rowLength)
    for slot in index.indices { index[slot] = 0 }
  }
}

extension RawSpan {
  /// The place of the first byte from `place` on that is not part of a well-formed UTF-8 sequence; if there
  /// is none, the start of a sequence about `pieceBytes` further on, or the end.
  func wellFormedEnd(from place: Int, pieceBytes: Int) -> (end: Int, isIllFormed: Bool) {
    var place = place
    let pieceEnd = min(place + pieceBytes, byteCount)
    while place < pieceEnd {
      // Sound: the loads check their bounds and need no alignment, and every bit pattern is an integer.
      if place + 8 <= byteCount,
        unsafe unsafeLoadUnaligned(fromByteOffset: place, as: UInt64.self) & 0x8080_8080_8080_8080 == 0
      {
        place += 8
        continue
      }
      let length = sequenceLength(at: place)
      if length == 0 { return (place, true) }
      place += length
    }
    return (place, false)
  }

  /// The length of the well-formed sequence at `place`; zero if there is none.
  private func sequenceLength(at place: Int) -> Int {
    // Sound: the load checks its bounds, and every bit pattern is a UInt8.
    func byte(_ distance: Int) -> UInt8 {
      unsafe unsafeLoad(fromByteOffset: place + distance, as: UInt8.self)
    }
    let (length, second) = RawSpan.form(of: byte(0))
    guard place + length <= byteCount else { return 0 }
    if length < 2 { return length }
    guard second.contains(byte(1)) else { return 0 }
    for distance in 2..<max(length, 2) where byte(distance) & 0xC0 != 0x80 { return 0 }
    return length
  }

  /// The length of a sequence by its first byte, and what its second byte may be (Unicode, table 3-7).
  private static func form(of first: UInt8) -> (length: Int, second: ClosedRange<UInt8>) {
    switch first {
    case 0x00...0x7F: (1, 0x80...0xBF)
    case 0xC2...0xDF: (2, 0x80...0xBF)
    case 0xE0: (3, 0xA0...0xBF)
    case 0xED: (3, 0x80...0x9F)
    case 0xE1...0xEF: (3, 0x80...0xBF)
    case 0xF0: (4, 0x90...0xBF)
    case 0xF1...0xF3: (4, 0x80...0xBF)
    case 0xF4: (4, 0x80...0x8F)
    default: (0, 0x80...0xBF)
    }
  }
}

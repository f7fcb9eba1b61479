// Compiles a pattern's tree to a nondeterministic automaton over bytes.

/// A nondeterministic automaton that reads one byte per step. Code points are split into their UTF-8 bytes,
/// so nothing is decoded when it runs.
struct RegularExpressionProgram: Sendable {
  /// At most this many instructions and transitions together.
  static let partsMax = 65_536

  enum Instruction: Sendable {
    /// Takes a byte from `low` to `high`.
    case bytes(low: UInt8, high: UInt8, next: UInt32)
    /// Takes a byte by one of `transitions`, which are sorted and don't overlap.
    case anyOf(first: UInt32, count: UInt32)
    /// Continues both ways.
    case split(UInt32, UInt32)
    /// Continues if the condition holds.
    case look(Look, next: UInt32)
    case match
  }

  struct Transition: Hashable, Sendable {
    var low: UInt8
    var high: UInt8
    var next: UInt32
  }

  fileprivate(set) var instructions: [Instruction] = []
  fileprivate(set) var transitions: [Transition] = []
  /// Where a search begins.
  private(set) var start: UInt32 = 0
  /// The conditions in use; bit *i* is for raw value *i*.
  fileprivate(set) var looks: UInt8 = 0
  /// Whether the answer is right only for well-formed UTF-8, so that each byte that isn't must be replaced by
  /// U+FFFD. Otherwise such bytes stop a match, as U+FFFD would.
  let needsWellFormed: Bool
  /// The class of each byte. No instruction distinguishes bytes of the same class.
  let classes: [UInt8]
  /// A byte of each class.
  let representatives: [UInt8]

  init(_ tree: RegularExpressionTree, pattern: String) throws(RegularExpressionError) {
    var compiler = RegularExpressionCompiler()
    do throws(RegularExpressionCompiler.TooLarge) {
      start = try compiler.compileSearch(tree)
    } catch {
      throw RegularExpressionError(problem: .tooLarge, fragment: pattern, offset: 0)
    }
    needsWellFormed = compiler.needsWellFormed
    instructions = compiler.instructions
    transitions = compiler.transitions
    looks = compiler.looks
    (classes, representatives) = RegularExpressionProgram.classify(instructions, transitions, looks)
  }

  func uses(_ some: Look...) -> Bool { some.contains { looks & 1 << $0.rawValue != 0 } }

  /// Divides the bytes into classes wherever an instruction distinguishes two neighbours.
  private static func classify(_ instructions: [Instruction], _ transitions: [Transition], _ looks: UInt8)
    -> (classes: [UInt8], representatives: [UInt8])
  {
    // Whether a class begins with this byte.
    var begins = [Bool](repeating: false, count: 257)
    begins[0] = true
    func cut(_ low: UInt8, _ high: UInt8) {
      begins[Int(low)] = true
      begins[Int(high) + 1] = true
    }
    for instruction in instructions {
      if case .bytes(let low, let high, _) = instruction { cut(low, high) }
    }
    for transition in transitions { cut(transition.low, transition.high) }
    if looks != 0 {
      cut(0x0A, 0x0A)
      for byte in UInt8(1)...UInt8.max where isWordByte(byte) != isWordByte(byte - 1) {
        begins[Int(byte)] = true
      }
    }
    var classes = [UInt8](repeating: 0, count: 256)
    var representatives: [UInt8] = []
    for byte in UInt8.min...UInt8.max {
      if begins[Int(byte)] { representatives.append(byte) }
      classes[Int(byte)] = UInt8(truncatingIfNeeded: representatives.count - 1)
    }
    return (classes, representatives)
  }
}

/// Builds a program from its end to its start, so that each part knows what follows it.
private struct RegularExpressionCompiler {
  typealias Instruction = RegularExpressionProgram.Instruction
  typealias Transition = RegularExpressionProgram.Transition

  struct TooLarge: Error {}

  private(set) var instructions: [Instruction] = []
  private(set) var transitions: [Transition] = []
  private(set) var looks: UInt8 = 0
  private(set) var needsWellFormed = false
  /// Equal transitions share an instruction: so the tails of UTF-8 sequences are shared.
  private var known: [[Transition]: UInt32] = [:]

  /// The program for finding `tree` anywhere.
  mutating func compileSearch(_ tree: RegularExpressionTree) throws(TooLarge) -> UInt32 {
    let match = try emit(.match)
    let own = try compile(tree, next: match)
    if tree.isAnchoredAtStart { return own }
    let loop = try emit(.match)
    // Only `\B` also holds between the bytes of a code point, where no match may begin.
    let skip: UInt32
    if looks & 1 << Look.notWordBoundary.rawValue != 0 {
      needsWellFormed = true
      skip = try compile(.all, next: loop)
    } else {
      skip = try take([Transition(low: 0, high: 0xFF, next: loop)])
    }
    instructions[Int(loop)] = .split(own, skip)
    return loop
  }

  private mutating func emit(_ instruction: Instruction) throws(TooLarge) -> UInt32 {
    guard instructions.count + transitions.count < RegularExpressionProgram.partsMax else { throw TooLarge() }
    instructions.append(instruction)
    return UInt32(instructions.count - 1)
  }

  private mutating func compile(_ tree: RegularExpressionTree, next: UInt32) throws(TooLarge) -> UInt32 {
    switch tree {
    case .scalar(let codePoint): return try compile(CodePointSet([codePoint...codePoint]), next: next)
    case .set(let set): return try compile(set, next: next)
    case .look(let look):
      looks |= 1 << look.rawValue
      return try emit(.look(look, next: next))
    case .sequence(let parts):
      var next = next
      for part in parts.reversed() { next = try compile(part, next: next) }
      return next
    case .choice(let branches):
      var rest: UInt32?
      for branch in branches.reversed() {
        let start = try compile(branch, next: next)
        rest = if let rest { try emit(.split(start, rest)) } else { start }
      }
      return rest ?? next
    case .repetition(let inner, let least, let most):
      return try compile(inner, least: least, most: most, next: next)
    }
  }

  private mutating func compile(
    _ inner: RegularExpressionTree, least: Int, most: Int?, next: UInt32
  ) throws(TooLarge) -> UInt32 {
    var start = next
    var copies = least
    if let most {
      // x{2,4} is xx(x(x)?)?
      for _ in least..<most {
        let copy = try compile(inner, next: start)
        start = try emit(.split(copy, next))
      }
    } else {
      let loop = try emit(.match)
      let copy = try compile(inner, next: loop)
      instructions[Int(loop)] = .split(copy, next)
      // The copy in the loop is also the first one of x+.
      start = least > 0 ? copy : loop
      copies = max(least - 1, 0)
    }
    for _ in 0..<copies { start = try compile(inner, next: start) }
    return start
  }

  // MARK: Code points

  private mutating func compile(_ set: CodePointSet, next: UInt32) throws(TooLarge) -> UInt32 {
    if set.contains(0xFFFD) { needsWellFormed = true }
    let sequences = set.ranges.flatMap(UTF8Sequence.covering)
    return try compile(sequences[...], depth: 0, next: next)
  }

  /// The instruction that reads the sequences from their byte `depth` on. They are sorted, and two ranges of
  /// bytes are equal or disjoint: a range is only split along whole blocks of following bytes.
  private mutating func compile(_ sequences: ArraySlice<UTF8Sequence>, depth: Int, next: UInt32)
    throws(TooLarge) -> UInt32
  {
    var own: [Transition] = []
    var rest = sequences
    while let first = rest.first {
      let range = first.ranges[depth]
      let group = rest.prefix { $0.ranges[depth] == range }
      rest = rest.dropFirst(group.count)
      let isLast = first.ranges.count == depth + 1
      let target = isLast ? next : try compile(group, depth: depth + 1, next: next)
      if let last = own.last, last.next == target, last.high + 1 == range.lowerBound {
        own[own.count - 1].high = range.upperBound
      } else {
        own.append(Transition(low: range.lowerBound, high: range.upperBound, next: target))
      }
    }
    return try take(own)
  }

  private mutating func take(_ own: [Transition]) throws(TooLarge) -> UInt32 {
    if let same = known[own] { return same }
    let made: UInt32
    if own.count == 1, let only = own.first {
      made = try emit(.bytes(low: only.low, high: only.high, next: only.next))
    } else {
      let first = UInt32(transitions.count)
      transitions += own
      made = try emit(.anyOf(first: first, count: UInt32(own.count)))
    }
    known[own] = made
    return made
  }
}

/// A run of code points as UTF-8: a range for each byte, where any byte of one range may precede any of the
/// next.
struct UTF8Sequence: Equatable, Sendable {
  let ranges: [ClosedRange<UInt8>]

  /// The sequences for all code points of `range`, ascending. Surrogates have none.
  static func covering(_ range: ClosedRange<UInt32>) -> [UTF8Sequence] {
    let lengths: [(bytes: Int, codePoints: ClosedRange<UInt32>)] = [
      (1, 0...0x7F), (2, 0x80...0x7FF), (3, 0x800...0xD7FF), (3, 0xE000...0xFFFF), (4, 0x10000...0x10FFFF),
    ]
    var found: [UTF8Sequence] = []
    for (bytes, codePoints) in lengths where range.overlaps(codePoints) {
      split(range.clamped(to: codePoints), bytes, into: &found)
    }
    return found
  }

  /// Splits until every byte after the first that differs takes all its values.
  private static func split(_ range: ClosedRange<UInt32>, _ bytes: Int, into found: inout [UTF8Sequence]) {
    let (low, high) = (range.lowerBound, range.upperBound)
    for place in stride(from: bytes - 1, to: 0, by: -1) {
      let mask = UInt32(1) << (6 * UInt32(place)) - 1
      guard low & ~mask != high & ~mask else { continue }
      if low & mask != 0 {
        split(low...(low | mask), bytes, into: &found)
        split((low | mask) + 1...high, bytes, into: &found)
        return
      }
      if high & mask != mask {
        split(low...(high & ~mask) - 1, bytes, into: &found)
        split((high & ~mask)...high, bytes, into: &found)
        return
      }
    }
    let ends = zip(encode(low, bytes), encode(high, bytes))
    found.append(UTF8Sequence(ranges: ends.map { $0...$1 }))
  }

  private static func encode(_ codePoint: UInt32, _ bytes: Int) -> [UInt8] {
    guard bytes > 1 else { return [UInt8(truncatingIfNeeded: codePoint)] }
    let lead: UInt32 = bytes == 2 ? 0xC0 : bytes == 3 ? 0xE0 : 0xF0
    return (0..<bytes).map { place in
      let bits = codePoint >> (6 * UInt32(bytes - 1 - place))
      return UInt8(truncatingIfNeeded: place == 0 ? lead | bits : 0x80 | bits & 0x3F)
    }
  }
}

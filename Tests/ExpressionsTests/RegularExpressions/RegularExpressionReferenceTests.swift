// Regular expressions against a backtracking matcher that is too simple to be wrong.

import OTLP
import Simulation
import Testing

@testable import Expressions

/// A pattern as written and as the reference reads it. Characters are code points.
private indirect enum Specimen {
  case character(Character)
  case any
  case look(Look)
  case both(Specimen, Specimen)
  case either(Specimen, Specimen)
  case star(Specimen)

  var pattern: String {
    switch self {
    case .character(let character): String(character)
    case .any: "."
    case .look(.textStart): "^"
    case .look(.textEnd): "$"
    case .look(.lineStart): "(?m:^)"
    case .look(.lineEnd): "(?m:$)"
    case .look(.wordBoundary): "\\b"
    case .look(.notWordBoundary): "\\B"
    case .both(let one, let other): "\(one.pattern)\(other.pattern)"
    case .either(let one, let other): "(?:\(one.pattern)|\(other.pattern))"
    case .star(let inner): "(?:\(inner.pattern))*"
    }
  }

  /// Whether it matches from `place` to one that `rest` accepts.
  func matches(_ text: [Character], from place: Int, then rest: (Int) -> Bool) -> Bool {
    switch self {
    case .character(let character): place < text.count && text[place] == character && rest(place + 1)
    case .any: place < text.count && text[place] != "\n" && rest(place + 1)
    case .look(let look): Specimen.holds(look, text, place) && rest(place)
    case .both(let one, let other):
      one.matches(text, from: place) { other.matches(text, from: $0, then: rest) }
    case .either(let one, let other):
      one.matches(text, from: place, then: rest) || other.matches(text, from: place, then: rest)
    case .star(let inner):
      rest(place)
        || inner.matches(text, from: place) { $0 > place && self.matches(text, from: $0, then: rest) }
    }
  }

  func isIn(_ text: [Character]) -> Bool {
    (0...text.count).contains { matches(text, from: $0) { _ in true } }
  }

  private static func holds(_ look: Look, _ text: [Character], _ place: Int) -> Bool {
    let isWord = { (place: Int) in
      text.indices.contains(place) && text[place].isASCII && (text[place].isLetter || text[place] == "_")
    }
    return switch look {
    case .textStart: place == 0
    case .textEnd: place == text.count
    case .lineStart: place == 0 || text[place - 1] == "\n"
    case .lineEnd: place == text.count || text[place] == "\n"
    case .wordBoundary: isWord(place - 1) != isWord(place)
    case .notWordBoundary: isWord(place - 1) == isWord(place)
    }
  }

  /// All specimens of `size` nodes.
  static func all(size: Int, leaves: [Specimen]) -> [Specimen] {
    guard size > 1 else { return leaves }
    var found = all(size: size - 1, leaves: leaves).map(Specimen.star)
    guard size > 2 else { return found }
    for left in 1...size - 2 {
      for one in all(size: left, leaves: leaves) {
        for other in all(size: size - 1 - left, leaves: leaves) {
          found.append(.both(one, other))
          found.append(.either(one, other))
        }
      }
    }
    return found
  }

  static func random(depth: Int, leaves: [Specimen], _ random: inout RandomSource) -> Specimen {
    let choice = depth == 0 ? 0 : random.number(in: 0...5)
    switch choice {
    case 0: return leaves[random.number(in: 0...leaves.count - 1)]
    case 1: return .star(.random(depth: depth - 1, leaves: leaves, &random))
    case 2, 3:
      return .either(
        .random(depth: depth - 1, leaves: leaves, &random), .random(depth: depth - 1, leaves: leaves, &random)
      )
    default:
      return .both(
        .random(depth: depth - 1, leaves: leaves, &random), .random(depth: depth - 1, leaves: leaves, &random)
      )
    }
  }
}

/// All texts of up to `most` characters from `alphabet`.
private func texts(over alphabet: [Character], most: Int) -> [[Character]] {
  var last: [[Character]] = [[]]
  var found = last
  for _ in 0..<most {
    last = last.flatMap { text in alphabet.map { text + [$0] } }
    found += last
  }
  return found
}

@Suite struct RegularExpressionReferenceTests {
  private func compare(_ specimen: Specimen, _ texts: [[Character]]) throws {
    let matcher = try RegularExpression(specimen.pattern).makeMatcher()
    for text in texts {
      let found = Array(String(text).utf8).withRawBytes { matcher.matches($0) }
      if found != specimen.isIn(text) { Issue.record("\(specimen.pattern) in \(String(text)): \(found)") }
    }
  }

  /// Every pattern of up to five nodes, including a star of stars and an empty alternative.
  @Test func allSmallPatterns() throws {
    let leaves: [Specimen] = [.character("a"), .character("b"), .look(.textStart), .look(.textEnd)]
    let all = (1...5).flatMap { Specimen.all(size: $0, leaves: leaves) }
    let ab = texts(over: ["a", "b"], most: 4)
    for specimen in all { try compare(specimen, ab) }
    #expect(all.count == 852)
  }

  /// Every pattern of up to four nodes with conditions that depend on the context.
  @Test func allSmallPatternsWithConditions() throws {
    let looks: [Look] = [.textStart, .textEnd, .lineStart, .lineEnd, .wordBoundary, .notWordBoundary]
    let leaves = [.character("a"), .any] + looks.map(Specimen.look)
    let all = (1...4).flatMap { Specimen.all(size: $0, leaves: leaves) }
    let lines = texts(over: ["a", "\n", "é"], most: 3)
    for specimen in all { try compare(specimen, lines) }
  }

  @Test(arguments: 1...8) func randomPatternsOverWideCharacters(seed: UInt64) throws {
    var random = RandomSource(seed: seed)
    let alphabet: [Character] = ["a", "é", "€", "😀", "\n", "\u{FFFD}"]
    let leaves: [Specimen] =
      alphabet.map(Specimen.character) + [
        .any, .look(.wordBoundary), .look(.notWordBoundary), .look(.lineEnd),
      ]
    for _ in 0..<150 {
      let specimen = Specimen.random(depth: 4, leaves: leaves, &random)
      let some = (0..<8).map { _ in
        (0..<random.number(in: 0...7)).map { _ in alphabet[random.number(in: 0...alphabet.count - 1)] }
      }
      try compare(specimen, some)
    }
  }

  /// The byte sequences of a range of code points match exactly these.
  @Test func byteSequencesCoverARange() {
    var random = RandomSource(seed: 3)
    let edges: [UInt32] = [0, 0x7F, 0x80, 0x7FF, 0x800, 0xD7FF, 0xE000, 0xFFFF, 0x10000, 0x10FFFF]
    for _ in 0..<300 {
      let ends = (0..<2).map { _ in
        let edge = edges[random.number(in: 0...edges.count - 1)]
        return min(edge + UInt32(random.number(in: 0...70)), CodePointSet.codePointMax)
      }
      let range = min(ends[0], ends[1])...max(ends[0], ends[1])
      let sequences = UTF8Sequence.covering(range)
      for edge in edges + ends {
        for codePoint in (edge - min(edge, 2))...(edge + 2) {
          guard let scalar = Unicode.Scalar(codePoint), let bytes = UTF8.encode(scalar) else { continue }
          let takers = sequences.filter { sequence in
            sequence.ranges.count == bytes.count && zip(sequence.ranges, bytes).allSatisfy { $0.contains($1) }
          }
          #expect(takers.count == (range.contains(codePoint) ? 1 : 0))
        }
      }
    }
  }
}

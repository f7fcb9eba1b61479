// Matching takes linear time and bounded memory, whatever the pattern. Steps are counted, not seconds.

import OTLP
import Simulation
import Testing

@testable import Expressions

@Suite struct RegularExpressionLinearityTests {
  private static let length = 100_000

  /// The steps of a first and of a second run over `text`.
  private func steps(_ pattern: String, _ text: [UInt8], isMatch: Bool) throws -> (Int, Int) {
    let matcher = try RegularExpression(pattern).makeMatcher()
    var counts: [Int] = []
    for _ in 0..<2 {
      let before = matcher.steps
      #expect(text.withRawBytes { matcher.matches($0) } == isMatch)
      counts.append(matcher.steps - before)
    }
    #expect(matcher.cacheBytes <= LazyAutomaton.cacheBytesMax)
    return (counts[0], counts[1])
  }

  /// Patterns that take backtracking engines exponential or quadratic time.
  @Test(arguments: [
    "(a*)*b", "(a|aa)+$b", "(a|a)*c", "(x+x+)+y", "(a?){100}a{100}b", ".*.*.*=.*", "(a+)+$b", "a*a*a*a*b",
    "\\b(a+\\b)*b", "(?m)(^a*$)+b", "(?i)(a|A)*k", "(.|a)*b\\B",
  ])
  func pathologicalPatterns(pattern: String) throws {
    let text = [UInt8](repeating: 0x61, count: Self.length)
    let (first, second) = try steps(pattern, text, isMatch: false)
    #expect(first <= Self.length + 100_000)
    #expect(second <= Self.length + 10)
  }

  @Test func aMatchAtTheVeryEnd() throws {
    let text = [UInt8](repeating: 0x61, count: Self.length)
    for pattern in ["(a|aa)+$", "(a*)*b$", "(x+x+)*a{20}b?$"] {
      let (first, second) = try steps(pattern, text + (pattern.contains("b$") ? [0x62] : []), isMatch: true)
      #expect(first <= Self.length + 10_000)
      #expect(second <= Self.length + 10)
    }
  }

  /// Its states are sets of up to 1000 instructions, too large to be cached together: half a million steps
  /// per run.
  @Test func manyCopies() throws {
    let text = [UInt8](repeating: 0x61, count: Self.length)
    let (first, second) = try steps("a{1000}$", text, isMatch: true)
    #expect(first <= Self.length + 2_000_000)
    #expect(second <= Self.length + 2_000_000)
  }

  /// Once the outcome is known, the rest costs nothing.
  @Test func earlyOutcomes() throws {
    let text = Array("GET /".utf8) + [UInt8](repeating: 0x61, count: Self.length)
    for (pattern, isMatch) in [("^(GET|PUT) ", true), ("^(PUT|POST)", false), ("[A-Z]{3} .*", true)] {
      let (first, second) = try steps(pattern, text, isMatch: isMatch)
      #expect(first < 200)
      #expect(second < 10)
    }
  }

  /// More states than fit: each byte costs at most the program's size, and memory stays bounded.
  @Test func moreStatesThanTheCacheHolds() throws {
    var random = RandomSource(seed: 7)
    let text = (0..<20_000).map { _ in UInt8(random.number(in: 0x61...0x62)) }
    let matcher = try RegularExpression("a[ab]{60}c").makeMatcher()
    #expect(!text.withRawBytes { matcher.matches($0) })
    #expect(matcher.flushes > 0)
    #expect(matcher.cacheBytes <= LazyAutomaton.cacheBytesMax)
    #expect(matcher.steps <= text.count * 300)
    // Forgetting states in the middle of a text changes no outcome.
    #expect((text + [0x61] + text.prefix(60) + [0x63]).withRawBytes { matcher.matches($0) })
    #expect(!text.withRawBytes { matcher.matches($0) })
  }

  /// Texts full of words that begin and end like the plain text searched for.
  @Test func plainTextAmongSimilarText() throws {
    let text = [UInt8](repeating: 0x61, count: Self.length)
    let needle = String(repeating: "a", count: 500) + "b" + String(repeating: "a", count: 500)
    let (first, _) = try steps(needle, text, isMatch: false)
    #expect(first > Self.length, "the automaton takes over")
    #expect(first <= Self.length + 2_000_000)
    #expect(try RegularExpression(needle).isIn([0x62] + text + Array(needle.utf8) + [0x63]))
  }

  /// Plain text is found at every place, whichever eight bytes are compared together.
  @Test func plainTextAtEveryPlace() throws {
    for needle in ["t", "to", "timed out", "größer"] {
      let matcher = try RegularExpression(needle).makeMatcher()
      for before in 0..<20 {
        for after in 0..<10 {
          let (left, right) = (String(repeating: ".", count: before), String(repeating: "t", count: after))
          #expect(Array((left + needle + right).utf8).withRawBytes { matcher.matches($0) })
          let cut = left + needle.dropLast() + (needle.count > 1 ? right.replacing("t", with: "i") : "")
          #expect(!Array(cut.utf8).withRawBytes { matcher.matches($0) })
        }
      }
      #expect(matcher.steps == 0)
    }
  }
}

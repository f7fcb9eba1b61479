// Random damage to topology files.

import Foundation
import Testing

@testable import Topology

/// A small generator of repeatable numbers: SplitMix64, Steele, Lea and Flood 2014.
private struct SplitMix64: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var mixed = (state ^ (state >> 30)) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
    return mixed ^ (mixed >> 31)
  }
}

@Suite struct TopologyMutationTests {
  /// Pieces that have a meaning in YAML, in variables or for the reader.
  private static let pieces = [
    "\n", "\r", "\u{2028}", "\u{feff}", "\0", " ", "\t", "  ", ":", ": ", "- ", "? ", "[", "]", "{", "}", ",",
    "#",
    "'", "\"", "|\n", ">\n", "&a ", "*a", "!", "!!str ", "!<x>", "%YAML 1.1\n", "---\n", "...\n", "<<: ", "~",
    "$",
    "$$", "${", "${A}", "${A:-", "\\", "\\x", "0", "-1", "1e9", "é", "e\u{301}", "😀", "\u{e000}",
    "kind: repartition\n",
    "lanes: 1\n", "  name: x\n", "policies:\n",
  ]

  private static func mutate(_ text: String, with generator: inout SplitMix64) -> String {
    var scalars = Array(text.unicodeScalars)
    for _ in 0..<Int.random(in: 1...6, using: &generator) {
      let at = Int.random(in: 0...scalars.count, using: &generator)
      let end = min(scalars.count, at + Int.random(in: 0...30, using: &generator))
      switch Int.random(in: 0..<4, using: &generator) {
      case 0: scalars.removeSubrange(at..<end)
      case 1: scalars.insert(contentsOf: pieces.randomElement(using: &generator)!.unicodeScalars, at: at)
      case 2:
        scalars.insert(
          contentsOf: scalars[at..<end], at: Int.random(in: 0...scalars.count, using: &generator))
      default:
        scalars.replaceSubrange(
          at..<min(at + 1, end), with: pieces.randomElement(using: &generator)!.unicodeScalars)
      }
    }
    var mutated = ""
    mutated.unicodeScalars.append(contentsOf: scalars)
    return mutated
  }

  /// A damaged file is either valid, and then reads back from its effective configuration, or gives issues
  /// that each have a place in the file, one line of text, and no secret.
  @Test(arguments: [1, 2, 3, 4]) func mutationsNeverCrash(seed: UInt64) throws {
    var generator = SplitMix64(state: seed)
    let file = try String(contentsOfFile: shippedTopology("tail-sampling"), encoding: .utf8)
    let sources = [
      file, everyTopologyKey,
      try Topology.parse(everyTopologyKey, fileName: "t.yaml", environment: [:]).redactedDescription,
    ]
    var refused = 0
    for _ in 0..<500 {
      let yaml = Self.mutate(sources.randomElement(using: &generator)!, with: &generator)
      do {
        let topology = try Topology.parse(yaml, fileName: "t.yaml", environment: ["A": "hunter2"])
        let effective = topology.redactedDescription
        let again = try Topology.parse(effective, fileName: "t.yaml", environment: [:])
        #expect(again.redactedDescription == effective, "\(yaml.debugDescription)")
      } catch {
        refused += 1
        let lineCount =
          yaml.unicodeScalars.count { "\n\r\u{85}\u{2028}\u{2029}".unicodeScalars.contains($0) } + 1
        #expect(!error.issues.isEmpty)
        // libyaml takes the end of a file without a final line break for the start of another line.
        for issue in error.issues {
          #expect(
            (1...lineCount + 1).contains(issue.line) && issue.column >= 1, "\(issue) in \(lineCount) lines")
          #expect(!issue.message.contains { $0.isNewline } && !issue.message.contains("hunter2"))
        }
      }
    }
    #expect((50...490).contains(refused))
  }

  /// For a damaged Collector's configuration, the printed topology reads back, and notes have places.
  @Test(arguments: [1, 2]) func collectorsNeverCrash(seed: UInt64) throws {
    var generator = SplitMix64(state: seed)
    var refused = 0
    for _ in 0..<500 {
      let yaml = Self.mutate(collectorGateway, with: &generator)
      do {
        let imported = try CollectorImport.parse(yaml, fileName: "c.yaml", environment: ["A": "hunter2"])
        #expect(imported.noteLines.allSatisfy { !$0.contains { $0.isNewline } && $0.hasPrefix("c.yaml:") })
      } catch {
        refused += 1
        #expect(error.file == "c.yaml", "\(error) of \(yaml.debugDescription)")
      }
    }
    #expect((25...490).contains(refused))
  }
}

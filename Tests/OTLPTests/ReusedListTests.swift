// The list that is filled and emptied for every record.

import Testing

@testable import OTLP

@Suite struct ReusedListTests {
  @Test func holdsWhatCameSinceItWasEmptied() {
    var list = ReusedList<Int>(capacity: 2)
    var random = SeededGenerator(seed: 4)
    for round in 0..<200 {
      var expected: [Int] = []
      for number in 0..<Int.random(in: 0...20, using: &random) {
        list.append(round * 100 + number)
        expected.append(round * 100 + number)
      }
      if let place = expected.indices.randomElement(using: &random) {
        list[place] += 7
        expected[place] += 7
      }
      #expect(Array(list) == expected)
      let start = Int.random(in: 0...expected.count, using: &random)
      #expect(Array(list.slice(start..<expected.count)) == Array(expected[start...]))
      list.removeAll()
      #expect(list.isEmpty)
    }
  }

  /// Old elements stay in the storage; none of them is ever returned.
  @Test func givesNothingOutThatIsGone() async {
    await #expect(processExitsWith: .failure) {
      var list = ReusedList<Int>(capacity: 2)
      list.append(1)
      list.removeAll()
      print(list[0])
    }
    await #expect(processExitsWith: .failure) {
      var list = ReusedList<Int>(capacity: 2)
      list.append(1)
      list.removeAll()
      print(list.slice(0..<1))
    }
  }
}

// Names, each stored once.

import Simulation
import Testing

@testable import OTLP
@testable import Sampling

@Suite struct NameTableTests {
  private func table(capacity: Int, bytesMax: Int = 32) -> NameTable {
    NameTable(seed: HashSeed(value: 9), capacity: capacity, bytesMax: bytesMax)
  }

  @Test func storesEachNameOnce() {
    var names = table(capacity: 10)
    let first = Array("cart".utf8).withRawBytes { names.intern($0) }
    let second = Array("cart".utf8).withRawBytes { names.intern($0) }
    let other = Array("cars".utf8).withRawBytes { names.intern($0) }
    #expect(first == second)
    #expect(first != other)
    #expect(names.count == 2)
    #expect(names.bytes(of: first) == Array("cart".utf8))
    #expect(names.bytes(of: .none) == [])
  }

  @Test func cutsLongNames() {
    var names = table(capacity: 10, bytesMax: 4)
    let first = Array("checkout-a".utf8).withRawBytes { names.intern($0) }
    let second = Array("checkout-b".utf8).withRawBytes { names.intern($0) }
    #expect(first == second)
    #expect(names.bytes(of: first) == Array("chec".utf8))
  }

  /// Names are stored as JSON strings, and read back as they were.
  @Test(arguments: [
    Array("cart".utf8), [], Array("a \"b\"\\\n".utf8), Array("größe\u{2028}".utf8), [0xf0, 0x9f, 0x98],
    [0xff],
    Array("\u{fffd}".utf8),
  ])
  func namesAreJSONStrings(name: [UInt8]) {
    var names = table(capacity: 4)
    let id = name.withRawBytes { names.intern($0) }
    #expect(names.bytes(of: id) == name)
    #expect(name.withRawBytes { names.find($0) } == id)
    var expected: [UInt8] = []
    expected.appendText(room: JSONSize.stringMax(name.count)) { out in
      name.withRawBytes { out.appendJSONString($0) }
    }
    var text: [UInt8] = []
    text.appendText(room: names.textBytesMax) { names.appendText(of: id, to: &$0) }
    #expect(text == expected)
    text.appendText(room: 2) { names.appendText(of: .none, to: &$0) }
    #expect(text == expected + Array("\"\"".utf8))
  }

  @Test func anEmptyNameIsAName() {
    var names = table(capacity: 2)
    let empty = [UInt8]().withRawBytes { names.intern($0) }
    #expect(empty != .none)
    #expect(names.bytes(of: empty) == [])
  }

  @Test func pinsUpToItsCapacity() {
    var names = table(capacity: 3)
    let ids = (0..<5).map { number in Array("s\(number)".utf8).withRawBytes { names.pin($0) } }
    #expect(ids.map { $0 == nil } == [false, false, false, true, true])
    #expect(Array("s1".utf8).withRawBytes { names.pin($0) } == ids[1])
    #expect(names.count == 3)
  }

  @Test func makesRoomOfWhatNobodyRefersTo() {
    var names = table(capacity: 4)
    let ids = (0..<4).map { number in Array("n\(number)".utf8).withRawBytes { names.intern($0) } }
    var isRoom = false
    for _ in 0..<100 { isRoom = isRoom || names.makeRoom() }
    #expect(!isRoom)
    #expect(Array("n2".utf8).withRawBytes { names.find($0) } == ids[2])
    #expect(Array("n4".utf8).withRawBytes { names.find($0) } == nil)
    names.retain(ids[2])
    for id in ids.dropFirst() { names.release(id) }
    // Not at once after all these futile sweeps, but soon.
    for _ in 0..<4 { isRoom = isRoom || names.makeRoom() }
    #expect(isRoom)
    #expect(names.count == 2)
    #expect(names.bytes(of: ids[2]) == Array("n2".utf8))
  }

  /// Random interning and releasing: referenced names are never lost or changed, and unreferenced ones go.
  @Test(arguments: 1...4) func keepsWhatIsReferredTo(seed: UInt64) {
    var random = RandomSource(seed: seed)
    var names = table(capacity: 50)
    var held: [(id: NameID, name: [UInt8])] = []
    for step in 0..<20_000 {
      let heldMax = step % 8000 < 4000 ? 30 : 120
      if held.count >= heldMax || (!held.isEmpty && random.chance(0.45)) {
        let gone = held.remove(at: random.number(in: 0...held.count - 1))
        names.release(gone.id)
      } else {
        let name = Array("operation \(random.number(in: 0...2000))".utf8)
        held.append((name.withRawBytes { names.intern($0) }, name))
      }
      if let some = held.randomElement(using: &random) { #expect(names.bytes(of: some.id) == some.name) }
      #expect(names.count <= 50 + 120 * 2)
    }
    for (id, name) in held { #expect(names.bytes(of: id) == name) }
  }

  /// After a burst of names that were all referenced at once, a sweep still pays off: it must not walk the
  /// whole burst again for every few names.
  @Test func aSweepAfterABurstIsRare() {
    var names = table(capacity: 10)
    var burst: [NameID] = []
    for number in 0..<10_000 { burst.append(Array("burst \(number)".utf8).withRawBytes { names.intern($0) }) }
    for id in burst { names.release(id) }
    var sweeps = 0
    var last = names.count
    for number in 0..<10_000 {
      let id = Array("later \(number)".utf8).withRawBytes { names.intern($0) }
      names.release(id)
      if names.count < last { sweeps += 1 }
      last = names.count
    }
    #expect(sweeps <= 4)
  }
}

// Whose turn it is to go on with its handshake.

import Testing

@testable import Console

@Suite struct HandshakeQueueTests {
  private func order(_ queue: inout HandshakeQueue<Int>) -> [Int] {
    var order: [Int] = []
    while let next = queue.next() { order.append(next) }
    return order
  }

  /// A source that floods waits for its own connections, and keeps no other one waiting.
  @Test func sourcesTakeTurns() {
    var queue = HandshakeQueue<Int>()
    for number in 0..<250 { queue.add(number, from: "flood", hasBegun: false) }
    #expect(queue.next() == 249)
    queue.add(1000, from: "kubelet", hasBegun: false)
    queue.add(1001, from: "prometheus", hasBegun: false)
    #expect(Set([queue.next(), queue.next()]) == [1000, 1001])
    // The second steps of the handshakes come before any new one.
    queue.add(1000, from: "kubelet", hasBegun: true)
    queue.add(249, from: "flood", hasBegun: true)
    #expect(queue.next() == 1000 && queue.next() == 249)
    // With the newest first, what comes has a chance before it must give way.
    #expect(order(&queue) == Array((0..<249).reversed()))
    #expect(queue.isEmpty)
  }

  @Test func whoIsGoneHasNoTurn() {
    var queue = HandshakeQueue<Int>()
    for number in 0..<4 { queue.add(number, from: "a", hasBegun: number == 0) }
    queue.remove(0)
    queue.remove(3)
    queue.remove(9)
    #expect(order(&queue) == [2, 1])
  }

  /// What is remembered of sources is bounded.
  @Test func manySourcesAreForgotten() {
    var queue = HandshakeQueue<Int>()
    for number in 0..<10_000 {
      queue.add(number, from: "source \(number)", hasBegun: false)
      #expect(queue.next() == number)
    }
    #expect(queue.turns.count <= 4096)
  }
}

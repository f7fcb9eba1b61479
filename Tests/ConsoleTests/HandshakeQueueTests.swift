// Whose turn it is to go on with its handshake.

import Testing

@testable import Console

@Suite struct HandshakeQueueTests {
  private func order(_ queue: inout HandshakeQueue<Int, String>) -> [Int] {
    var order: [Int] = []
    while let next = queue.next() { order.append(next) }
    return order
  }

  /// A source that floods waits for its own connections, and keeps no other one waiting.
  @Test func sourcesTakeTurns() {
    var queue = HandshakeQueue<Int, String>()
    for number in 0..<250 { queue.add(number, from: "flood", steps: 0) }
    #expect(queue.next() == 249)
    queue.add(1000, from: "kubelet", steps: 0)
    queue.add(1001, from: "prometheus", steps: 0)
    #expect(Set([queue.next(), queue.next()]) == [1000, 1001])
    // The second steps of the handshakes come before any new one.
    queue.add(1000, from: "kubelet", steps: 1)
    queue.add(249, from: "flood", steps: 1)
    #expect(queue.next() == 1000 && queue.next() == 249)
    // With the newest first, what comes has a chance before it must give way.
    #expect(order(&queue) == Array((0..<249).reversed()))
    #expect(queue.isEmpty)
  }

  /// Who sends a handshake byte by byte is not before who begins one.
  @Test func aHandshakeInManyPiecesHasNoPrivilege() {
    var queue = HandshakeQueue<Int, String>()
    for number in 0..<250 { queue.add(number, from: "flood", steps: 0) }
    #expect(order(&queue).count == 250)
    for number in 0..<250 { queue.add(number, from: "flood", steps: 2) }
    queue.add(1000, from: "kubelet", steps: 0)
    #expect(queue.next() == 1000)
  }

  /// A flood from ever new addresses is not before those that were here earlier.
  @Test func newSourcesKeepNoKnownOneWaiting() {
    var queue = HandshakeQueue<Int, String>()
    queue.add(1, from: "kubelet", steps: 0)
    #expect(queue.next() == 1)
    for number in 10..<20 { queue.add(number, from: "new \(number)", steps: 0) }
    #expect(order(&queue).count == 10)
    queue.add(2, from: "kubelet", steps: 0)
    for number in 100..<300 { queue.add(number, from: "new \(number)", steps: 0) }
    #expect(queue.next() == 2)
  }

  @Test func whoIsGoneHasNoTurn() {
    var queue = HandshakeQueue<Int, String>()
    for number in 0..<4 { queue.add(number, from: "a", steps: number == 0 ? 1 : 0) }
    queue.remove(0)
    queue.remove(3)
    queue.remove(9)
    #expect(order(&queue) == [2, 1])
  }

  /// What is remembered of sources is bounded.
  @Test func manySourcesAreForgotten() {
    var queue = HandshakeQueue<Int, String>()
    for number in 0..<10_000 {
      queue.add(number, from: "source \(number)", steps: 0)
      #expect(queue.next() == number)
    }
    #expect(queue.turns.count <= 4096)
  }
}

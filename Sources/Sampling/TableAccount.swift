// What a sampler's tables take, told to those who share the memory.

import SpanStorage

/// The share of one sampler's tables in `SpanMemory.tableBytes`, given back when the sampler ends.
struct TableAccount: ~Copyable {
  private let memory: SpanMemory
  private var bytes = 0

  init(memory: SpanMemory) {
    self.memory = memory
  }

  deinit {
    memory.tableBytes -= bytes
  }

  /// Whether the tables of all who share the memory take what they may. Then nothing is added to them that
  /// can be done without.
  var isOverdrawn: Bool { memory.tableBytes >= memory.tableBytesMax }

  /// Whether they take more than half of it.
  var isHalfDrawn: Bool { memory.tableBytes > memory.tableBytesMax / 2 }

  /// Says what the tables take now.
  mutating func update(to count: Int) {
    memory.tableBytes += count - bytes
    bytes = count
  }
}

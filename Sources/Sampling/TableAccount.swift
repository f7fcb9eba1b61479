// What a sampler's tables take, reported to the memory that samplers share.

import SpanStorage

/// The share of one sampler's tables in `SpanMemory.tableBytes`, returned when the sampler ends.
struct TableAccount: ~Copyable {
  private let memory: SpanMemory
  private var bytes = 0

  init(memory: SpanMemory) {
    self.memory = memory
  }

  deinit {
    memory.tableBytes -= bytes
  }

  /// Whether the tables of all samplers that share the memory take all they may. Then nothing dispensable is
  /// added to them.
  var isOverdrawn: Bool { memory.tableBytes >= memory.tableBytesMax }

  /// Whether they take more than half of it.
  var isHalfDrawn: Bool { memory.tableBytes > memory.tableBytesMax / 2 }

  /// Reports what the tables take now.
  mutating func update(to count: Int) {
    memory.tableBytes += count - bytes
    bytes = count
  }
}

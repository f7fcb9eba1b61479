// Names and pairs of names as numbers, each stored once and released with its last use.

/// Texts by number. Beyond a limit all further texts are one: `other`.
struct NamePool {
  /// Stands for all names that there was no room for.
  static let other: UInt32 = 0
  static let otherText = "(other)"
  /// Longer names are cut, as on decision records.
  private static let bytesMax = 256
  /// A dictionary's entry, two strings' headers and what the allocator adds.
  private static let overheadBytes = 112

  private var numbers: [String: UInt32] = [:]
  private var texts: [String] = [otherText]
  private var uses: [UInt32] = [1]
  private var free: [UInt32] = []
  private let bytesLimit: Int
  private(set) var byteCount = 0
  /// How many uses of names found no room.
  private(set) var crowdedOut: UInt64 = 0

  init(bytesMax: Int) {
    bytesLimit = bytesMax
  }

  /// The number of a text, which has one more use then.
  mutating func take(_ whole: String) -> UInt32 {
    let text = whole.utf8.count <= NamePool.bytesMax ? whole : NamePool.cut(whole)
    if let number = numbers[text] {
      uses[Int(number)] += 1
      return number
    }
    let size = text.utf8.count + NamePool.overheadBytes
    guard byteCount + size <= bytesLimit else {
      crowdedOut += 1
      uses[0] &+= 1
      return NamePool.other
    }
    byteCount += size
    let number: UInt32
    if let reused = free.popLast() {
      number = reused
      texts[Int(number)] = text
      uses[Int(number)] = 1
    } else {
      number = UInt32(texts.count)
      texts.append(text)
      uses.append(1)
    }
    numbers[text] = number
    return number
  }

  private static func cut(_ text: String) -> String {
    String(decoding: Array(text.utf8.prefix(bytesMax)), as: UTF8.self)
  }

  mutating func retain(_ number: UInt32) {
    if number != NamePool.other { uses[Int(number)] += 1 }
  }

  mutating func release(_ number: UInt32) {
    guard number != NamePool.other else { return }
    uses[Int(number)] -= 1
    guard uses[Int(number)] == 0 else { return }
    let text = texts[Int(number)]
    numbers[text] = nil
    byteCount -= text.utf8.count + NamePool.overheadBytes
    texts[Int(number)] = ""
    free.append(number)
  }

  /// No name has a number as large.
  var capacity: Int { texts.count }

  subscript(number: UInt32) -> String { texts[Int(number)] }

  /// The number of a text that is in use.
  func find(_ text: String) -> UInt32? {
    if text == NamePool.otherText { return NamePool.other }
    return numbers[text.utf8.count <= NamePool.bytesMax ? text : NamePool.cut(text)]
  }

  /// How many names are in use, `other` not among them.
  var count: Int { numbers.count }
}

/// Two names as one number: a service and an operation, or two services of which one calls the other.
struct PairPool {
  /// Stands for all pairs that there was no room for.
  static let other: UInt32 = 0
  private static let entryBytes = 48

  struct Pair: Hashable {
    var first: UInt32
    var second: UInt32
  }

  private var numbers: [Pair: UInt32] = [:]
  private var pairs = [Pair(first: NamePool.other, second: NamePool.other)]
  private var uses: [UInt32] = [1]
  /// Bit *k* is set if a span of the pair had kind *k*.
  private var kinds: [UInt8] = [0]
  private var free: [UInt32] = []
  private let countMax: Int

  init(countMax: Int) {
    self.countMax = countMax
  }

  var byteCount: Int { numbers.count * PairPool.entryBytes }

  /// The number of a pair, which has one more use then. A new pair retains its names.
  mutating func take(_ pair: Pair, _ names: inout NamePool) -> UInt32 {
    if pair == pairs[0] { return PairPool.other }
    if let number = numbers[pair] {
      uses[Int(number)] += 1
      return number
    }
    guard numbers.count < countMax else { return PairPool.other }
    names.retain(pair.first)
    if PairPool.isName(pair.second) { names.retain(pair.second) }
    let number: UInt32
    if let reused = free.popLast() {
      number = reused
      pairs[Int(number)] = pair
      uses[Int(number)] = 1
      kinds[Int(number)] = 0
    } else {
      number = UInt32(pairs.count)
      pairs.append(pair)
      uses.append(1)
      kinds.append(0)
    }
    numbers[pair] = number
    return number
  }

  /// In place of an operation: the spans by which calls enter a service.
  static let entry = UInt32.max
  /// In place of an operation: the spans by which a service calls what has no spans, such as a database.
  static let exit = UInt32.max - 1

  /// Whether the second of a pair is an operation or a service.
  static func isName(_ second: UInt32) -> Bool { second < exit }

  mutating func retain(_ number: UInt32) {
    if number != PairPool.other { uses[Int(number)] += 1 }
  }

  mutating func release(_ number: UInt32, _ names: inout NamePool) {
    guard number != PairPool.other else { return }
    uses[Int(number)] -= 1
    guard uses[Int(number)] == 0 else { return }
    let pair = pairs[Int(number)]
    numbers[pair] = nil
    names.release(pair.first)
    if PairPool.isName(pair.second) { names.release(pair.second) }
    free.append(number)
  }

  /// Notes that a span of the pair has this kind; one that OTLP does not define is none.
  mutating func note(kind: UInt8, of number: UInt32) { kinds[Int(number)] |= 1 << (kind <= 5 ? kind : 0) }

  /// The kinds of the pair's spans.
  func kinds(of number: UInt32) -> [UInt8] {
    (0...5).filter { kinds[Int(number)] >> $0 & 1 == 1 }
  }

  subscript(number: UInt32) -> Pair { pairs[Int(number)] }

  func find(_ pair: Pair) -> UInt32? { pair == pairs[0] ? PairPool.other : numbers[pair] }

  /// The pairs in use.
  var inUse: Dictionary<Pair, UInt32>.Keys { numbers.keys }
}

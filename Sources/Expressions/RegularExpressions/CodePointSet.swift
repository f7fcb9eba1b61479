// Sets of code points: character classes, case folding and general categories.

/// A set of code points as sorted ranges that neither overlap nor touch.
struct CodePointSet: Equatable, Sendable {
  private(set) var ranges: [ClosedRange<UInt32>]

  static let codePointMax: UInt32 = 0x10FFFF
  static let all = CodePointSet([0...codePointMax])
  static let allButNewline = CodePointSet([0x0A...0x0A]).inverted

  /// The union of `parts`, in any order.
  init(_ parts: [ClosedRange<UInt32>]) {
    ranges = []
    for part in parts.sorted(by: { $0.lowerBound < $1.lowerBound }) {
      if let last = ranges.last, part.lowerBound <= last.upperBound + 1 {
        ranges[ranges.count - 1] = last.lowerBound...max(last.upperBound, part.upperBound)
      } else {
        ranges.append(part)
      }
    }
  }

  /// All code points that are not in the set.
  var inverted: CodePointSet {
    var gaps: [ClosedRange<UInt32>] = []
    var next: UInt32 = 0
    for range in ranges {
      if range.lowerBound > next { gaps.append(next...range.lowerBound - 1) }
      next = range.upperBound + 1
    }
    if next <= CodePointSet.codePointMax { gaps.append(next...CodePointSet.codePointMax) }
    return CodePointSet(gaps)
  }

  /// The set, plus all code points that differ from its own only in case.
  var caseFolded: CodePointSet {
    CodePointSet(ranges + ranges.flatMap { CaseFolding.shared.variants(of: $0) })
  }

  func contains(_ codePoint: UInt32) -> Bool {
    ranges.contains { $0.contains(codePoint) }
  }
}

/// Simple case folding: which code points differ only in case.
///
/// Built once from the standard library's case mappings, when the first pattern with the flag `i` is
/// compiled. Two code points are equal if their upper cases have the same lower case, counting only mappings
/// to one code point; this is Go's `unicode.SimpleFold`. As there, the dotless i (U+0131) is left out, though
/// its upper case is I: it would fold with the i of other languages.
struct CaseFolding: Sendable {
  static let shared = CaseFolding()

  private struct Entry {
    var codePoint: UInt32
    /// Its group's place in `members`.
    var group: Range<Int>
  }

  /// All code points that have variants, ascending.
  private let entries: [Entry]
  private let members: [UInt32]

  private init() {
    var pairs: [(key: UInt32, codePoint: UInt32)] = []
    // No script above plane 1 has case.
    for number in UInt32(0x41)...0x1FFFF where number != 0x131 {
      guard let scalar = Unicode.Scalar(number) else { continue }
      let properties = scalar.properties
      guard properties.changesWhenUppercased || properties.changesWhenLowercased else { continue }
      let upper = CaseFolding.only(properties.uppercaseMapping) ?? scalar
      let lower = CaseFolding.only(upper.properties.lowercaseMapping) ?? upper
      pairs.append((lower.value, number))
    }
    pairs.sort { ($0.key, $0.codePoint) < ($1.key, $1.codePoint) }
    members = pairs.map(\.codePoint)
    var entries: [Entry] = []
    var first = 0
    while first < pairs.count {
      let key = pairs[first].key
      let end = pairs[first...].firstIndex { $0.key != key } ?? pairs.count
      if end - first > 1 {
        for place in first..<end { entries.append(Entry(codePoint: members[place], group: first..<end)) }
      }
      first = end
    }
    self.entries = entries.sorted { $0.codePoint < $1.codePoint }
  }

  private static func only(_ mapping: String) -> Unicode.Scalar? {
    let scalars = mapping.unicodeScalars
    return scalars.count == 1 ? scalars.first : nil
  }

  /// The variants of all code points of `range`, in no particular order.
  func variants(of range: ClosedRange<UInt32>) -> [ClosedRange<UInt32>] {
    var low = 0
    var high = entries.count
    while low < high {
      let middle = (low + high) / 2
      if entries[middle].codePoint < range.lowerBound { low = middle + 1 } else { high = middle }
    }
    return entries[low...].prefix { $0.codePoint <= range.upperBound }
      .flatMap { members[$0.group].map { $0...$0 } }
  }
}

/// General categories from the standard library, built when the first pattern with `\p` is compiled.
struct GeneralCategories: Sendable {
  static let shared = GeneralCategories()

  private struct Run {
    var category: Unicode.GeneralCategory
    var range: ClosedRange<UInt32>
  }

  private let runs: [Run]

  private init() {
    var runs: [Run] = []
    for number in UInt32(0)...CodePointSet.codePointMax {
      let category = Unicode.Scalar(number)?.properties.generalCategory ?? .surrogate
      if let last = runs.last, last.category == category {
        runs[runs.count - 1].range = last.range.lowerBound...number
      } else {
        runs.append(Run(category: category, range: number...number))
      }
    }
    self.runs = runs
  }

  /// The code points of a category (`lu`) or of all categories that begin with a letter (`l`); `lc` is all
  /// cased letters. Nil if there is no such category.
  ///
  /// - Parameter name: the short name in lower case.
  func codePoints(of name: String) -> CodePointSet? {
    let isCased = name == "lc"
    let found = runs.filter { run in
      let own = run.category.shortName
      return isCased ? ["lu", "ll", "lt"].contains(own) : own == name || own.prefix(1) == name
    }
    return found.isEmpty ? nil : CodePointSet(found.map(\.range))
  }
}

extension Unicode.GeneralCategory {
  fileprivate var shortName: String {
    switch self {
    case .uppercaseLetter: "lu"
    case .lowercaseLetter: "ll"
    case .titlecaseLetter: "lt"
    case .modifierLetter: "lm"
    case .otherLetter: "lo"
    case .nonspacingMark: "mn"
    case .spacingMark: "mc"
    case .enclosingMark: "me"
    case .decimalNumber: "nd"
    case .letterNumber: "nl"
    case .otherNumber: "no"
    case .connectorPunctuation: "pc"
    case .dashPunctuation: "pd"
    case .openPunctuation: "ps"
    case .closePunctuation: "pe"
    case .initialPunctuation: "pi"
    case .finalPunctuation: "pf"
    case .otherPunctuation: "po"
    case .mathSymbol: "sm"
    case .currencySymbol: "sc"
    case .modifierSymbol: "sk"
    case .otherSymbol: "so"
    case .spaceSeparator: "zs"
    case .lineSeparator: "zl"
    case .paragraphSeparator: "zp"
    case .control: "cc"
    case .format: "cf"
    case .surrogate: "cs"
    case .privateUse: "co"
    case .unassigned: "cn"
    @unknown default: "cn"
    }
  }
}

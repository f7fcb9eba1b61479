// A pattern as a tree, and the part of it that an unanchored search needs.

/// A condition on a place between two bytes.
enum Look: UInt8, Sendable {
  /// `\A`, and `^` without the flag `m`.
  case textStart
  /// `^` with the flag `m`.
  case lineStart
  /// `\z`, and `$` without the flag `m`.
  case textEnd
  /// `$` with the flag `m`.
  case lineEnd
  /// `\b`, between an ASCII word character and anything else.
  case wordBoundary
  /// `\B`
  case notWordBoundary
}

/// A parsed pattern. Groups and laziness are gone: they affect what a match consists of, not whether there is
/// one.
indirect enum RegularExpressionTree: Equatable, Sendable {
  /// One code point.
  case scalar(UInt32)
  /// One code point of a set.
  case set(CodePointSet)
  /// The empty text, where a condition holds.
  case look(Look)
  /// All of them, one after the other; the empty text if there are none.
  case sequence([RegularExpressionTree])
  /// Any of them; at least one.
  case choice([RegularExpressionTree])
  /// A repetition; unbounded if `most` is nil.
  case repetition(RegularExpressionTree, least: Int, most: Int?)

  static let empty = RegularExpressionTree.sequence([])

  /// A sequence without sequences among its parts.
  static func joined(_ parts: [RegularExpressionTree]) -> RegularExpressionTree {
    if parts.count == 1, let only = parts.first { return only }
    let isFlat = parts.allSatisfy { if case .sequence = $0 { false } else { true } }
    if isFlat { return .sequence(parts) }
    return .sequence(parts.flatMap { if case .sequence(let inner) = $0 { inner } else { [$0] } })
  }

  /// A smaller tree that matches in the same texts.
  ///
  /// As only the presence of a match counts, a match may begin as late and end as early as it can, so
  /// repetitions at either end need only their least count: `.*error.*` is `error`.
  var reducedForSearch: RegularExpressionTree { reduced(at: .front).reduced(at: .back) }

  private enum End { case front, back }

  private func reduced(at end: End) -> RegularExpressionTree {
    switch self {
    case .scalar, .set, .look: return self
    case .sequence(var parts):
      while let outer = end == .front ? parts.first : parts.last {
        let rest = end == .front ? parts.dropFirst() : parts.dropLast()
        let smaller = outer.reduced(at: end)
        guard smaller == .empty else {
          return .joined(end == .front ? [smaller] + rest : Array(rest) + [smaller])
        }
        parts = Array(rest)
      }
      return .empty
    case .choice(let branches):
      let smaller = branches.map { $0.reduced(at: end) }
      return smaller.contains(.empty) ? .empty : .choice(smaller)
    case .repetition(let inner, let least, _):
      switch least {
      case 0: return .empty
      case 1: return inner.reduced(at: end)
      default: return .repetition(inner, least: least, most: least)
      }
    }
  }

  /// Whether every match begins at the start of the text.
  var isAnchoredAtStart: Bool {
    switch self {
    case .look(let look): return look == .textStart
    case .scalar, .set: return false
    case .sequence(let parts):
      for part in parts {
        if part.isAnchoredAtStart { return true }
        guard case .look = part else { return false }
      }
      return false
    case .choice(let branches): return branches.allSatisfy(\.isAnchoredAtStart)
    case .repetition(let inner, let least, _): return least > 0 && inner.isAnchoredAtStart
    }
  }
}

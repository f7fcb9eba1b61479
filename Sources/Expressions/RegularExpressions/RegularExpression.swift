// Regular expressions in the syntax of RE2, as Go's `regexp` package reads it, matched in linear time.

/// A compiled regular expression: does a text match anywhere?
///
/// The syntax and its meaning are those of Go's `regexp` package (`MatchString`), which the OpenTelemetry
/// Collector uses: <https://github.com/google/re2/wiki/Syntax>. The search is unanchored. There are no back
/// references and no lookaround; lazy and greedy repetition match the same texts.
///
/// What differs from Go:
/// - Groups nest at most 250 deep, and a compiled program has at most 65,536 parts: about 2,000 times `.`.
/// - Categories and case folding are of the Unicode version that Swift's standard library has, scripts of
///   Unicode 17.0; Go's may be older. `\p{...}` takes names as Go does since 1.25.
///
/// As in Go, a text is read as UTF-8 and each byte that is not part of a well-formed sequence as one U+FFFD;
/// `\d`, `\s`, `\w`, `\b` and the POSIX classes know ASCII only; `(?i)` folds by Unicode, so `(?i)k` matches
/// the Kelvin sign too.
public struct RegularExpression: Sendable, Equatable {
  /// The expression as it was written.
  public let pattern: String
  private let program: RegularExpressionProgram
  /// Where the expression is plain text.
  private let literal: LiteralSearch?
  /// Plain text that every match contains, where the expression is more than that.
  private let required: LiteralSearch?

  /// Compiles `pattern`.
  public init(_ pattern: String) throws(RegularExpressionError) {
    self.pattern = pattern
    let tree = try RegularExpressionParser.parse(pattern).reducedForSearch
    program = try RegularExpressionProgram(tree, pattern: pattern)
    literal = LiteralSearch(tree)
    required = literal == nil ? LiteralSearch(requiredBy: tree) : nil
  }

  /// A matcher, which holds the states that texts have called for so far.
  public func makeMatcher() -> RegularExpressionMatcher {
    RegularExpressionMatcher(automaton: LazyAutomaton(program), literal: literal, required: required)
  }

  /// Two expressions are equal if they are written alike.
  public static func == (left: RegularExpression, right: RegularExpression) -> Bool {
    left.pattern == right.pattern
  }
}

/// Matches texts against one regular expression.
///
/// A text of *n* bytes takes at most *n* times the program's size in steps, and once the states that the
/// texts need are made, one table look-up a byte and no allocation. The states take at most 256 KiB beside
/// scratch of at most 20 bytes a program part. Copies share them: they depend on nothing but the pattern.
public struct RegularExpressionMatcher {
  package let automaton: SharedAutomaton
  private let literal: LiteralSearch?
  private let required: LiteralSearch?

  init(automaton: LazyAutomaton, literal: LiteralSearch?, required: LiteralSearch?) {
    self.automaton = SharedAutomaton(automaton)
    self.literal = literal
    self.required = required
  }

  /// Whether any part of `bytes`, taken as UTF-8, matches.
  public func matches(_ bytes: RawSpan) -> Bool {
    if let found = literal?.isFound(in: bytes) { return found }
    if required?.isFound(in: bytes) == false { return false }
    return automaton.matches(bytes)
  }

  /// How many bytes and program parts the automaton has looked at: the measure of its work.
  var steps: Int { automaton.states.steps }

  /// How many bytes the automaton's states take.
  var cacheBytes: Int { automaton.states.cacheBytes }

  /// How often the states had to be forgotten.
  var flushes: Int { automaton.states.flushes }
}

/// The states of one regular expression, for all who match with it. Not thread-safe: a lane has its own.
package final class SharedAutomaton {
  private(set) var states: LazyAutomaton
  /// Whether a text has called for it since `release` was.
  private var isUsed = false

  init(_ states: LazyAutomaton) {
    self.states = states
  }

  func matches(_ text: RawSpan) -> Bool {
    isUsed = true
    return states.matches(text)
  }

  /// Bytes of memory in use.
  package var byteCount: Int { states.byteCount }

  /// Forgets the states and gives their memory back. One that was used stays, unless `ifUsed`.
  package func release(ifUsed: Bool) {
    if ifUsed || !isUsed { states.release() }
    isUsed = false
  }
}

/// Why a pattern is no regular expression.
public struct RegularExpressionError: Error, Equatable, Sendable, CustomStringConvertible {
  /// What is wrong. Where Go has a message for it, the text is Go's.
  public enum Problem: String, Sendable {
    /// A class has a range that ends before it begins, or a name that nobody knows: `[[:foo:]]`, `\p{Foo}`.
    case invalidCharacterRange = "invalid character class range"
    /// A backslash before something that it can't stand before.
    case invalidEscape = "invalid escape sequence"
    /// A group's name is missing, has other characters than letters, digits and `_`, or is given twice.
    case invalidGroupName = "invalid named capture"
    /// `(?` before something that is neither a flag nor a group.
    case invalidGroupSyntax = "invalid or unsupported Perl syntax"
    /// A repetition of a repetition.
    case invalidRepetition = "invalid nested repetition operator"
    /// A count above 1000, alone or with the repetitions inside, or a range that ends before it begins.
    case invalidRepetitionCount = "invalid repeat count"
    /// A class without its end.
    case missingBracket = "missing closing ]"
    /// A group without its end.
    case missingParenthesis = "missing closing )"
    /// A repetition of nothing.
    case missingRepetitionArgument = "missing argument to repetition operator"
    /// A backslash that ends the pattern.
    case trailingBackslash = "trailing backslash at end of expression"
    /// A `)` without its group.
    case unexpectedParenthesis = "unexpected )"
    /// More than 250 groups inside one another.
    case nestingTooDeep = "expression nests too deeply"
    /// The compiled program would be over its bound.
    case tooLarge = "expression too large"
    /// `(?=`, `(?!`, `(?<=` or `(?<!`.
    case lookaround = "lookaround is not supported"
    /// `\1` to `\9`, or `(?P=name)`.
    case backReference = "back references are not supported"
  }

  /// What is wrong.
  public let problem: Problem
  /// The part of the pattern that is wrong.
  public let fragment: String
  /// Where that part begins: bytes from the start of the pattern in UTF-8.
  public let offset: Int

  /// What, which and where.
  public var description: String { "\(problem.rawValue): `\(fragment)` at byte \(offset)" }
}

// Regular expressions in RE2's syntax, as Go's `regexp` package reads it, matched in linear time.

/// A compiled regular expression, which tests whether a text matches anywhere.
///
/// The syntax and its meaning are those of Go's `regexp` package (`MatchString`), which the OpenTelemetry
/// Collector uses: <https://github.com/google/re2/wiki/Syntax>. The search is unanchored. There are no back
/// references and no lookaround; lazy and greedy repetition match the same texts.
///
/// What differs from Go:
/// - Groups nest at most 250 deep, and a compiled program has at most 65,536 parts: about 2,000 times `.`.
/// - Categories and case folding are those of the Unicode version of Swift's standard library, scripts those
///   of Unicode 17.0; Go's may be older. `\p{...}` accepts the names that Go accepts since 1.25.
///
/// As in Go, a text is read as UTF-8 and each byte that is not part of a well-formed sequence as one U+FFFD;
/// `\d`, `\s`, `\w`, `\b` and the POSIX classes are ASCII only; `(?i)` folds by Unicode, so `(?i)k` matches
/// the Kelvin sign too.
public struct RegularExpression: Sendable, Equatable {
  /// The expression as it was written.
  public let pattern: String
  private let program: RegularExpressionProgram
  /// Set if the expression is plain text.
  private let literal: LiteralSearch?
  /// Plain text that every match contains, if the expression is more than that.
  private let required: LiteralSearch?

  /// Compiles `pattern`.
  public init(_ pattern: String) throws(RegularExpressionError) {
    self.pattern = pattern
    let tree = try RegularExpressionParser.parse(pattern).reducedForSearch
    program = try RegularExpressionProgram(tree, pattern: pattern)
    literal = LiteralSearch(tree)
    required = literal == nil ? LiteralSearch(requiredBy: tree) : nil
  }

  /// A matcher, which holds the states that texts have needed so far.
  public func makeMatcher() -> RegularExpressionMatcher {
    RegularExpressionMatcher(automaton: LazyAutomaton(program), literal: literal, required: required)
  }

  /// Two expressions are equal if their patterns are.
  public static func == (left: RegularExpression, right: RegularExpression) -> Bool {
    left.pattern == right.pattern
  }
}

/// Matches texts against one regular expression.
///
/// A text of *n* bytes takes at most *n* times the program's size in steps, and once the states that the
/// texts need exist, one table look-up per byte and no allocation. The states take at most 256 KiB, plus
/// scratch of at most 20 bytes per program part. Copies share them: they depend only on the pattern.
public struct RegularExpressionMatcher {
  package let automaton: SharedAutomaton
  private let literal: LiteralSearch?
  private let required: LiteralSearch?

  init(automaton: LazyAutomaton, literal: LiteralSearch?, required: LiteralSearch?) {
    self.automaton = SharedAutomaton(automaton)
    self.literal = literal
    self.required = required
  }

  /// Whether any part of `bytes`, read as UTF-8, matches.
  public func matches(_ bytes: RawSpan) -> Bool {
    if let found = literal?.isFound(in: bytes) { return found }
    if required?.isFound(in: bytes) == false { return false }
    return automaton.matches(bytes)
  }

  /// How many bytes and program parts the automaton has visited: the measure of its work.
  var steps: Int { automaton.states.steps }

  /// How many bytes the automaton's states take.
  var cacheBytes: Int { automaton.states.cacheBytes }

  /// How often the states were forgotten.
  var flushes: Int { automaton.states.flushes }
}

/// The states of one regular expression, shared by its matchers. Not thread-safe: each lane has its own.
package final class SharedAutomaton {
  private(set) var states: LazyAutomaton
  /// Whether it was used since the last `release`.
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

  /// Forgets the states and frees their memory. If they were used since the last call, only with `ifUsed`.
  package func release(ifUsed: Bool) {
    if ifUsed || !isUsed { states.release() }
    isUsed = false
  }
}

/// Why a pattern is not a valid regular expression.
public struct RegularExpressionError: Error, Equatable, Sendable, CustomStringConvertible {
  /// What is wrong. Where Go has a message for it, the text is Go's.
  public enum Problem: String, Sendable {
    /// A class has a range that ends before it begins, or an unknown name: `[[:foo:]]`, `\p{Foo}`.
    case invalidCharacterRange = "invalid character class range"
    /// A backslash before a character that can't be escaped.
    case invalidEscape = "invalid escape sequence"
    /// A group's name is missing, has characters other than letters, digits and `_`, or is repeated.
    case invalidGroupName = "invalid named capture"
    /// `(?` before something that is neither a flag nor a group.
    case invalidGroupSyntax = "invalid or unsupported Perl syntax"
    /// A repetition of a repetition.
    case invalidRepetition = "invalid nested repetition operator"
    /// A count above 1000, alone or multiplied by inner ones, or a range that ends before it begins.
    case invalidRepetitionCount = "invalid repeat count"
    /// An unclosed class.
    case missingBracket = "missing closing ]"
    /// An unclosed group.
    case missingParenthesis = "missing closing )"
    /// A repetition of nothing.
    case missingRepetitionArgument = "missing argument to repetition operator"
    /// A backslash that ends the pattern.
    case trailingBackslash = "trailing backslash at end of expression"
    /// An unmatched `)`.
    case unexpectedParenthesis = "unexpected )"
    /// Groups nested more than 250 deep.
    case nestingTooDeep = "expression nests too deeply"
    /// The compiled program would exceed its limit.
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

  /// The problem, the fragment and the offset.
  public var description: String { "\(problem.rawValue): `\(fragment)` at byte \(offset)" }
}

// What each construct of a regular expression matches, and what is not a valid one.

import OTLP
import Testing

@testable import Expressions

extension RegularExpression {
  /// Whether a fresh matcher finds the expression in `text`.
  func isIn(_ text: String) -> Bool { isIn(Array(text.utf8)) }

  func isIn(_ bytes: [UInt8]) -> Bool {
    let matcher = makeMatcher()
    return bytes.withRawBytes { matcher.matches($0) }
  }
}

@Suite struct RegularExpressionTests {
  struct Case: Sendable, CustomTestStringConvertible {
    var pattern: String
    var found: [String]
    var notFound: [String]

    init(_ pattern: String, in found: [String] = [], notIn notFound: [String] = []) {
      self.pattern = pattern
      self.found = found
      self.notFound = notFound
    }

    var testDescription: String { pattern }
  }

  private func check(_ given: Case) throws {
    let matcher = try RegularExpression(given.pattern).makeMatcher()
    // Twice: first without states, then with cached ones.
    for _ in 0..<2 {
      for text in given.found {
        #expect(Array(text.utf8).withRawBytes { matcher.matches($0) }, "\(given.pattern) in \(text)")
      }
      for text in given.notFound {
        #expect(!Array(text.utf8).withRawBytes { matcher.matches($0) }, "\(given.pattern) in \(text)")
      }
    }
  }

  @Test(arguments: [
    Case("", in: ["", "a"], notIn: []),
    Case("a", in: ["a", "bab"], notIn: ["", "b", "A"]),
    Case("timed out", in: ["timed out", "it timed out after 30 s"], notIn: ["timed  out", "timed ou"]),
    Case("a.c", in: ["abc", "a.c", "aéc", "a😀c"], notIn: ["ac", "a\nc", "aéec"]),
    Case("ab|cd", in: ["ab", "xcd"], notIn: ["ac", "bd"]),
    Case("^(GET|POST|)$", in: ["GET", "POST", ""], notIn: ["PUT", "GETS"]),
    Case("a(bc)+d", in: ["abcd", "abcbcd"], notIn: ["ad", "abd"]),
    Case("^a*$", in: ["", "a", "aaa"], notIn: ["b", "ab"]),
    Case("^a+?$", in: ["a", "aaa"], notIn: ["", "b"]),
    Case("^ab?$", in: ["a", "ab"], notIn: ["", "abb"]),
    Case("^a{3}$", in: ["aaa"], notIn: ["aa", "aaaa"]),
    Case("^a{2,}$", in: ["aa", "aaaaa"], notIn: ["", "a"]),
    Case("^a{0,}$", in: ["", "aa"], notIn: ["b"]),
    Case("^a{2,4}?$", in: ["aa", "aaa", "aaaa"], notIn: ["a", "aaaaa"]),
    Case("^a{0}b{1}$", in: ["b"], notIn: ["ab", ""]),
    Case("^(a{2}|b){2}$", in: ["aaaa", "aab", "bb"], notIn: ["aa", "abb", "bbb"]),
    // A brace that opens no count is literal.
    Case("^a{$", in: ["a{"], notIn: ["a"]),
    Case("^{,5}{x}{01}$", in: ["{,5}{x}{01}"], notIn: [""]),
    Case("x*", in: ["", "y"], notIn: []),
    Case("(|a)*b", in: ["b", "aab"], notIn: ["a"]),
    Case("^(?:(a*)*|b)*$", in: ["", "abba"], notIn: ["c"]),
  ])
  func literalsGroupsAndRepetitions(given: Case) throws { try check(given) }

  @Test(arguments: [
    Case("^[abc]$", in: ["a", "c"], notIn: ["d", "ab", ""]),
    Case("^[a-cx-z]$", in: ["b", "y"], notIn: ["d", "-"]),
    Case("^[^a-c]$", in: ["d", "\n", "é", "😀"], notIn: ["a", "b"]),
    Case("^[]a]$", in: ["]", "a"], notIn: ["b"]),
    Case("^[^]a]$", in: ["b"], notIn: ["]", "a"]),
    Case("^[-a]$", in: ["-", "a"], notIn: ["b"]),
    Case("^[a-]$", in: ["-", "a"], notIn: ["b"]),
    Case("^[+--]$", in: ["+", ",", "-"], notIn: ["."]),
    Case("^[\\d-z]$", in: ["1", "-", "z"], notIn: ["y"]),
    Case("^[\\]\\\\]$", in: ["]", "\\"], notIn: ["["]),
    Case("^[à-ÿ€]$", in: ["é", "€"], notIn: ["e", "Ā"]),
    Case("^\\d\\D$", in: ["1a", "9é"], notIn: ["11", "٣a"]),
    Case("^\\s\\S$", in: [" a", "\té"], notIn: ["  ", "\u{0B}a", "\u{A0}a"]),
    Case("^\\w\\W$", in: ["_-", "Zé"], notIn: ["--", "éa"]),
    Case("^[\\w.]+$", in: ["a.b_9"], notIn: ["a b"]),
    Case("^[^\\s\\d]$", in: ["a"], notIn: [" ", "1"]),
    Case("^[[:alpha:]]$", in: ["a", "Z"], notIn: ["1", "é"]),
    Case("^[[:^alpha:]]$", in: ["1", "é"], notIn: ["a"]),
    Case("^[[:digit:][:punct:]]$", in: ["7", "~", "!"], notIn: ["a", " "]),
    Case("^[[:alnum:]][[:ascii:]][[:blank:]][[:cntrl:]]$", in: ["a~\t\u{7F}"], notIn: ["a~x\u{7F}"]),
    Case("^[[:graph:]][[:lower:]][[:print:]][[:space:]]$", in: ["!a \u{0B}"], notIn: [" a \n"]),
    Case("^[[:upper:]][[:word:]][[:xdigit:]]$", in: ["A_f"], notIn: ["a_f", "A_g"]),
    // No class name without its end, so characters.
    Case("^[[:a]$", in: ["[", ":", "a"], notIn: ["b"]),
    Case("[^\\x00-\\x{10FFFF}]", in: [], notIn: ["", "a"]),
    Case("^\\pL$", in: ["a", "é", "я", "中"], notIn: ["1", "_"]),
    Case("^\\p{Lu}\\P{Lu}\\p{^Lu}$", in: ["Éé1"], notIn: ["ééé", "ÉÉÉ"]),
    Case("^[\\p{Nd}\\p{Sc}]$", in: ["٣", "€"], notIn: ["a"]),
    Case("^\\p{Greek}+$", in: ["αβγ", "Ω", "ἀ"], notIn: ["a", "б", "·"]),
    Case("^\\p{Han}+$", in: ["漢字", "〇", "𠀀", "々"], notIn: ["かな", "한", "a", "、"]),
    Case("^[\\p{Hiragana}\\p{Katakana}ー]+$", in: ["ひらカタカーナ"], notIn: ["漢", "a"]),
    Case("^\\p{Latin}\\P{Latin}\\p{^Latin}$", in: ["é漢Я", "a1 "], notIn: ["aéa", "漢11"]),
    Case("^\\P{^Cyrillic}$", in: ["я"], notIn: ["r"]),
    Case("^[^\\p{Hebrew}]$", in: ["a"], notIn: ["א"]),
    Case("^\\p{Old_Italic}\\p{Nko}\\p{Phags_Pa}$", in: ["\u{10300}\u{7CA}\u{A840}"]),
    Case("^\\p{Common}\\p{Inherited}$", in: ["1\u{301}"], notIn: ["a\u{301}"]),
    Case("^(?i)\\p{Greek}$", in: ["\u{B5}", "\u{3BC}", "\u{2126}"], notIn: ["u"]),
    Case("^\\p{Greek}$", notIn: ["\u{B5}"]),
    Case("(?i)^\\P{Greek}$", in: ["u"], notIn: ["\u{B5}", "\u{3BC}"]),
    // Names as Go has accepted them since 1.25.
    Case("^\\p{greek}\\p{old italic}\\p{OLD-ITALIC}$", in: ["α\u{10300}\u{10300}"]),
    Case("^\\p{letter}\\p{Uppercase_Letter}\\p{lu}\\pn$", in: ["aAÉ1"], notIn: ["aaa1"]),
    Case("^\\p{ASCII}\\p{Assigned}\\P{Cn}\\p{Punct}$", in: ["aéé!"], notIn: ["éaa!", "a\u{378}a!"]),
    Case("^\\p{Lc}\\p{lc}$", in: ["aB"], notIn: ["a中"]),
    Case("^\\p{LC}\\p{Any}\\pC$", in: ["ǅ\n\u{378}"], notIn: ["中\n\u{378}"]),
  ])
  func classes(given: Case) throws { try check(given) }

  @Test(arguments: [
    Case("^\\t\\n\\r\\f\\v\\a$", in: ["\t\n\r\u{0C}\u{0B}\u{07}"], notIn: ["tnrfva"]),
    Case("^\\x41\\x{42}\\x{1F600}\\101\\0$", in: ["AB😀A\0"], notIn: ["AB"]),
    Case("^\\.\\*\\/\\-\\_$", in: [".*/-_"], notIn: ["a*/-_"]),
    Case("^\\Qa.b*\\E+$", in: ["a.b*", "a.b***"], notIn: ["aab*", "a.b"]),
    Case("\\Q(a", in: ["(a"], notIn: ["a"]),
  ])
  func escapes(given: Case) throws { try check(given) }

  @Test(arguments: [
    Case("^abc$", in: ["abc"], notIn: ["abc\n", "xabc", "\nabc"]),
    Case("^abc", in: ["abc", "abcd"], notIn: ["xabc"]),
    Case("abc$", in: ["abc", "xabc"], notIn: ["abcd"]),
    Case("\\Aabc\\z", in: ["abc"], notIn: ["abc\n", "abcd"]),
    Case("(?m)^abc$", in: ["abc", "x\nabc\ny"], notIn: ["x abc", "abc\r\n"]),
    Case("(?m)\\Aabc\\z", in: ["abc"], notIn: ["x\nabc"]),
    Case("$^", in: [""], notIn: ["a", "\n"]),
    Case("(?m)a$\\n^b", in: ["a\nb"], notIn: ["ab", "a\n\nb"]),
    Case("^*a", in: ["a", "ba"], notIn: ["b"]),
    Case("^a|b$", in: ["ax", "xb"], notIn: ["xa", "bx"]),
    Case("\\bcat\\b", in: ["cat", "a cat.", "écaté"], notIn: ["cats", "_cat", "concat"]),
    Case("cat\\B", in: ["cats"], notIn: ["cat", "cat.", "caté"]),
    Case("\\B", in: ["", "aa", "é", "a  b"], notIn: ["a", "aéa"]),
    Case("\\b", in: ["a", " a"], notIn: ["", "é", " "]),
    Case("(?m)a\\b$\\n\\bb", in: ["a\nb"], notIn: ["a b"]),
  ])
  func conditions(given: Case) throws { try check(given) }

  @Test(arguments: [
    Case("(?i)abC", in: ["ABC", "aBc"], notIn: ["abd"]),
    Case("(?i)^k[^s]$", in: ["ka", "\u{212A}b"], notIn: ["ks", "KS", "k\u{17F}"]),
    Case("(?i)^[à-ö]ß$", in: ["Éẞ", "éß"], notIn: ["ess"]),
    Case("(?i)^Σ$", in: ["σ", "ς"], notIn: ["s"]),
    Case("(?i)^i$", in: ["I"], notIn: ["ı", "İ"]),
    Case("(?i)^\\w$", in: ["\u{17F}"], notIn: ["é"]),
    Case("^\\w$", in: ["s"], notIn: ["\u{17F}"]),
    Case("a(?i)b|c", in: ["aB", "C"], notIn: ["AB"]),
    Case("^(a(?i)b)c$", in: ["aBc"], notIn: ["aBC"]),
    Case("^(?i:a)b$", in: ["Ab"], notIn: ["AB"]),
    Case("(?i)^a(?-i:b)$", in: ["Ab"], notIn: ["AB"]),
    Case("(?s)a.b", in: ["a\nb"], notIn: ["ab"]),
    Case("(?s-s:a.b)", in: ["a b"], notIn: ["a\nb"]),
    Case("(?mis)^A.B$", in: ["x\na\nb\ny"], notIn: ["x a\nb"]),
    Case("(?U)^a+?$", in: ["aa"], notIn: [""]),
    Case("(?)a", in: ["a"], notIn: ["b"]),
    Case("(?P<method>GET|PUT) (?<path>/.*)", in: ["GET /"], notIn: ["GET"]),
    Case("a*(?:)*b", in: ["b"], notIn: ["a"]),
  ])
  func flagsAndGroupKinds(given: Case) throws { try check(given) }

  /// A byte that is not part of a well-formed sequence is one U+FFFD.
  @Test func bytesThatAreNotUTF8() throws {
    let one = try RegularExpression("^.$")
    for bytes: [UInt8] in [[0x80], [0xFF], [0xC3], [0xF0], [0xEF, 0xBF, 0xBD]] { #expect(one.isIn(bytes)) }
    let three = try RegularExpression("^...$")
    for bytes: [UInt8] in [
      [0xE2, 0x82, 0x41], [0xED, 0xA0, 0x80], [0xC0, 0x80, 0x41], [0xF0, 0x9F, 0x98],
    ] {
      #expect(three.isIn(bytes))
      #expect(!one.isIn(bytes))
    }
    #expect(try RegularExpression("\\x{FFFD}").isIn([0x41, 0xFF]))
    #expect(try RegularExpression("é").isIn([0xC3, 0xC3, 0xA9]))
    #expect(try !RegularExpression("[à-ÿ]").isIn([0xC3, 0x41, 0xA9]))
  }

  /// The text is checked for UTF-8 in pieces.
  @Test func longTextsWithWideCharacters() throws {
    for padding in 4090...4100 {
      let text = String(repeating: "a", count: padding) + "€" + String(repeating: "b", count: 5000)
      #expect(try RegularExpression("^a+.b+$").isIn(text))
      #expect(try !RegularExpression("^a+..b+$").isIn(text.replacing("b", with: "c") + "b"))
      let broken = Array(text.utf8.prefix(padding + 2)) + [0x62]
      #expect(try RegularExpression("^a+..b$").isIn(broken))
      #expect(try !RegularExpression("^a+.b$").isIn(broken))
    }
  }

  @Test func expressionsAreEqualByPattern() throws {
    #expect(try RegularExpression("a|b") == RegularExpression("a|b"))
    #expect(try RegularExpression("a|b") != RegularExpression("[ab]"))
  }

  struct Refusal: Sendable, CustomTestStringConvertible {
    var pattern: String
    var problem: RegularExpressionError.Problem
    var fragment: String
    var offset: Int

    init(
      _ pattern: String, _ problem: RegularExpressionError.Problem, _ fragment: String, at offset: Int
    ) {
      self.pattern = pattern
      self.problem = problem
      self.fragment = fragment
      self.offset = offset
    }

    var testDescription: String { pattern }
  }

  @Test(arguments: [
    Refusal("[a", .missingBracket, "[a", at: 0),
    Refusal("é[^]", .missingBracket, "[^]", at: 2),
    Refusal("a(b", .missingParenthesis, "(b", at: 1),
    Refusal("(?i:a", .missingParenthesis, "(?i:a", at: 0),
    Refusal("a)b", .unexpectedParenthesis, ")", at: 1),
    Refusal("*a", .missingRepetitionArgument, "*", at: 0),
    Refusal("a|+?", .missingRepetitionArgument, "+?", at: 2),
    Refusal("(?i)?", .missingRepetitionArgument, "?", at: 4),
    Refusal("({2})", .missingRepetitionArgument, "{2}", at: 1),
    Refusal("ab**", .invalidRepetition, "**", at: 2),
    Refusal("a+?*", .invalidRepetition, "+?*", at: 1),
    Refusal("a{2}{3}", .invalidRepetition, "{2}{3}", at: 1),
    Refusal("a{1001}", .invalidRepetitionCount, "{1001}", at: 1),
    Refusal("a{99999999999999999999,}", .invalidRepetitionCount, "{99999999999999999999,}", at: 1),
    Refusal("a{3,2}", .invalidRepetitionCount, "{3,2}", at: 1),
    Refusal("((a{10}){10}b){11}", .invalidRepetitionCount, "{11}", at: 14),
    Refusal("[z-a]", .invalidCharacterRange, "z-a", at: 1),
    Refusal("[[:alfa:]]", .invalidCharacterRange, "[:alfa:]", at: 1),
    Refusal("\\p{Lu", .invalidCharacterRange, "\\p{Lu", at: 0),
    Refusal("a\\p{Greekk}", .invalidCharacterRange, "\\p{Greekk}", at: 1),
    Refusal("\\p{Unknown}", .invalidCharacterRange, "\\p{Unknown}", at: 0),
    Refusal("\\p{Grek}", .invalidCharacterRange, "\\p{Grek}", at: 0),
    Refusal("\\p{}", .invalidCharacterRange, "\\p{}", at: 0),
    Refusal("\\p{é}", .invalidCharacterRange, "\\p{é}", at: 0),
    Refusal("\\pX", .invalidCharacterRange, "\\pX", at: 0),
    Refusal("a\\", .trailingBackslash, "\\", at: 1),
    Refusal("\\q", .invalidEscape, "\\q", at: 0),
    Refusal("\\Z", .invalidEscape, "\\Z", at: 0),
    Refusal("\\C", .invalidEscape, "\\C", at: 0),
    Refusal("[a-\\d]", .invalidEscape, "\\d", at: 3),
    Refusal("\\xg1", .invalidEscape, "\\xg", at: 0),
    Refusal("\\x{110000}", .invalidEscape, "\\x{110000", at: 0),
    Refusal("\\x{}", .invalidEscape, "\\x{}", at: 0),
    Refusal("(a)\\1", .backReference, "\\1", at: 3),
    Refusal("(?P<n>a)(?P=n)", .backReference, "(?P=", at: 8),
    Refusal("a(?=b)", .lookaround, "(?=", at: 1),
    Refusal("(?!b)", .lookaround, "(?!", at: 0),
    Refusal("(?<=b)", .lookaround, "(?<=", at: 0),
    Refusal("(?<!b)", .lookaround, "(?<!", at: 0),
    Refusal("(?x)a", .invalidGroupSyntax, "(?x", at: 0),
    Refusal("(?i-)", .invalidGroupSyntax, "(?i-)", at: 0),
    Refusal("(?>a)", .invalidGroupSyntax, "(?>", at: 0),
    Refusal("(?P<a-b>c)", .invalidGroupName, "(?P<a-b>", at: 0),
    Refusal("(?P<>c)", .invalidGroupName, "(?P<>", at: 0),
    Refusal("(?<n", .invalidGroupName, "(?<n", at: 0),
    Refusal("(?<n>a)(?P<n>b)", .invalidGroupName, "(?P<n>", at: 7),
    Refusal("\\pL{1000}", .tooLarge, "\\pL{1000}", at: 0),
  ])
  func refusals(given: Refusal) {
    let expected = RegularExpressionError(
      problem: given.problem, fragment: given.fragment, offset: given.offset)
    #expect(throws: expected) { try RegularExpression(given.pattern) }
  }

  @Test func refusalsReadLikeGos() {
    let error = #expect(throws: RegularExpressionError.self) { try RegularExpression("x[a") }
    #expect(error?.description == "missing closing ]: `[a` at byte 1")
  }

  @Test func nestingIsBounded() throws {
    let most = RegularExpressionParser.depthMax
    let nested = { String(repeating: "(", count: $0) + "a" + String(repeating: ")", count: $0) }
    #expect(try RegularExpression(nested(most)).isIn("a"))
    #expect(throws: RegularExpressionError(problem: .nestingTooDeep, fragment: "(", offset: most)) {
      try RegularExpression(nested(most + 1))
    }
  }
}

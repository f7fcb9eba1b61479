// The classes that `\p{...}` names: general categories and scripts of Unicode.

/// Finds classes by name, as Go's `regexp/syntax` has done since 1.25: ignoring case, blanks, hyphens and
/// underscores.
enum UnicodeClasses {
  /// The code points of a category by its short name (`Lu`; `L` for all that begin with it) or its long one
  /// (`Uppercase_Letter`), or of a script (`Greek`). Nil if there is no such class.
  static func codePoints(of name: String) -> CodePointSet? {
    let name = plain(name)
    switch name {
    case "any": return .all
    case "ascii": return CodePointSet([0...0x7F])
    case "assigned": return GeneralCategories.shared.codePoints(of: "cn")?.inverted
    default: break
    }
    return GeneralCategories.shared.codePoints(of: categoryAliases[name] ?? name)
      ?? UnicodeScripts.codePoints(of: name)
  }

  /// A name in lower case, without blanks, hyphens and underscores. Only ASCII letters have case here.
  static func plain(_ name: String) -> String {
    var plain: [UInt8] = []
    for byte in name.utf8 {
      switch byte {
      case UInt8(ascii: " "), UInt8(ascii: "-"), UInt8(ascii: "_"): continue
      case 0x41...0x5A: plain.append(byte | 0x20)
      default: plain.append(byte)
      }
    }
    return String(decoding: plain, as: UTF8.self)
  }

  /// Long names of categories. Source: `CategoryAliases` in <https://pkg.go.dev/unicode>, which takes them
  /// from PropertyValueAliases.txt.
  private static let categoryAliases = [
    "casedletter": "lc", "closepunctuation": "pe", "combiningmark": "m", "connectorpunctuation": "pc",
    "control": "cc", "cntrl": "cc", "currencysymbol": "sc", "dashpunctuation": "pd", "decimalnumber": "nd",
    "digit": "nd", "enclosingmark": "me", "finalpunctuation": "pf", "format": "cf",
    "initialpunctuation": "pi", "letter": "l", "letternumber": "nl", "lineseparator": "zl",
    "lowercaseletter": "ll", "mark": "m", "mathsymbol": "sm", "modifierletter": "lm",
    "modifiersymbol": "sk", "nonspacingmark": "mn", "number": "n", "openpunctuation": "ps", "other": "c",
    "otherletter": "lo", "othernumber": "no", "otherpunctuation": "po", "othersymbol": "so",
    "paragraphseparator": "zp", "privateuse": "co", "punctuation": "p", "punct": "p", "separator": "z",
    "spaceseparator": "zs", "spacingmark": "mc", "surrogate": "cs", "symbol": "s", "titlecaseletter": "lt",
    "unassigned": "cn", "uppercaseletter": "lu",
  ]
}

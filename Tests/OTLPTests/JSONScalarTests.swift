// OTLP/JSON's numbers, enum names, strings and base64.

import OTLP
import Testing

@Suite("OTLP/JSON scalars")
struct JSONScalarTests {
  static let integers: [(String, Int64)] = [
    ("0", 0), ("-0", 0), ("1", 1), ("-1", -1), ("9223372036854775807", .max), ("-9223372036854775808", .min),
    ("1e3", 1000), ("1E+3", 1000), ("-20e-1", -2), ("1.0", 1), ("1.5e1", 15), ("120e-1", 12),
    ("1.050e2", 105),
    ("1000000000000000000000000e-20", 10000), ("0.000000000000000000000001e24", 1),
    ("0e99999999999999999999", 0),
    ("0.0e-5", 0), ("9.223372036854775807e18", .max), ("1e18", 1_000_000_000_000_000_000),
    ("1000000000000000001", 1_000_000_000_000_000_001),
  ]

  @Test(arguments: integers)
  func integer(_ text: String, _ value: Int64) throws {
    let expected = Place.value.wire(wire { $0.varintField(3, UInt64(bitPattern: value)) })
    #expect(try converted(Place.value.document("\"intValue\":\(text)")) == expected)
    #expect(try converted(Place.value.document("\"intValue\":\"\(text)\"")) == expected)
  }

  @Test("A million zeros cost no more than other text of their length")
  func longNumbers() throws {
    let zeros = String(repeating: "0", count: 1_000_000)
    let integer = Place.value.document("\"intValue\":1\(zeros)e-1000000")
    #expect(try converted(integer) == Place.value.wire(wire { $0.varintField(3, 1) }))
    let fraction = Place.value.document("\"doubleValue\":0.\(zeros)25e1000000")
    #expect(try converted(fraction) == Place.value.wire(wire { $0.fixed64Field(4, (0.25).bitPattern) }))
  }

  static let doubles: [(String, Double)] = [
    ("0", 0), ("-0", -0.0), ("-0.0", -0.0), ("72.5", 72.5), ("-1.5e-3", -0.0015), ("1E5", 100_000),
    ("0.1", 0.1), ("1.7976931348623157e308", .greatestFiniteMagnitude), ("5e-324", .leastNonzeroMagnitude),
    ("1e-400", 0), ("9007199254740993", 9_007_199_254_740_992), ("18446744073709551616", 0x1p64),
    ("\"1.5\"", 1.5), ("\"\\u0031e1\"", 10), ("\"Infinity\"", .infinity), ("\"-Infinity\"", -.infinity),
    ("\"NaN\"", .nan),
  ]

  @Test(arguments: doubles)
  func double(_ text: String, _ value: Double) throws {
    let expected = Place.value.wire(wire { $0.fixed64Field(4, value.bitPattern) })
    #expect(try converted(Place.value.document("\"doubleValue\":\(text)")) == expected)
  }

  static let kinds: [(String, UInt64)] = [
    ("5", 5), ("\"5\"", 5), ("\"SPAN_KIND_INTERNAL\"", 1), ("\"SPAN_KIND_SERVER\"", 2),
    ("\"SPAN_KIND_CLIENT\"", 3),
    ("\"SPAN_KIND_PRODUCER\"", 4), ("\"SPAN_KIND_CONSUMER\"", 5), ("\"span_kind_server\"", 2),
    ("\"Client\"", 3),
    ("\"SPAN_\\u004bIND_SERVER\"", 2), ("17", 17), ("-1", .max), ("2147483647", 2_147_483_647),
    ("-2147483648", UInt64(bitPattern: -2_147_483_648)),
  ]

  @Test(arguments: kinds)
  func kind(_ text: String, _ value: UInt64) throws {
    let expected = Place.span.wire(wire { $0.varintField(6, value) })
    #expect(try converted(Place.span.document("\"kind\":\(text)")) == expected)
  }

  @Test(arguments: [("STATUS_CODE_OK", 1), ("STATUS_CODE_ERROR", 2), ("error", 2)] as [(String, UInt64)])
  func statusCode(_ name: String, _ value: UInt64) throws {
    let expected = Place.status.wire(wire { $0.varintField(3, value) })
    #expect(try converted(Place.status.document("\"code\":\"\(name)\"")) == expected)
    #expect(try converted(Place.status.document("\"code\":\"STATUS_CODE_UNSET\"")) == Place.status.wire([]))
  }

  static let strings: [(String, String)] = [
    (#"\"\\\/\b\f\n\r\t"#, "\"\\/\u{8}\u{c}\n\r\t"),
    (#"\u0000\u001f\u007f\u0080\u07ff\u0800\uFFFF"#, "\u{0}\u{1f}\u{7f}\u{80}\u{7ff}\u{800}\u{ffff}"),
    (#"\ud7ff\ue000"#, "\u{d7ff}\u{e000}"),
    (#"\ud800\udc00 \uDBFF\uDFFF a\ud83d\ude00b"#, "\u{10000} \u{10ffff} a😀b"),
    (#"12345678\n12345678901234567\\"#, "12345678\n12345678901234567\\"),
    (
      "\u{7f}\u{80}\u{7ff}\u{800}\u{d7ff}\u{e000}\u{ffff}",
      "\u{7f}\u{80}\u{7ff}\u{800}\u{d7ff}\u{e000}\u{ffff}"
    ),
    ("\u{10000}\u{3ffff}\u{40000}\u{10ffff}", "\u{10000}\u{3ffff}\u{40000}\u{10ffff}"),
    ("日本 häß 𝕏", "日本 häß 𝕏"),
  ]

  @Test(arguments: strings)
  func string(_ text: String, _ value: String) throws {
    let expected = Place.span.wire(wire { $0.stringField(5, value) })
    #expect(try converted(Place.span.document("\"name\":\"\(text)\"")) == expected)
    #expect(try converted(Place.span.document("\"\\u006e\\u0061me\":\"\(text)\"")) == expected)
  }

  @Test(
    "Each special character is found at each position of the eight bytes that are read at once",
    arguments: 0..<17)
  func specialCharacterPlaces(_ place: Int) throws {
    let before = String(repeating: "~", count: place)
    let after = String(repeating: " ", count: 17 - place)
    for (text, value) in [
      (#"\\"#, "\\"), (#"\""#, "\""), ("é", "é"), (#"\u00e9"#, "é"), ("\u{7f}!#[]", "\u{7f}!#[]"),
    ] {
      let expected = Place.span.wire(wire { $0.stringField(5, before + value + after) })
      #expect(try converted(Place.span.document("\"name\":\"\(before)\(text)\(after)\"")) == expected)
    }
  }

  static let base64: [(String, [UInt8])] = [
    ("", []), ("AA==", [0]), ("AA", [0]), ("AAE=", [0, 1]), ("AAE", [0, 1]), ("AAEC", [0, 1, 2]),
    ("AAECAw==", [0, 1, 2, 3]), ("++//", [0xfb, 0xef, 0xff]), ("--__", [0xfb, 0xef, 0xff]),
    (#"+-\/_"#, [0xfb, 0xef, 0xff]), (#"AA\u003d="#, [0]), ("/x==", [0xff]),
    ("AZaz09+/", [1, 150, 179, 211, 223, 191]),
  ]

  @Test(arguments: base64)
  func bytes(_ text: String, _ value: [UInt8]) throws {
    let expected = Place.value.wire(wire { $0.bytesField(7, value) })
    #expect(try converted(Place.value.document("\"bytesValue\":\"\(text)\"")) == expected)
  }
}

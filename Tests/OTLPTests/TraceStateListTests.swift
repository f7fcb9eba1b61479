// W3C's rules for a whole tracestate, one by one.

import OTLP
import Testing

@Suite struct TraceStateListTests {
  private func read(_ text: String) -> (list: TraceStateList, bytes: [UInt8]) {
    // Bytes on either side that must not be read.
    let bytes = Array("x".utf8) + Array(text.utf8) + Array("y,a=8".utf8)
    let range = ByteRange(offset: 1, count: UInt32(text.utf8.count))
    return (bytes.withRawBytes { TraceStateList(range, of: $0) }, bytes)
  }

  private func value(_ key: String, in text: String) -> String? {
    let (list, bytes) = read(text)
    let range = bytes.withRawBytes { bytes in
      Array(key.utf8).withRawBytes { list.value(of: $0, in: bytes) }
    }
    return range.map { String(decoding: bytes[$0.indices], as: UTF8.self) }
  }

  @Test(arguments: [
    ("a=1", "1"), ("a=1,b=2", "1"), ("b=2,a=1", "1"), (" a=1 ,b=2", "1"), ("b=2,\ta=1\t", "1"),
    (",,a=1,,", "1"), ("a=x y", "x y"), ("a= x", " x"), ("a=~!;:", "~!;:"), ("a@b=2,a=1", "1"),
    ("0a-_*/@z=2,a=1", "1"), ("aa=2,a=1", "1"), ("a=1 \t \t", "1"),
  ])
  func finds(text: String, expected: String) {
    #expect(value("a", in: text) == expected)
    #expect(read(text).list.isWellFormed)
  }

  /// Each breaks one rule.
  @Test(arguments: [
    "a=", "a= ", "a", "a=1,a=2", "a=1,b=2,c=3,b=4", "a=1,b", "a=1,=2", "=", "a=1,B=2", "a=1,b=2=3",
    "a=1,_b=2",
    "a=1,b@c@d=2", "a=1,@b=2", "a=1,b@=2", "a=1,b@0=2", "a=1,b@_=2", "a=1,0b=2", "a=1,0@0=2", "a=1,b=\u{7f}",
    "a=1,b=é", "a=1,é=2", "a=1,b c=2", "a=1,b =2", "a=1;b=2", "a=1,b=2\t3", "a=1,b=\t2", "a=1,b=\n",
    "a=1,b=\u{0}", "x:y", "a=1\n",
  ])
  func breaksARule(text: String) {
    #expect(!read(text).list.isWellFormed)
    #expect(!read(text).list.isReadByCollectors)
    #expect(value("a", in: text) == nil)
  }

  /// An empty tracestate, or one of empty members, keeps to the rules.
  @Test(arguments: ["", ",", ",,,", "b=1"])
  func hasNoSuchMember(text: String) {
    #expect(read(text).list.isReadByCollectors)
    #expect(value("a", in: text) == nil)
  }

  /// W3C allows blank members; the Collector's parser does not.
  @Test(arguments: [" ", "\t", "a=1, ", "a=1, ,b=2", " ,a=1"])
  func membersOfBlanks(text: String) {
    #expect(read(text).list.isWellFormed)
    #expect(!read(text).list.isReadByCollectors)
    #expect(value("a", in: text) == nil)
  }

  @Test func lengths() {
    func text(_ character: Character, _ count: Int) -> String { String(repeating: character, count: count) }
    let long = text("k", 256)
    #expect(value(long, in: "\(long)=1") == "1")
    #expect(value("a", in: "a=1,\(long)k=1") == nil)
    #expect(value("a", in: "a=\(long)") == long)
    #expect(value("a", in: "a=\(long)   ") == long)
    #expect(value("a", in: "a=\(long)k") == nil)
    #expect(value("a", in: "a=1,\(text("t", 241))@\(text("s", 14))=2") == "1")
    #expect(value("a", in: "a=1,\(text("t", 242))@s=2") == nil)
    #expect(value("a", in: "a=1,t@\(text("s", 15))=2") == nil)
    let members = (0..<31).map { "m\($0)=1" }.joined(separator: ",")
    #expect(value("a", in: "\(members),a=1") == "1")
    #expect(value("a", in: "\(members),,,a=1,,") == "1")
    #expect(value("a", in: "\(members),a=1,b=2") == nil)
    // Keys that differ in only one character, wherever it is.
    let like = (0..<32).map { long.prefix(200 + $0) + "x" + text("k", 55 - $0) + "=v" }
    #expect(read(like.joined(separator: ",")).list.isWellFormed)
    #expect(!read((like.dropLast() + [like[7]]).joined(separator: ",")).list.isWellFormed)
  }

  /// It is read once, however long it is.
  @Test(arguments: [("a=b,", false), (",", true), (" a=b ,c=d,", false), (" ", true), ("a", false)])
  func longOnes(part: String, isWellFormed: Bool) {
    #expect(read(String(repeating: part, count: 100_000)).list.isWellFormed == isWellFormed)
  }
}

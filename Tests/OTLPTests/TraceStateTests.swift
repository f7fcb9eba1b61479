// Reading a tracestate by the rules of OpenTelemetry ("TraceState Handling") and of W3C Trace Context.

import OTLP
import Testing

@Suite struct TraceStateTests {
  @Test(arguments: [
    ("ot=th:0", UInt64(0)), ("ot=th:8", 0x80_0000_0000_0000), ("ot=th:c", 0xc0_0000_0000_0000),
    ("ot=th:fd70a4", 0xfd_70a4_0000_0000), ("ot=th:1000", 0x10_0000_0000_0000),
    ("ot=th:abcdefabcdefab", 0xab_cdef_abcd_efab), ("ot=th:00000000000001", 1),
    // Next to other sub-keys, and next to other members.
    ("ot=th:2;extra:stuff", 0x20_0000_0000_0000), ("ot=extra:stuff;th:2", 0x20_0000_0000_0000),
    ("ot=e100:100;th:1;e101:101", 0x10_0000_0000_0000),
    ("ot=x1y2z3:1-2-3;y1:y_1;xy:-;th:50", 0x50_0000_0000_0000),
    ("a=b,ot=th:8", 0x80_0000_0000_0000), ("ot=th:8,a=b", 0x80_0000_0000_0000),
    ("a=b,ot=th:8,c=d", 0x80_0000_0000_0000), ("a=th:1,ot=th:8", 0x80_0000_0000_0000),
    // Spaces and tabs around members are allowed.
    ("a=b , ot=th:8 ,c=d", 0x80_0000_0000_0000), ("a=b\t,\tot=th:8\t", 0x80_0000_0000_0000),
    (" ot=th:8 ", 0x80_0000_0000_0000),
    // Empty members are allowed, blank ones too.
    (",,ot=th:8,,", 0x80_0000_0000_0000), ("a=b, ,ot=th:8", 0x80_0000_0000_0000),
  ])
  func readsThresholds(_ text: String, _ rejected: UInt64) {
    let sampling = sampling(text)
    #expect(sampling.threshold == SamplingThreshold(rejected: rejected))
    #expect(sampling.randomness == nil)
    #expect(!sampling.isMalformed)
  }

  /// Wherever `ot=` is, in lists that are read eight bytes at a time.
  @Test func whatSaysNothingIsToldFromWhatMay() {
    for count in 0..<40 {
      for place in 0..<count {
        var bytes = Array("a=b,to=d,o=t,vendor=xyz,t=u,ot:1,got!=x".utf8.prefix(count))
        let range = ByteRange(offset: 2, count: UInt32(max(0, count - 2)))
        let before = bytes.withRawBytes { TraceStateSampling.isGiven(in: range, of: $0) }
        #expect(!before)
        guard place >= 2, place + 3 <= count else { continue }
        bytes.replaceSubrange(place..<place + 3, with: Array("ot=".utf8))
        #expect(bytes.withRawBytes { TraceStateSampling.isGiven(in: range, of: $0) })
      }
    }
  }

  @Test(arguments: [
    ("ot=rv:6e6d1a75832a2f", UInt64(0x6e_6d1a_7583_2a2f)), ("ot=rv:00000000000003", 3),
    ("ot=rv:ffffffffffffff", 0xff_ffff_ffff_ffff), ("ot=extra:stuff;rv:22222222222222", 0x22_2222_2222_2222),
  ])
  func readsRandomness(_ text: String, _ randomness: UInt64) {
    let sampling = sampling(text)
    #expect(sampling.randomness == randomness)
    #expect(sampling.threshold == nil)
    #expect(!sampling.isMalformed)
  }

  @Test func readsBoth() {
    for text in ["ot=rv:10000000000000;th:3;a:b;c:d", "ot=a:b;th:3;rv:10000000000000"] {
      let sampling = sampling(text)
      #expect(sampling.threshold == SamplingThreshold(rejected: 0x30_0000_0000_0000))
      #expect(sampling.randomness == 0x10_0000_0000_0000)
    }
  }

  @Test(arguments: [
    "", "a=b", "a=b,c=d", "ot=p:8;r:62", "ot=e1:1;e2:2", "other=th:8", "not=th:8", "ott=th:8",
    "ot@sys=th:8", "tenant@ot=th:8", "ot=tth:8", "ot=th1:8;rv2:", ",", " ", " ,\t",
  ])
  func findsNothingInTheRest(_ text: String) {
    #expect(sampling(text) == TraceStateSampling())
  }

  @Test(arguments: [
    "ot=th:", "ot=th:;p:1", "ot=th:$", "ot=th:0x1p+3", "ot=th:14.5", "ot=th:-1", "ot=th:8 ;p:1", "ot=th: 8",
    "ot=th:ffffffffffffff0", "ot=th:100000000000000", "ot=th:g", "ot=th:FD70A", "ot=th:8=p:2",
    "ot=rv:", "ot=rv:3", "ot=rv:3;p:2", "ot=rv:100000000000000", "ot=rv:fffffffffffffff",
    "ot=rv:0123456789ABCD",
    "ot=rv:0123456789abcg", "ot=th:8;rv:1", "ot=rv:1;th:8", "a=b,ot=th:zz,c=d", "ot=th:8;th:4",
    "ot=th:8;th:8",
    "ot=rv:00000000000001;rv:00000000000001", "ot=th:8;x:1;th:8",
    // Not a list of sub-keys.
    "ot=th", "ot=th:8;", "ot=;th:8", "ot=th:8;;p:1", "ot=;;", "ot=:8", "ot=th:8;P:1", "ot=th:8;1p:1",
    "ot=th:8;p:1:2", "ot=th:8;p:~", "ot= th:8", "ot=th:8;p",
    // Not a tracestate: all of it is ignored.
    "ot=", "ot", "o", ";", "=", "OT=th:8", "ot =th:8", "ot=th:8,ot=th:c", "ot=th:8,ot=th:8",
    "a=1,a=2,ot=th:8",
    "ot=th:8,B=1", "ot=th:8,é=1", "ot=th:8,b=é", "ot=th:8,b",
  ])
  func aMalformedMemberCountsForNothing(_ text: String) {
    let sampling = sampling(text)
    #expect(sampling.isMalformed)
    #expect(sampling.threshold == nil && sampling.randomness == nil)
  }

  @Test func readsAnyBytes() {
    var random = SeededGenerator(seed: 8)
    let alphabet = Array("ot=h:rv;,08fdz \t\u{0}é".utf8)
    for _ in 0..<20_000 {
      let count = Int.random(in: 0...24, using: &random)
      let bytes = (0..<count).map { _ in alphabet.randomElement(using: &random) ?? 0 }
      let sampling = sampling(bytes)
      if let threshold = sampling.threshold { #expect(threshold < .never) }
      if let randomness = sampling.randomness { #expect(randomness < SamplingThreshold.randomnessCount) }
    }
  }
}

func sampling(_ text: String) -> TraceStateSampling {
  sampling(Array(text.utf8))
}

private func sampling(_ text: [UInt8]) -> TraceStateSampling {
  // Bytes on either side that must not be read.
  let bytes = Array("8".utf8) + text + Array("8;th:1".utf8)
  return bytes.withRawBytes { TraceStateSampling(ByteRange(offset: 1, count: UInt32(text.count)), of: $0) }
}

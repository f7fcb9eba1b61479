// How durations, sizes and numbers are written, and which misspelt words are recognised.

import Testing

@testable import Topology

@Suite struct TopologyQuantityTests {
  @Test(arguments: [
    ("0s", 0, "0s"), ("500ms", 500, "500ms"), ("1m30s", 90_000, "1m30s"), ("90s", 90_000, "1m30s"),
    ("1h", 3_600_000, "1h"), ("1h0m1ms", 3_600_001, "1h1ms"),
  ]) func duration(text: String, milliseconds: Int, formatted: String) {
    #expect(DurationText.parse(text) == .milliseconds(milliseconds))
    #expect(DurationText.format(.milliseconds(milliseconds)) == formatted)
  }

  @Test(arguments: [
    "", "s", "1", "-1s", "1.5s", "1 s", "1s ", "1s1s", "1s1m", "1d", "1S", "١s", "999999999999h", "1sms",
  ]) func refusedDuration(text: String) {
    #expect(DurationText.parse(text) == nil)
  }

  @Test(arguments: [
    ("0", 0, "0"), ("512", 512, "512"), ("64MiB", 64 << 20, "64MiB"), ("2GB", 2_000_000_000, "2GB"),
    ("1024KiB", 1 << 20, "1MiB"), ("1TiB", 1 << 40, "1TiB"), ("3TB", 3_000_000_000_000, "3TB"),
  ]) func byteSize(text: String, bytes: Int, formatted: String) {
    #expect(ByteSizeText.parse(text) == bytes)
    #expect(ByteSizeText.format(bytes) == formatted)
  }

  @Test(arguments: ["", "MiB", "-1", "1.5GiB", "1 MiB", "1mib", "1Mi", "8388608TiB", "99999999999999999999"])
  func refusedByteSize(text: String) {
    #expect(ByteSizeText.parse(text) == nil)
  }

  @Test func numbers() {
    #expect(["0", "7", "-1", "1_000"].map(NumberText.parseInteger) == [0, 7, -1, 1000])
    for text in ["", "-", "_1", "1_", "1__0", "+1", "00", "-01", "1e3", "0x1", "9223372036854775808"] {
      #expect(NumberText.parseInteger(text) == nil)
    }
    #expect(["0", "0.5", "100", "1e-3", "1E+2"].map(NumberText.parseDecimal) == [0, 0.5, 100, 0.001, 100])
    for text in ["", ".5", "-1", "inf", "nan", "0x1p3", "1e", "1e999", "1-1", "1 "] {
      #expect(NumberText.parseDecimal(text) == nil)
    }
  }

  @Test func suggestions() {
    let words = ["decision_wait", "late_window", "lanes"]
    #expect(Suggestion.nearest(to: "decision_wiat", among: words) == "decision_wait")
    #expect(Suggestion.nearest(to: "LATE-WINDOW", among: words) == "late_window")
    #expect(Suggestion.nearest(to: "lane", among: words) == "lanes")
    #expect(Suggestion.nearest(to: "penguins", among: words) == nil)
    #expect(Suggestion.nearest(to: "", among: words) == nil)
    #expect(Suggestion.nearest(to: "x", among: []) == nil)
  }
}

// Who may see the console's pages, how queries are read, and the static files.

import Foundation
import NIOCore
import Testing

@testable import Console

@Suite struct ConsoleServiceTests {
  @Test func queriesAreDecoded() {
    let request = ConsoleRequest(path: "/a%2Fb+c", query: "tag=k%3Dv&tag=x+y&empty=&bad=%zz%4&alone&n=1&n=2")
    #expect(request.path == "/a/b+c")
    #expect(request.values(of: "tag") == ["k=v", "x y"])
    #expect(request["empty"] == nil && request["alone"] == nil && request["none"] == nil)
    #expect(request["bad"] == "%zz%4")
    #expect(request["n"] == "2")
    let many = ConsoleRequest(path: "/", query: String(repeating: "a=1&", count: 1000))
    #expect(many.query.count == 100)
  }

  @Test(arguments: [
    ("100ms", 100_000_000), ("1.5s", 1_500_000_000), ("1m2s", 62_000_000_000), ("20us", 20_000),
    ("3µs", 3000),
    ("5ns", 5), ("2h", 7_200_000_000_000),
  ])
  func durationsOfGoAreRead(_ text: String, _ wanted: UInt64) {
    #expect(ConsoleRequest.nanoseconds(text) == wanted)
  }

  @Test(arguments: ["", "ms", "1", "1x", "-1s", "1s ", "1e400h", "1..5s", "9999999999h"])
  func otherTextsAreNoDurations(_ text: String) {
    #expect(ConsoleRequest.nanoseconds(text) == nil)
  }

  @Test func timesHaveDefaults() throws {
    let clock: Int64 = 10_000_000_000_000_000
    let hour: Int64 = 3_600_000_000_000
    #expect(try ConsoleRequest(path: "/").times(clock: clock) == clock - hour...clock)
    #expect(try ConsoleRequest(path: "/", query: "from=-15m").times(clock: clock) == clock - hour / 4...clock)
    #expect(try ConsoleRequest(path: "/", query: "from=5&to=7").times(clock: clock) == 5...7)
    for query in ["from=x", "from=7&to=5", "to=-x"] {
      #expect(throws: BadParameter.self) { try ConsoleRequest(path: "/", query: query).times(clock: clock) }
    }
  }

  private func refusal(_ access: ConsoleAccess, host: String? = nil, user: String? = nil) -> ConsoleStatus? {
    var head = RequestHead(method: "GET", path: "/", keepsAlive: true, hasBody: false)
    head.host = host
    head.authorization = user.map { "Basic " + Data($0.utf8).base64EncodedString() }
    return access.refusal(of: head)
  }

  @Test func onlyThisHostReachesLoopback() {
    func isLocal(_ address: String) -> Bool {
      var settings = ExplorerSettings()
      settings.address = address
      return settings.isLocal
    }
    for address in ["127.0.0.1", "127.8.9.10", "::1", "localhost"] { #expect(isLocal(address), "\(address)") }
    for address in [
      "0.0.0.0", "::", "", "127", "127.0.0", "127.0.0.256", "127.0.0.1.example", "127.0.0.1.5", "128.0.0.1",
      "localhost.example", "10.127.0.1", "::2",
    ] { #expect(!isLocal(address), "\(address)") }
  }

  /// The table of the console's metrics in docs/console.md is that of the code.
  @Test func theExplorersMetricsAreDocumented() throws {
    let file = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent().appending(path: "docs/console.md")
    let lines = try String(contentsOf: file, encoding: .utf8).split(separator: "\n")
    let documented = lines.filter { $0.hasPrefix("| `tailrace_explorer_") }.map(String.init)
    #expect(
      documented
        == ExplorerMetric.table.map { each in
          let labels = each.metric.labels.map { "`\($0)`" }.joined(separator: ", ")
          return "| `\(each.metric.name)` | \(each.metric.kind.rawValue) | \(labels) | \(each.metric.help) |"
        })
  }

  @Test func passwordsAreCompared() {
    let access = ConsoleAccess(passwords: ["ann": "se:cret", "bob": "x"])
    #expect(refusal(access, user: "ann:se:cret") == nil)
    #expect(refusal(access, user: "bob:x") == nil)
    for user in [nil, "", "ann", "ann:", "ann:se:cre", "ann:se:crett", "ann:x", "carl:x", "carl:", ":"] {
      #expect(refusal(access, user: user) == .unauthorized, "\(user ?? "nobody")")
    }
    var head = RequestHead(method: "GET", path: "/", keepsAlive: true, hasBody: false)
    for field in ["Basic !", "Bearer abc", "basic"] {
      head.authorization = field
      #expect(access.refusal(of: head) == .unauthorized)
    }
  }

  @Test func otherSitesNamesAreRefused() {
    let access = ConsoleAccess(refusesForeignHosts: true)
    for host in [nil, "localhost", "localhost:8090", "127.0.0.1:80", "[::1]:80", "192.168.1.2", "LOCALHOST"] {
      #expect(refusal(access, host: host) == nil, "\(host ?? "none")")
    }
    for host in ["evil.example", "localhost.evil.example:80", "1.2.3.4.evil.example", "127.0.0.1.nip.io", ""]
    {
      #expect(refusal(access, host: host) == .forbidden, "\(host)")
    }
    #expect(refusal(.everybody, host: "evil.example") == nil)
  }

  @Test func filesOfPasswordsAreRead() throws {
    #expect(
      try ExplorerSettings.passwords(inFile: "# a\n\nann:b:c\r\nbob:d\n") == ["ann": "b:c", "bob": "d"])
    for text in ["", "# nobody", "ann", "ann:", ":b", "a:b\na:c"] {
      #expect(throws: ConsoleFailure.self) { try ExplorerSettings.passwords(inFile: text) }
    }
  }

  /// The list in C is the folder.
  @Test func allStaticFilesAreInTheProgram() throws {
    let here = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
    let folder = here.appendingPathComponent("../../Sources/CConsolePages/pages").standardizedFileURL
    let names = try FileManager.default.contentsOfDirectory(atPath: folder.path)
    #expect(Set(StaticPages.files.keys) == Set(names))
    for name in names {
      let bytes = try Data(contentsOf: folder.appendingPathComponent(name))
      #expect(StaticPages.files[name] == Array(bytes), "\(name)")
      #expect(
        StaticPages.page(name)?.contentType.hasPrefix("application/octet") == false, "\(name) has no type")
    }
    #expect(StaticPages.page("none") == nil)
  }

  @Test func unchangedPagesAreNotSentAgain() throws {
    let page = ConsolePage(try #require(StaticPages.page("index.html")))
    let etag = try #require(page.etag)
    #expect(page.unless(changedFrom: etag).status == .notModified)
    #expect(page.unless(changedFrom: "\"other\", \(etag)").body.readableBytes == 0)
    #expect(page.unless(changedFrom: "\"other\"").status == .ok)
    #expect(page.unless(changedFrom: nil).status == .ok)
    #expect(ConsolePage(ConsoleResponse(body: "x")).unless(changedFrom: etag).status == .ok)
  }
}

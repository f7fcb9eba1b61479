// The house rules, checked on every file of the tree; and the rules themselves, checked on small samples.

import Testing

@Suite struct TidyTests {
  @Test func thereIsATreeToCheck() {
    #expect(SourceTree.sources.contains { $0.path == "Sources/OTLP/Scanner/RecordScanner.swift" })
    #expect(SourceTree.swift.contains { $0.path == "Tests/TidyTests/TidyTests.swift" })
  }

  @Test func modulesImportOnlyWhatTheyMay() {
    #expect(SourceTree.sources.flatMap(Rules.checkImports) == [])
  }

  /// The package, the table of imports and ARCHITECTURE.md's table of modules agree.
  @Test func modulesAreDescribedAsTheyAre() throws {
    let package = try #require(SourceTree.file("Package.swift")).targetDependencies
    let page = try #require(SourceTree.file("ARCHITECTURE.md")).moduleTable
    let modules = Set(Rules.imports.keys)
    for (module, imports) in Rules.imports {
      let allowed = imports.intersection(modules)
      #expect(package[module]?.intersection(modules) == allowed, "Package.swift: \(module)")
      #expect(page[module] == allowed, "ARCHITECTURE.md: \(module)")
    }
    let top = try #require(package["tailrace"]).intersection(modules)
    #expect(modules.subtracting(top) == page["tailrace"])
    #expect(Set(page.keys) == modules.union(["tailrace"]))
  }

  @Test func nothingIsLeftOver() {
    #expect(SourceTree.swift.flatMap(Rules.checkLeftovers) == [])
    #expect(SourceTree.files.flatMap(Rules.checkMergeMarkers) == [])
  }

  @Test func sourcesTakeNoBannedStep() {
    #expect(SourceTree.sources.flatMap(Rules.checkBannedCode) == [])
  }

  @Test func linesAreShort() {
    #expect(SourceTree.swift.flatMap(Rules.checkColumns) == [])
  }

  @Test func functionsAreShort() {
    #expect(SourceTree.swift.flatMap(Rules.checkFunctionLengths) == [])
  }

  @Test func filesOpenWithTheirJob() {
    #expect(SourceTree.swift.flatMap(Rules.checkOpening) == [])
  }

  @Test func namesSaySomething() {
    #expect(SourceTree.swift.flatMap(Rules.checkNames) == [])
  }

  @Test func unsafeStepsHaveTheirProof() {
    #expect(SourceTree.sources.flatMap(Rules.checkUnsafe) == [])
  }

  @Test func nothingIsDead() {
    #expect(Rules.checkDeadCode(SourceTree.sources) == [])
    // Each excuse is needed: without it the name would be found.
    let found = Rules.checkDeadCode(SourceTree.sources, usedFromOutside: []).map(\.what)
    #expect(Rules.usedFromOutside.keys.filter { !found.contains("nothing uses \($0)") } == [])
  }

  /// The code of the article is in a file that is compiled and tested.
  @Test func theArticlesCodeIsTheTests() throws {
    func lines(_ path: String) throws -> [String] {
      try #require(SourceTree.files.first { $0.path == path }).lines
    }
    let article = try lines("Sources/Sampling/Sampling.docc/Embedding.md")
    let code = article.drop { $0 != "```swift" }.dropFirst().prefix { $0 != "```" }
    #expect(try Array(code) == lines("Tests/SamplingTests/EmbeddedSampler.swift").dropFirst(2).dropLast())
  }

  @Test func noFileKnowsAMachine() {
    #expect(SourceTree.files.flatMap(Rules.checkPaths) == [])
  }
}

@Suite struct RuleTests {
  @Test(arguments: [
    ("Sources/OTLP/A.swift", "import Foundation", 1), ("Sources/Sampling/A.swift", "public import OTLP", 0),
    ("Sources/Sampling/A.swift", "internal import Kafka", 1), ("Sources/Kafka/A.swift", "import CRdKafka", 0),
    ("Sources/Kafka/A.swift", "@preconcurrency import Foundation", 1),
    ("Sources/Sampling/A.swift", "import struct Foundation.Data", 1),
    ("Sources/tailrace/A.swift", "import Any", 0),
    ("Sources/Unheard/A.swift", "", 1), ("Tests/OTLPTests/A.swift", "import Foundation", 0),
    ("Sources/OTLP/A.swift", "// import Foundation", 0),
  ])
  func importsAreRead(_ path: String, _ text: String, _ count: Int) {
    #expect(Rules.checkImports(SourceFile(path: path, text: text)).count == count)
  }

  @Test(arguments: [
    ("let a = try! b()", 1), ("let a = b as! C", 1), ("// try! is banned", 0), ("let a = \"try!\"", 0),
    ("a.unsafelyUnwrapped", 1), ("try await Task.sleep(for: b)", 1), ("let was = !a", 0), ("a as? B", 0),
  ])
  func bannedStepsAreSeen(_ text: String, _ count: Int) {
    #expect(Rules.checkBannedCode(file(text)).count == count)
  }

  @Test func leftoversAreSeenInComments() {
    #expect(Rules.checkLeftovers(file("// " + "TO" + "DO: more")).count == 1)
    #expect(Rules.checkLeftovers(file("// to do: more")).isEmpty)
    #expect(Rules.checkMergeMarkers(file(String(repeating: "<", count: 7) + " HEAD")).count == 1)
    #expect(Rules.checkMergeMarkers(file("a <<<<<<< b")).isEmpty)
  }

  @Test func columnsAreCounted() {
    let name = String(repeating: "a", count: 200)
    #expect(Rules.checkColumns(file(String(name.prefix(110)))).isEmpty)
    #expect(Rules.checkColumns(file(String(name.prefix(111)))).count == 1)
    #expect(Rules.checkColumns(file("// " + name.prefix(107))).isEmpty)
    #expect(Rules.checkColumns(file("// " + name.prefix(108))).count == 1)
  }

  @Test(arguments: [
    "func a() {", "private init(b: Int = { 1 }()) {", "static func a<B>(", "var a: Int {", "deinit {",
  ])
  func functionsAreMeasured(_ opening: String) {
    let head = opening.hasSuffix("(") ? opening + "\n    b: B\n  ) throws -> Int where B: C {" : opening
    let lines = head.split(separator: "\n").count + 1
    for count in [70, 71] {
      let body = Array(repeating: "    if b { c() } // {", count: count - lines).joined(separator: "\n")
      let text = "struct D {\n  func short() {}\n  \(head)\n\(body)\n  }\n}"
      #expect(Rules.checkFunctionLengths(file(text)).count == count - 70, "\(count) lines")
    }
  }

  @Test func requirementsOfProtocolsHaveNoLength() {
    let requirements = Array(repeating: "  func a()", count: 100).joined(separator: "\n")
    #expect(Rules.checkFunctionLengths(file("protocol P {\n\(requirements)\n}")).isEmpty)
  }

  @Test(arguments: [
    ("// Reads what is written.\n", 0), ("import OTLP\n", 1), ("//\n//  A.swift\n", 1), ("// A.swift\n", 1),

    ("", 1),
  ])
  func openingsAreRead(_ text: String, _ count: Int) {
    #expect(Rules.checkOpening(file(text)).count == count)
  }

  @Test func emptyNamesAreSeen() {
    #expect(Rules.checkNames(file("struct Thing" + "Manager {}")).count == 1)
    #expect(Rules.checkNames(SourceFile(path: "Sources/OTLP/String" + "Utils.swift", text: "")).count == 1)
    #expect(Rules.checkNames(file("struct Managed {}")).isEmpty)
  }

  @Test(arguments: [
    ("func a() {\n  unsafe b()\n}", 1), ("func a() {\n  // Sound: it is.\n  unsafe b()\n}", 0),
    ("/// Sound: it is.\nfunc a() {\n  unsafe b()\n}", 0),
    ("// Sound: all of it.\nstruct A {\n  func a() {\n    unsafe b()\n  }\n}", 0),
    ("func c() {\n  // Sound: this one.\n  unsafe b()\n}\n\nfunc d() {}\n\nfunc a() {\n  unsafe b()\n}", 1),
    ("// unsafe is a word", 0), ("func a() {\n  // It is fine.\n  unsafe b()\n}", 1),
    ("// Sound: nobody else has it.\nnonisolated(unsafe) let a = 1", 0), ("nonisolated(unsafe) let a = 1", 1),
  ])
  func proofsAreFound(_ text: String, _ count: Int) {
    #expect(Rules.checkUnsafe(file(text)).count == count)
  }

  @Test func deadCodeIsSeen() {
    let error = """
      public struct KafkaError: Error {
        public var isStaleMember: Bool { known == .staleMember }
        private static func text(_ known: Known) -> String { "" }
        private(set) var place = 0, known: Known
        enum Known { case staleMember, other(code: Int), late }
      }
      """
    let user = """
      struct User {
        // Not isStaleMember.
        func use(_ error: KafkaError) { note("isStaleMember \\(error.place)") }
        func note(_ text: String) {
          switch self { case late: use(.other(code: 1)) }
        }
      }
      """
    let files = [
      SourceFile(path: "Sources/Kafka/KafkaError.swift", text: error),
      SourceFile(path: "Sources/Kafka/User.swift", text: user),
      SourceFile(path: "Sources/Console/Other.swift", text: "private protocol User { var place: Int }"),
    ]
    let found = Rules.checkDeadCode(files)
    #expect(
      found.map(\.description) == [
        "Sources/Kafka/KafkaError.swift:2: nothing uses isStaleMember",
        // `text` is used, but by another file.
        "Sources/Kafka/KafkaError.swift:3: nothing uses text",
        "Sources/Kafka/User.swift:1: nothing uses User",
        "Sources/Console/Other.swift:1: nothing uses User",
      ])
  }

  @Test(arguments: [
    ("case .a: b()", 0), ("case a, b: c()", 0), ("case let d = e:", 0), ("if let unused = b {", 0),
    ("case Type.name(let a,", 0), ("enum A: String {\n  case b\n}\nlet c = A(d)", 1),
    ("case a(b: Int), c", 2), ("static func == (a: A, b: A) -> Bool", 0), ("@a(b) static func c()", 1),
    ("func `default`()", 1), ("func a() { a() }", 0), ("let a = \"\\(a)\"", 0), ("public typealias A = B", 1),
  ])
  func declarationsAreRead(_ text: String, _ count: Int) {
    #expect(Rules.checkDeadCode([file(text)]).count == count, "\(Rules.checkDeadCode([file(text)]))")
  }

  @Test func pathsAreSeen() {
    let root = "/t" + "mp/"
    #expect(Rules.checkPaths(file("let a = \"\(root)b\"")).count == 1)
    #expect(Rules.checkPaths(file("see https://host\(root)b")).isEmpty)
    #expect(Rules.checkPaths(file("let a = \"some\(root)b\"")).isEmpty)
  }

  private func file(_ text: String) -> SourceFile {
    SourceFile(path: "Sources/OTLP/A.swift", text: text)
  }
}

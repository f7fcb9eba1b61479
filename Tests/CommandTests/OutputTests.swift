// Commands' output: whole or not at all, never over their input, and never lost silently.

import Foundation
import Testing

@Suite struct OutputTests {
  private let directory: WorkingDirectory

  init() throws {
    directory = try WorkingDirectory()
    #expect(try CommandRun("generate", "-o", directory.path("a.otlp"), "--traces", "20").exitCode == 0)
  }

  private var names: [String] {
    get throws { try FileManager.default.contentsOfDirectory(atPath: directory.path("")).sorted() }
  }

  // MARK: One file under two names

  @Test(arguments: ["a.otlp", "./a.otlp", "hard", "soft", "to-folder/a.otlp"])
  func aRecordingIsNotWrittenOver(_ name: String) throws {
    let files = FileManager.default
    try files.linkItem(atPath: directory.path("a.otlp"), toPath: directory.path("hard"))
    try files.createSymbolicLink(atPath: directory.path("soft"), withDestinationPath: "a.otlp")
    try files.createSymbolicLink(atPath: directory.path("to-folder"), withDestinationPath: ".")
    let before = try directory.data("a.otlp")
    for option in ["--sampled", "--decisions"] {
      let run = try CommandRun("replay", directory.path("a.otlp"), option, directory.path("") + "/" + name)
      #expect(run.exitCode == 2)
      #expect(run.errors.contains("the recording and \(option) are the same file"), "\(run.errors)")
      #expect(try directory.data("a.otlp") == before)
    }
  }

  @Test func aTopologyIsNotWrittenOver() throws {
    let path = try directory.write("kind: tail-sampling\n", to: "t.yaml")
    let run = try CommandRun("replay", directory.path("a.otlp"), "--topology", path, "--decisions", path)
    #expect(run.exitCode == 2 && run.errors.contains("--topology and --decisions are the same file"))
    #expect(try directory.text("t.yaml") == "kind: tail-sampling\n")
  }

  @Test(arguments: [
    ["replay", "a.otlp", "--decisions", "x", "--sampled", "./x"],
    ["replay", "a.otlp", "--decisions", "-", "--sampled", "-"],
    ["replay", "a.otlp", "--decisions", "/dev/stdout", "--sampled", "-"],
    ["generate", "-o", "x", "--truth", "x"], ["generate", "-o", "-", "--truth", "/dev/fd/1"],
    ["replay", "-", "--topology", "-"],
  ])
  func twoOutputsMayNotShareAFile(_ arguments: [String]) throws {
    let words = arguments.map { "'\($0)'" }.joined(separator: " ")
    let run = try CommandRun(
      shell: "cd '\(directory.path(""))' && \"$TAILRACE\" \(words) | cat; exit ${PIPESTATUS:-0}")
    #expect(["the same file", "both standard input"].contains { run.errors.contains($0) }, "\(run.errors)")
    #expect(run.output.isEmpty)
    #expect(try names == ["a.otlp"])
  }

  @Test func standardInputAndTheReportCount() throws {
    let script = "cd '\(directory.path(""))'; \"$TAILRACE\" replay - --sampled a.otlp < a.otlp; echo $?;"
    #expect(try CommandRun(shell: script).output == "2\n")
    let appended = try CommandRun(
      shell: "cd '\(directory.path(""))'; \"$TAILRACE\" replay a.otlp >> a.otlp; echo $?")
    #expect(appended.output == "2\n")
  }

  @Test func theNullDeviceMayBeNamedTwice() throws {
    let run = try CommandRun(
      "replay", directory.path("a.otlp"), "--decisions", "/dev/null", "--sampled", "/dev/null")
    #expect(run.exitCode == 0)
  }

  // MARK: Whole or not at all

  @Test func aFailedCommandLeavesTheOldFile() throws {
    _ = try directory.write("as it was", to: "d")
    let run = try CommandRun(
      "replay", directory.path("a.otlp"), "--decisions", directory.path("d"), "--sampled", "/dev/full")
    #expect(run.exitCode == 1)
    #expect(run.errors == "tailrace: /dev/full: No space left on device\n")
    #expect(try directory.text("d") == "as it was")
    #expect(try names == ["a.otlp", "d"])
  }

  @Test func theFileThatCouldNotBeWrittenIsNamed() throws {
    let (input, missing) = (directory.path("a.otlp"), directory.path("no/such"))
    for arguments in [
      ["replay", input, "--decisions", missing], ["replay", input, "--sampled", missing],
      ["generate", "-o", directory.path("b"), "--truth", missing, "--traces", "1"],
      ["generate", "-o", missing, "--truth", directory.path("t"), "--traces", "1"],
      ["report", "--intervals", "240", "--output", missing],
      ["bench-scaling", "--quick", "--passes", "1", "--csv", missing],
    ] {
      let run = try CommandRun(arguments)
      #expect(run.exitCode == 1)
      #expect(run.errors == "tailrace: \(missing): No such file or directory\n", "\(arguments)")
    }
    #expect(try names == ["a.otlp"])
    let folder = try CommandRun("replay", directory.path(""))
    #expect(folder.exitCode == 1 && folder.errors.hasSuffix(": Is a directory\n"))
  }

  @Test func theTargetOfALinkIsReplacedAndKeepsItsPermissions() throws {
    _ = try directory.write("old", to: "target")
    let files = FileManager.default
    try files.setAttributes([.posixPermissions: 0o640], ofItemAtPath: directory.path("target"))
    try files.createSymbolicLink(atPath: directory.path("link"), withDestinationPath: "target")
    #expect(try CommandRun("generate", "-o", directory.path("link"), "--traces", "20").exitCode == 0)
    #expect(try directory.data("target") == directory.data("a.otlp"))
    #expect(try files.destinationOfSymbolicLink(atPath: directory.path("link")) == "target")
    let rights = try files.attributesOfItem(atPath: directory.path("target"))[.posixPermissions] as? Int
    #expect(rights == 0o640)
  }

  // MARK: Standard input and output

  @Test func aDashIsStandardInputOrOutput() throws {
    let expected = directory.path("expected")
    #expect(
      try CommandRun("replay", directory.path("a.otlp"), "--sampled", expected, "--json").exitCode == 0)
    let run = try CommandRun(
      shell:
        "cat '\(directory.path("a.otlp"))' | \"$TAILRACE\" replay - --sampled - > '\(directory.path("s"))'")
    #expect(run.exitCode == 0)
    #expect(try directory.data("s") == directory.data("expected"))
    #expect(run.errors.contains("traces     20 decided"), "the report goes to standard error")
    let generated = try CommandRun(
      shell: "\"$TAILRACE\" generate -o - --traces 20 | cmp - '\(directory.path("a.otlp"))'")
    #expect(generated.exitCode == 0)
    let checked = try CommandRun(shell: "echo 'kind: tail-sampling' | \"$TAILRACE\" check -")
    #expect(checked.exitCode == 0 && checked.output.contains("kind: tail-sampling"))
    let piped = try CommandRun(
      shell: "echo 'kind: tail-sampling' | \"$TAILRACE\" replay '\(directory.path("a.otlp"))' --topology -")
    #expect(piped.exitCode == 0)
  }

  @Test(arguments: [
    "replay a.otlp", "replay a.otlp --json", "check t.yaml", "version", "--version", "--help", "help replay",
    "generate -o b --traces 1", "generate -o - --traces 1", "plan-capacity --requests-per-second 1",
    "report --intervals 240 --services 20 -o -", "simulate --steps 10", "--generate-completion-script bash",
    "check --import-collector c.yaml", "bench --passes 1 --open-traces 10 --spans-per-pass 1 --only scan",
  ])
  func aFullDiskOnStandardOutputIsAFailure(_ words: String) throws {
    _ = try directory.write("kind: tail-sampling\n", to: "t.yaml")
    _ = try directory.write(
      "processors: {tail_sampling: {policies: [{name: a, type: always_sample}]}}\n", to: "c.yaml")
    let run = try CommandRun(
      shell: "cd '\(directory.path(""))' && exec \"$TAILRACE\" \(words) > /dev/full")
    #expect(run.exitCode == 1)
    #expect(run.errors.contains("tailrace: standard output: No space left on device\n"), "\(run.errors)")
  }

  /// As the shell's own programs do, even if the signal is ignored.
  @Test(arguments: ["", "trap '' PIPE;"])
  func aClosedPipeEndsItQuietly(_ before: String) throws {
    let run = try CommandRun(
      shell: "\(before) { \"$TAILRACE\" generate -o - --traces 300; echo $? >&2; } | head -c 1 > /dev/null")
    #expect(run.errors == "141\n")
  }

  // MARK: Progress

  @Test func progressIsShownOnATerminalOnly() throws {
    let command = "\"$TAILRACE\" generate -o '\(directory.path("b"))' --traces 300"
    func onTerminal(_ words: String) throws -> CommandRun {
      try CommandRun(
        shell: "COMMAND='\(words.replacing("'", with: "'\\''"))'; script -qec \"$COMMAND\" /dev/null")
    }
    let shown = try onTerminal(command)
    #expect(shown.exitCode == 0, "\(shown.errors)")
    #expect(
      shown.output.contains(" % ") && shown.output.contains(" traces") && shown.output.contains("\u{1b}[2K"))
    let quiet = try onTerminal(command + " --quiet")
    #expect(!quiet.output.contains("\u{1b}") && quiet.output.contains("300 traces, "))
    #expect(try CommandRun(shell: command).errors.isEmpty)
    let replay = try onTerminal("\"$TAILRACE\" replay '\(directory.path("b"))'")
    #expect(replay.output.contains(" % ") && replay.output.contains(" records"))
  }
}

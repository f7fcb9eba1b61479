// Help, usage errors, topology files: every command's exit codes and messages.

import Testing

@Suite struct UsageTests {
  @Test(arguments: [
    "", "run", "demo", "check", "replay", "record", "plan", "explain", "console", "generate", "bench",
    "bench-scaling",
    "bench-kafka",
    "plan-capacity",
    "simulate", "report", "version",
  ])
  func helpIsASuccess(_ command: String) throws {
    let run = try CommandRun((command.isEmpty ? [] : [command]) + ["--help"])
    #expect(run.exitCode == 0)
    #expect(run.output.contains("USAGE: tailrace \(command)"))
    #expect(run.errors.isEmpty)
  }

  @Test func theVersionIsPrinted() throws {
    for word in ["--version", "version"] {
      let run = try CommandRun(word)
      #expect(run.exitCode == 0)
      #expect(run.output.wholeMatch(of: /\d+\.\d+\.\d+\n/) != nil)
    }
  }

  @Test(arguments: ["bash", "zsh", "fish"]) func completionsAreMade(_ shell: String) throws {
    let run = try CommandRun("--generate-completion-script", shell)
    #expect(run.exitCode == 0 && run.errors.isEmpty)
    #expect(run.output.contains("plan-capacity"))
  }

  @Test(arguments: [
    ["nonsense"], ["run"], ["check"], ["replay"], ["generate"], ["replay", "a", "--no-such-option"],
    ["demo", "--duration", "soon"], ["demo", "--rate", "0"], ["demo", "--partitions", "65"],
    ["bench", "--passes", "0"], ["bench", "--open-traces", "many"], ["generate", "-o", "a", "--errors", "2"],
    ["generate", "-o", "a", "--traces", "0"], ["generate", "-o", "a", "--spans-per-trace", "1e30"],
    ["generate", "-o", "a", "--rate", "1e-300"], ["generate", "-o", "a", "--rate", "inf"],
    ["generate", "-o", "a", "--spans-per-trace", "inf"], ["bench", "--spans-per-trace", "1e30"],
    ["bench", "--spans-per-record", "0"],
    ["generate", "-o", "a", "--live"],
    ["bench", "--open-traces", "9223372036854775807"], ["bench", "--passes", "9223372036854775807"],
    ["bench", "--compress-above", "-1"], ["report", "--intervals", "9223372036854775807"],
    ["report", "--services", "9223372036854775807"], ["report", "--partitions", "9223372036854775807"],
    ["simulate", "--seeds", "18446744073709551615"], ["simulate", "--seed", "18446744073709551615"],
    ["simulate", "--seeds", "0"], ["bench-scaling", "--passes", "9223372036854775807"],
    ["bench-kafka", "--live", "0"], ["bench-kafka", "--live", "1000", "--seconds", "0"],
    ["bench-kafka", "--live", "1000", "--spans-per-trace", "0"],
    ["console"], ["console", "t.yaml", "--port", "65536"], ["console", "t.yaml", "--from", "17"],
    ["console", "t.yaml", "--memory", "much"], ["console", "t.yaml", "--memory", "1KiB"],
    ["console", "t.yaml", "--address", "0.0.0.0"],
    ["console", "t.yaml", "--address", "0.0.0.0", "--auth-file", "a"],
    ["console", "t.yaml", "--tls-certificate", "a"], ["console", "t.yaml", "--tls-key", "a"],
    ["console", "t.yaml", "--tls-certificate", "a", "--tls-key", "b", "--plain-http"],
    ["console", "t.yaml", "--allow-anyone", "--auth-file", "a"],
    ["record"], ["record", "explain", "t.yaml"], ["record", "t.yaml", "-o", "a", "--from", "yesterday"],
    ["record", "explain", "t.yaml", "-o", "a", "--partitions", "3-1"],
    ["record", "explain", "t.yaml", "-o", "a", "--max-bytes", "much"],
    ["record", "explain", "t.yaml", "-o", "a", "--follow", "--to", "-1m"],
    ["record", "explain", "t.yaml", "-o", "a", "--anonymise"],
    ["record", "t.yaml", "-o", "a", "--keep-names", "services"],
    ["record", "t.yaml", "-o", "a", "--anonymise", "--key-file", "k", "--keep-names", "services,people"],
    ["record", "t.yaml", "-o", "a", "--anonymise", "--key-file", "k", "--keep-names", ""],
    ["record", "t.yaml", "-o", "a", "--patience", "long"],
    ["generate", "--topic", "a", "--wait", "soon"], ["run", "a.yaml", "--log-level", "loud"],
  ])
  func usageErrorsExitWithTwo(_ arguments: [String]) throws {
    let run = try CommandRun(arguments)
    #expect(run.exitCode == 2)
    #expect(run.errors.contains("Error: "))
    #expect(run.output.isEmpty)
  }

  /// No one listens on port 1.
  @Test(arguments: [[], ["--live"]]) func generatingWaitsForBrokersAndSaysSo(_ more: [String]) throws {
    let run = try CommandRun(
      ["generate", "--topic", "spans", "--brokers", "127.0.0.1:1", "--wait", "4s"] + more)
    #expect(run.exitCode == 1)
    let lines = run.errors.split(separator: "\n")
    #expect(lines.first?.hasPrefix("no answer from the brokers at 127.0.0.1:1 ") == true, "\(run.errors)")
    #expect(lines.last?.contains("--wait") == true && lines.count <= 3)
    #expect(run.output.isEmpty)
  }

  @Test(arguments: ["tail-sampling", "repartition", "export"])
  func theShippedTopologiesAreValid(_ name: String) throws {
    let run = try CommandRun("check", shippedTopology(name))
    #expect(run.exitCode == 0)
    #expect(run.output.contains("kind: \(name)"))
    let quiet = try CommandRun("check", "--quiet", shippedTopology(name))
    #expect(quiet.exitCode == 0 && quiet.output.isEmpty && quiet.errors.isEmpty)
  }

  @Test func checkedTopologiesHideSecretsAndReadBack() throws {
    let directory = try WorkingDirectory()
    let path = try directory.write(
      "kind: tail-sampling\nkafka:\n  sasl.password: ${TAILRACE_TEST_SECRET}\n", to: "t.yaml")
    let run = try CommandRun(["check", path], environment: ["TAILRACE_TEST_SECRET": "hunter2"])
    #expect(run.exitCode == 0)
    #expect(!run.output.contains("hunter2"))
    #expect(run.output.contains("sasl.password"))
    let again = try CommandRun("check", try directory.write(run.output, to: "again.yaml"))
    #expect(again.exitCode == 0)
    #expect(again.output == run.output)
    let unset = try CommandRun("check", path)
    #expect(unset.exitCode == 2)
    #expect(unset.errors.contains("\(path):3:"))
    #expect(unset.errors.contains("TAILRACE_TEST_SECRET"))
  }

  @Test(arguments: ["check", "run", "replay"])
  func anInvalidTopologyExitsWithTwoAndItsLines(_ command: String) throws {
    let directory = try WorkingDirectory()
    let path = try directory.write(
      "kind: tail-sampling\nwindows:\n  decision_wiat: 30s\nlimits: {memory: lots}\n", to: "wrong.yaml")
    let recording = try directory.write("", to: "empty.otlp")
    let run = try CommandRun(
      command == "replay" ? [command, recording, "--topology", path] : [command, path])
    #expect(run.exitCode == 2)
    let lines = run.errors.split(separator: "\n")
    #expect(lines.contains { $0.hasPrefix("tailrace: \(path):3:") && $0.contains("decision_wait") })
    #expect(lines.contains { $0.hasPrefix("tailrace: \(path):4:") && $0.contains("memory") })
    #expect(run.output.isEmpty)
  }

  @Test func aMissingTopologyExitsWithTwo() throws {
    let run = try CommandRun("check", "no-such-file.yaml")
    #expect(run.exitCode == 2)
    #expect(run.errors.contains("no-such-file.yaml"))
    #expect(run.errors.split(separator: "\n").count == 1)
  }

  @Test func replayNeedsATailSamplingTopology() throws {
    let directory = try WorkingDirectory()
    let recording = try directory.write("", to: "empty.otlp")
    let run = try CommandRun("replay", recording, "--topology", shippedTopology("repartition"))
    #expect(run.exitCode == 2)
    #expect(run.errors.contains("tail-sampling"))
  }

  /// The error is found without a broker.
  @Test func unknownLibrdkafkaPropertiesExitWithTwo() throws {
    let directory = try WorkingDirectory()
    let path = try directory.write(
      "kind: repartition\nkafka:\n  bootstrap.servers: 127.0.0.1:1\n  no.such.property: 1\n", to: "t.yaml")
    let run = try CommandRun("check", "--connect", "--quiet", path)
    #expect(run.exitCode == 2)
    #expect(run.errors.contains(path))
    #expect(run.errors.contains("no.such.property"))
  }

  /// A worker would end at once, so `check` reports it, without connecting.
  @Test(arguments: [["check"], ["check", "--resolve"], ["run"]])
  func clientsThatCannotBeMadeExitWithTwo(_ command: [String]) throws {
    let directory = try WorkingDirectory()
    for properties in [
      "{security.protocol: SASL_SSL, sasl.mechanism: PLAIN, sasl.username: u, sasl.password: p, "
        + "ssl.ca.location: /does/not/exist}",
      "{acks: 1}", "{session.timeout.ms: 600000}",
    ] {
      let path = try directory.write("kind: tail-sampling\nkafka: \(properties)\n", to: "t.yaml")
      let run = try CommandRun(command + [path])
      // Files are opened on request.
      guard command != ["check"] || !properties.contains("ssl.ca") else {
        #expect(run.exitCode == 0)
        continue
      }
      #expect(run.exitCode == 2, "\(properties)")
      #expect(run.output.isEmpty)
      #expect(run.errors.hasPrefix("tailrace: \(path): kafka: "))
      #expect(run.errors.split(separator: "\n").count == 1, "\(run.errors)")
      #expect(properties.contains("ssl.ca") == run.errors.contains("/does/not/exist"))
    }
  }

  @Test func aCollectorConfigurationIsImported() throws {
    let directory = try WorkingDirectory()
    let path = try directory.write(
      """
      processors:
        tail_sampling:
          num_traces: 100
          policies: [{name: errors, type: status_code, status_code: {status_codes: [ERROR]}}]
      """, to: "collector.yaml")
    let run = try CommandRun("check", "--import-collector", path)
    #expect(run.exitCode == 0)
    #expect(run.errors.contains("\(path):3:processors.tail_sampling.num_traces: not carried over: "))
    let check = try CommandRun("check", try directory.write(run.output, to: "topology.yaml"))
    #expect(check.exitCode == 0)
    #expect(check.output.contains("status_codes: [ERROR]"))
    let none = try CommandRun("check", "--import-collector", shippedTopology("tail-sampling"))
    #expect(none.exitCode == 2 && none.output.isEmpty)
    #expect(none.errors.contains("not a Collector's configuration"))
    let both = try CommandRun("check", path, "--import-collector", path)
    #expect(both.exitCode == 2)
    let taken = try CommandRun("check", path)
    #expect(taken.exitCode == 2 && taken.errors.contains("tailrace check --import-collector \(path)"))
  }

  @Test func refinerysRulesAreImported() throws {
    let directory = try WorkingDirectory()
    let rules = """
      RulesVersion: 2
      Samplers:
        __default__: {DeterministicSampler: {SampleRate: 10}}
        shop:
          RulesBasedSampler:
            Rules:
              - {Name: odd, Drop: true, Conditions: [{Field: meta.odd, Operator: exists}]}
              - {Name: rest, SampleRate: 100}
      """
    let path = try directory.write(rules, to: "rules.yaml")
    let run = try CommandRun("check", "--import-refinery", path)
    #expect(run.exitCode == 3 && run.errors.contains("\(path):7:"))
    let documents = run.output.split(separator: "---\n").map(String.init)
    #expect(documents.count == 2)
    for document in documents {
      #expect(try CommandRun("check", try directory.write(document, to: "t.yaml")).exitCode == 0)
    }
    let none = try CommandRun("check", "--import-refinery", shippedTopology("tail-sampling"))
    #expect(none.exitCode == 2 && none.output.isEmpty)
  }

  /// A policy that can't be imported makes the exit code 3; everything else is printed all the same.
  @Test(arguments: [true, false]) func aPolicyThatCannotBeImportedExitsWithThree(isAlone: Bool) throws {
    let directory = try WorkingDirectory()
    let other = isAlone ? "" : "    - {name: all, type: always_sample}\n"
    let path = try directory.write(
      "tail_sampling:\n  policies:\n    - {name: odd, type: magic}\n\(other)", to: "part.yaml")
    let run = try CommandRun("check", "--import-collector", path)
    #expect(run.exitCode == 3)
    #expect(run.errors.contains("\(path):3:tail_sampling.policies[0].type: policy type 'magic'"))
    #expect(run.errors.contains("tailrace: \(path): 1 policy could not be imported"))
    #expect(run.output.isEmpty == isAlone)
    #expect(try CommandRun("check", "--quiet", "--import-collector", path).exitCode == 3)
  }

  /// When librdkafka waits, its error only reports a timeout: the reasons are in its events.
  @Test(arguments: [
    ("127.0.0.1:1", "Connection refused"), ("no-such-host.invalid:9092", "Failed to resolve"),
    ("127.0.0.1:1,no-such-host.invalid:9092", "Failed to resolve"),
  ])
  func unreachableBrokersAreExplainedAtOnce(_ brokers: String, _ reason: String) throws {
    let directory = try WorkingDirectory()
    let file = try directory.write(
      "kind: tail-sampling\nkafka: {bootstrap.servers: '\(brokers)'}\n", to: "t.yaml")
    let start = ContinuousClock.now
    let run = try CommandRun("check", "--connect", "--quiet", file)
    #expect(run.exitCode == 1)
    #expect(run.errors.contains("no answer from the brokers at \(brokers): ") && run.errors.contains(reason))
    #expect(run.errors.split(separator: "\n").count == 1, "\(run.errors)")
    #expect(ContinuousClock.now - start < .seconds(12), "it does not wait for a quarter of a minute")
  }

  /// An untrusted file: nothing that it names is opened.
  @Test func checkOpensNoFiles() throws {
    let directory = try WorkingDirectory()
    let secret = try directory.write("a secret of this host", to: "secret")
    let properties = [
      "plugin.library.paths": "/no/such/library", "ssl.ca.location": "/no/such/ca",
      "ssl.certificate.location": "/no/such/certificate", "ssl.key.location": "/no/such/key",
      "ssl.keystore.location": "/no/such/keystore", "ssl.engine.location": "/no/such/engine",
      "ssl.crl.location": "/no/such/crl", "sasl.kerberos.keytab": "/no/such/keytab",
      "sasl.kerberos.kinit.cmd": "touch \(directory.path("made"))", "security.protocol": "sasl_ssl",
      "client.id": "${file:\(secret)}",
    ]
    let lines = properties.map { "  \($0.key): '\($0.value)'\n" }.joined()
    let file = try directory.write(
      "kind: tail-sampling\ngroup: ${file:\(secret)}\nkafka:\n\(lines)", to: "t.yaml")
    let checked = try CommandRun("check", file)
    #expect(checked.exitCode == 0, "\(checked.errors)")
    #expect(!checked.output.contains("a secret of this host") && !checked.output.contains("touch"))
    #expect(checked.output.contains("group: \"${file:\(secret)}\"\n"))
    let resolved = try CommandRun("check", "--resolve", file)
    #expect(resolved.exitCode == 2 && resolved.errors.contains("kafka: "), "\(resolved.errors)")
    #expect(throws: (any Error).self) { try directory.data("made") }
  }
}

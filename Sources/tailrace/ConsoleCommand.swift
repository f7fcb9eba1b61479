// tailrace console: a fleet's kept traces in the browser, and for Grafana and Jaeger's UI.

import ArgumentParser
import Console
import Foundation
import Pipeline
import Topology

struct ConsoleCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "console",
    abstract: "Serve a fleet's kept traces: pages, an interface, and Jaeger's query API.",
    discussion: """
      Reads the topology's topics of decisions, kept spans and counts, as any number of consoles may at the \
      same time, and writes nothing. It starts with what the last hour holds; traces are kept in an index of \
      bounded memory, and their spans are read from Kafka when they are asked for.

      It listens on this host only, unless --address says otherwise: then --auth-file names who may read, \
      or --allow-anyone says that something in front of it decides that. Passwords need TLS \
      (--tls-certificate, --tls-key), or a proxy in front of it that ends TLS (--plain-http).
      """)

  @Argument(help: "The topology file.")
  var topology: String

  @Option(name: .long, help: "The address to listen on.")
  var address = "127.0.0.1"

  @Option(name: .long, help: "The port to listen on; 0 for any free one.")
  var port = 8090

  @Option(name: .long, help: "The limit on the index's memory, such as 256MiB.")
  var memory: MemoryArgument = MemoryArgument(bytes: 256 << 20)

  @Option(
    name: .long, parsing: .unconditional,
    help: "Where to begin in the topics: a time, or an age; -1h by default.")
  var from: BoundArgument?

  @Option(name: .long, help: "A file of name:password lines: who may read.")
  var authFile: String?

  @Flag(name: .long, help: "Let anybody who reaches the address read.")
  var allowAnyone = false

  @Option(name: .long, help: "The certificate to answer with over TLS, and its chain: PEM.")
  var tlsCertificate: String?

  @Option(name: .long, help: "The certificate's key: PEM, without a passphrase.")
  var tlsKey: String?

  @Flag(name: .customLong("plain-http"), help: "Ask for passwords without TLS: a proxy in front ends it.")
  var isPlain = false

  func validate() throws {
    guard (0...65_535).contains(port) else { throw ValidationError("--port is from 0 to 65535") }
    guard case .time? = start else { throw ValidationError("--from is a time or an age such as -1h") }
    guard memory.bytes >= 1 << 20 else { throw ValidationError("--memory is at least 1MiB") }
    if authFile != nil, allowAnyone {
      throw ValidationError("--auth-file and --allow-anyone exclude each other")
    }
    guard authFile != nil || allowAnyone || settings.isLocal else {
      throw ValidationError(
        "--address \(address) lets others in: name who may read with --auth-file, or say --allow-anyone")
    }
    guard (tlsCertificate == nil) == (tlsKey == nil) else {
      throw ValidationError("--tls-certificate and --tls-key go together")
    }
    if isPlain, tlsCertificate != nil {
      throw ValidationError("--plain-http and --tls-certificate exclude each other")
    }
    guard authFile == nil || tlsCertificate != nil || isPlain || settings.isLocal else {
      throw ValidationError(
        "passwords would be readable on the way to \(address): give --tls-certificate and --tls-key, or say "
          + "--plain-http if a proxy in front ends TLS")
    }
  }

  private var start: TopicStretch.Bound? {
    from == nil ? BoundArgument(argument: "-1h")?.bound : from?.bound
  }

  private var settings: ExplorerSettings {
    var settings = ExplorerSettings()
    if case .time(let time)? = start { settings.start = time }
    settings.address = address
    settings.port = port
    settings.memoryBytes = memory.bytes
    settings.isOpen = allowAnyone
    return settings
  }

  mutating func run() throws {
    let loaded = try Topology.loaded(from: topology, withClients: true)
    guard case .tailSampling(let sampling) = loaded else {
      throw CommandFailure.misconfigured("\(topology): this command needs a topology of kind tail-sampling")
    }
    var settings = settings
    if let authFile { settings.passwords = try passwords(authFile) }
    if let tlsCertificate, let tlsKey {
      do throws(ConsoleFailure) {
        settings.tls = try ConsoleTLS(certificate: tlsCertificate, key: tlsKey)
      } catch {
        throw CommandFailure.misconfigured("\(error)")
      }
    }
    let explorer: Explorer
    do {
      explorer = try Explorer(sampling, settings, version: Version.text)
    } catch {
      throw CommandFailure.failed("\(error)")
    }
    StandardError.write("console at \(explorer.address)\n")
    let done = DispatchSemaphore(value: 0)
    let signals = Signals.stopping({ StandardError.write("\($0)\n") }) { done.signal() }
    defer { signals.cancel() }
    done.wait()
    explorer.stop()
  }

  private func passwords(_ path: String) throws -> [String: String] {
    guard let data = FileManager.default.contents(atPath: path) else {
      throw CommandFailure.misconfigured("\(path): can't be read")
    }
    do {
      return try ExplorerSettings.passwords(inFile: String(decoding: data, as: UTF8.self))
    } catch {
      throw CommandFailure.misconfigured("\(path): \(error)")
    }
  }
}

/// An amount of memory, such as `256MiB`.
struct MemoryArgument: ExpressibleByArgument {
  let bytes: Int

  init(bytes: Int) {
    self.bytes = bytes
  }

  init?(argument: String) {
    guard let bytes = ByteSizeText.parse(argument) else { return nil }
    self.bytes = bytes
  }

  var defaultValueDescription: String { "\(bytes >> 20)MiB" }
}

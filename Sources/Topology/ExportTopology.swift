// The settings of the export topology.

import Files
internal import Foundation

/// Kept spans of a topic in, requests to a store's OTLP receiver out.
public struct ExportTopology: Equatable, Sendable {
  /// The consumer group's default id.
  public static let groupDefault = "tailrace-export"

  /// The default settings of a worker.
  public static let workerDefault = WorkerSettings(
    group: groupDefault, console: ConsoleSettings(port: ConsoleSettings.exportPort))

  /// Group, lanes, delivery and the connection to Kafka.
  public var worker: WorkerSettings
  /// The topics read and written.
  public var topics: Topics
  /// Larger records are dead-lettered. In bytes.
  public var recordBytesMax: Int
  /// The store, and how it is spoken to.
  public var store: StoreSettings

  /// Makes a topology; the defaults are those of a topology file.
  public init(
    worker: WorkerSettings = ExportTopology.workerDefault, topics: Topics = Topics(),
    recordBytesMax: Int = 4 << 20, store: StoreSettings
  ) {
    self.worker = worker
    self.topics = topics
    self.recordBytesMax = recordBytesMax
    self.store = store
  }

  /// The topics of an export topology; the names differ.
  public struct Topics: Equatable, Sendable {
    /// Whether and how missing topics are created.
    public var creation: TopicCreation
    /// The name of the topic of kept spans, which is read; OTLP protobuf.
    public var sampled: String
    /// The name of the topic of records that can't be read, or that the store refuses.
    public var deadLetters: String

    /// Makes topics; the defaults are those of a topology file.
    public init(
      creation: TopicCreation = TopicCreation(), sampled: String = "sampled",
      deadLetters: String = "sampled.dead-letters"
    ) {
      self.creation = creation
      self.sampled = sampled
      self.deadLetters = deadLetters
    }
  }
}

/// A store that takes spans by OTLP, as the Collector's exporters `otlp_http` and `otlp_grpc` describe it.
public struct StoreSettings: Equatable, Sendable {
  /// How requests are sent.
  public var transport: Transport
  /// Where requests go.
  public var url: StoreURL
  /// Headers of each request, in the file's order. Their values are secrets.
  public var headers: [Header]
  /// How requests are compressed.
  public var compression: Compression
  /// How long a request may take before it is sent again: 100 ms to 10 min.
  public var timeout: Duration
  /// How many requests a lane has under way at once: 1 to 64.
  public var connections: Int
  /// A request is sent once its spans have this many bytes, uncompressed: 1 KiB to 64 MiB,
  public var batchBytes: Int
  /// or once its first record has waited this long: 0 s to 10 s.
  public var batchWait: Duration
  /// The pause before the first retry; it doubles with each one: 10 ms to 10 min,
  public var retryInitial: Duration
  /// up to this: `retryInitial` to 1 h.
  public var retryMax: Duration
  /// How TLS is spoken, if the URL's scheme is `https`.
  public var tls: TLS

  /// Makes settings; the defaults are those of a topology file.
  public init(
    transport: Transport = .http, url: StoreURL, headers: [Header] = [], compression: Compression = .gzip,
    timeout: Duration = .seconds(10), connections: Int = 4, batchBytes: Int = 1 << 20,
    batchWait: Duration = .milliseconds(200), retryInitial: Duration = .milliseconds(500),
    retryMax: Duration = .seconds(30), tls: TLS = TLS()
  ) {
    self.transport = transport
    self.url = url
    self.headers = headers
    self.compression = compression
    self.timeout = timeout
    self.connections = connections
    self.batchBytes = batchBytes
    self.batchWait = batchWait
    self.retryInitial = retryInitial
    self.retryMax = retryMax
    self.tls = tls
  }

  /// What must not appear anywhere, longest first: the headers' values, what follows a scheme in one, and
  /// the name and password that it encodes.
  /// Very short ones are likely to be parts of harmless words.
  package var secretValues: [String] {
    headers.flatMap(\.secrets).filter { $0.utf8.count >= 4 }.sorted { $0.utf8.count > $1.utf8.count }
  }

  /// How requests are sent; the raw value is the section that describes the store.
  public enum Transport: String, Equatable, Sendable, CaseIterable {
    /// Over HTTP/1.1.
    case http = "otlp_http"
    /// By gRPC, over HTTP/2.
    case grpc = "otlp_grpc"
  }

  /// A header of each request. Printing it masks the value.
  public struct Header: Equatable, Sendable, CustomStringConvertible, CustomReflectable {
    /// Its name, a token of HTTP.
    public var name: String
    /// Its value, a secret.
    public var value: String

    /// Makes a header.
    public init(_ name: String, _ value: String) {
      self.name = name
      self.value = value
    }

    /// The name, and a mask.
    public var description: String { "\(name): \(MessageText.mask)" }
    /// The same.
    public var customMirror: Mirror { Mirror(self, children: ["name": name, "value": MessageText.mask]) }

    /// The value, the credentials in it and, where their scheme is Basic (RFC 7617), what they encode: a name
    /// and a password, and the password alone.
    fileprivate var secrets: [String] {
      let parts = value.split(separator: " ", maxSplits: 1)
      guard parts.count == 2 else { return [value] }
      let known = [value, String(parts[1])]
      guard parts[0].lowercased() == "basic", let decoded = Data(base64Encoded: String(parts[1])),
        let pair = String(bytes: decoded, encoding: .utf8)
      else { return known }
      return known + [pair] + pair.split(separator: ":", maxSplits: 1).dropFirst().map(String.init)
    }
  }

  /// How requests are compressed.
  public enum Compression: String, Equatable, Sendable, CaseIterable {
    /// RFC 1952; every OTLP receiver takes it.
    case gzip
    /// RFC 8878; the Collector's receiver takes it.
    case zstd
    /// Not at all.
    case none
  }

  /// How TLS is spoken.
  public struct TLS: Equatable, Sendable {
    /// A PEM file of the authorities that are trusted; nil for the system's.
    public var authoritiesFile: String?
    /// A PEM file with the client's certificate chain; nil for none.
    public var certificateFile: String?
    /// A PEM file with its key: given if and only if the certificate is.
    public var keyFile: String?
    /// The name that the store's certificate must have; nil for the URL's host.
    public var serverName: String?
    /// Whether the store's certificate is not checked.
    public var skipsVerification: Bool

    /// Makes settings; the defaults are those of a topology file.
    public init(
      authoritiesFile: String? = nil, certificateFile: String? = nil, keyFile: String? = nil,
      serverName: String? = nil, skipsVerification: Bool = false
    ) {
      self.authoritiesFile = authoritiesFile
      self.certificateFile = certificateFile
      self.keyFile = keyFile
      self.serverName = serverName
      self.skipsVerification = skipsVerification
    }
  }
}

/// An absolute URL of HTTP, without credentials, query and fragment.
public struct StoreURL: Equatable, Sendable, CustomStringConvertible {
  /// Whether the scheme is `https`.
  public let isSecure: Bool
  /// A name or an address; IPv6 without its brackets.
  public let host: String
  /// The port; the scheme's own if none is given.
  public let port: Int
  /// The path, `/` at least.
  public let path: String

  /// Parses a URL; nil if it is not one, or has other parts.
  public init?(_ text: String) {
    guard let scheme = ["https://", "http://"].first(where: { text.lowercased().hasPrefix($0) }),
      text.utf8.allSatisfy({ (0x21...0x7e).contains($0) }),
      !text.contains(where: { "@?#\"\\<>".contains($0) })
    else { return nil }
    isSecure = scheme == "https://"
    let rest = text.dropFirst(scheme.count)
    let authority = rest.prefix { $0 != "/" }
    let path = rest.dropFirst(authority.count)
    guard TopologyReader.isBroker(String(authority)) else { return nil }
    var host = authority
    var port: Substring?
    // An IPv6 address needs its brackets, or its last group could be a port.
    if authority.first == "[", let end = authority.lastIndex(of: "]") {
      host = authority[authority.index(after: authority.startIndex)..<end]
      let behind = authority[authority.index(after: end)...]
      port = behind.isEmpty ? nil : behind.dropFirst()
    } else {
      guard authority.filter({ $0 == ":" }).count < 2 else { return nil }
      if let colon = authority.lastIndex(of: ":") {
        host = authority[..<colon]
        port = authority[colon...].dropFirst()
      }
    }
    guard let number = port.map({ Int($0) }) ?? (isSecure ? 443 : 80), (1...65_535).contains(number) else {
      return nil
    }
    self.host = String(host)
    self.port = number
    self.path = path.isEmpty ? "/" : String(path)
  }

  /// The host and the port, as a `Host` header and a message name them.
  public var authority: String {
    let name = host.contains(":") ? "[\(host)]" : host
    return port == (isSecure ? 443 : 80) ? name : "\(name):\(port)"
  }

  /// The URL without its path.
  public var base: String { "\(isSecure ? "https" : "http")://\(authority)" }

  /// The URL.
  public var description: String { base + path }
}

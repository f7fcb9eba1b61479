// TLS for the console, where it listens for others.

internal import NIOCore
internal import NIOSSL

/// A server's certificate and key.
public struct ConsoleTLS: Sendable {
  private let context: NIOSSLContext

  /// Reads them: both as PEM, the certificate first in its chain.
  ///
  /// - Throws: `ConsoleFailure` that names the file.
  public init(certificate: String, key: String) throws(ConsoleFailure) {
    let chain: [NIOSSLCertificate]
    do { chain = try NIOSSLCertificate.fromPEMFile(certificate) } catch {
      throw ConsoleFailure(description: "\(certificate): no certificates in PEM can be read from it")
    }
    guard !chain.isEmpty else { throw ConsoleFailure(description: "\(certificate): it has no certificate") }
    let privateKey: NIOSSLPrivateKey
    do { privateKey = try NIOSSLPrivateKey(file: key, format: .pem) } catch {
      throw ConsoleFailure(description: "\(key): no key without a passphrase in PEM can be read from it")
    }
    var settings = TLSConfiguration.makeServerConfiguration(
      certificateChain: chain.map { .certificate($0) }, privateKey: .privateKey(privateKey))
    settings.minimumTLSVersion = .tlsv12
    settings.applicationProtocols = ["http/1.1"]
    do { context = try NIOSSLContext(configuration: settings) } catch {
      throw ConsoleFailure(description: "\(key): it is not the key of \(certificate), or can't be used")
    }
  }

  /// What a connection's bytes pass through.
  func makeHandler() -> any ChannelHandler { NIOSSLServerHandler(context: context) }
}

extension ChannelHandlerContext {
  /// Closes the connection without the farewells of TLS, which a peer could wait for without end.
  func closeAtOnce() {
    guard let tls = try? pipeline.syncOperations.context(handlerType: NIOSSLServerHandler.self) else {
      return close(promise: nil)
    }
    tls.close(promise: nil)
  }
}

extension Error {
  /// Whether the peer and TLS came to no agreement.
  var isFailedHandshake: Bool {
    if case .some(.handshakeFailed) = self as? NIOSSLError { return true }
    return false
  }
}

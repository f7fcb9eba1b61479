// Variables in values: `${NAME}` and `${NAME:-default}` from the environment, `${file:/path}` from a file,
// and `$$` for a dollar.

import Files

/// How a topology file's references to files, `${file:/path}`, are handled.
public enum FileReferences: Sendable {
  /// Files are read: the topology will run here.
  case read
  /// References are left as written and no file is opened: the topology may be for another host, or from
  /// someone who is not trusted with this host's files.
  case leave
}

/// A scalar's text after expansion.
struct ExpandedText {
  /// The text with its variables replaced. It may be a secret: no message shows it.
  var value: String
  /// Whether it contained a variable.
  var hasVariables: Bool
  /// Whether it still contains a reference to a file.
  var hasUnreadFiles = false

  /// Why a text can't be expanded.
  struct Failure: Error {
    let message: String
  }

  /// Expands `raw`. Only parsed scalars are expanded, so that no variable's value is ever read as YAML.
  ///
  /// - Parameters:
  ///   - allowsLoneDollars: whether a dollar that begins neither a variable nor `$$` is a dollar.
  ///   - files: how `${file:/path}` is handled. Nil for a Collector's file, which belongs to another host:
  ///     there it is not a variable.
  init(
    _ raw: String, environment: [String: String], allowsLoneDollars: Bool = false,
    files: FileReferences? = .read
  ) throws(Failure) {
    value = ""
    hasVariables = false
    var rest = raw.unicodeScalars[...]
    while let dollar = rest.firstIndex(of: "$") {
      value.unicodeScalars.append(contentsOf: rest[..<dollar])
      rest = rest[dollar...].dropFirst()
      switch rest.first {
      case "$":
        value += "$"
        rest = rest.dropFirst()
      case "{":
        guard let end = rest.firstIndex(of: "}") else {
          throw Failure(message: "a '${' has no closing '}' (a default can't contain another variable)")
        }
        let body = String(rest[..<end].dropFirst())
        if let files, body.hasPrefix(Self.filePrefix) {
          let path = try Self.path(String(body.dropFirst(Self.filePrefix.count)))
          switch files {
          case .read: value += try Self.text(ofFile: path)
          case .leave:
            value += "${\(body)}"
            hasUnreadFiles = true
          }
        } else {
          value += try Self.lookUp(body, environment: environment)
        }
        hasVariables = true
        rest = rest[end...].dropFirst()
      case _ where allowsLoneDollars:
        value += "$"
      default:
        throw Failure(message: "a lone '$'; write '$$' for a dollar sign, '${NAME}' for a variable")
      }
    }
    value.unicodeScalars.append(contentsOf: rest)
  }

  private static let filePrefix = "file:"
  /// A certificate chain and a key in PEM take a few KiB.
  private static let fileBytesMax = 64 << 10

  private static func path(_ text: String) throws(Failure) -> String {
    guard text.hasPrefix("/") else {
      throw Failure(message: "'${file:…}' needs an absolute path, found \(MessageText.quoted(text))")
    }
    return text
  }

  /// The text of a file, such as a mounted secret, without the newline that most programs leave at its end.
  private static func text(ofFile path: String) throws(Failure) -> String {
    let shown = MessageText.quoted(path)
    let bytes: [UInt8]
    do throws(FileFailure) {
      bytes = try InputFile(path: path).readAll(upTo: fileBytesMax + 1)
    } catch {
      throw Failure(message: "the file \(shown) can't be read: \(error.reason)")
    }
    // librdkafka's strings end at the first zero byte: anything after it would be cut off silently.
    guard bytes.count <= fileBytesMax, !bytes.contains(0),
      let text = String(validating: bytes, as: UTF8.self)
    else {
      throw Failure(message: "the file \(shown) must be UTF-8 text of at most 64 KiB")
    }
    // A line feed, with or without a carriage return, is one character.
    return text.last.map { $0 == "\n" || $0 == "\r\n" } == true ? String(text.dropLast()) : text
  }

  /// The value of the text between `${` and `}`. As in a shell, `:-` also replaces an empty value.
  private static func lookUp(
    _ body: String, environment: [String: String]
  ) throws(Failure) -> String {
    let name = String(
      body.unicodeScalars.prefix { $0.isASCII && ($0.properties.isAlphabetic || isInner($0)) })
    let rest = body.unicodeScalars.dropFirst(name.unicodeScalars.count)
    let isName = name.unicodeScalars.first.map { $0 == "_" || $0.properties.isAlphabetic } ?? false
    guard isName, rest.isEmpty || rest.starts(with: ":-".unicodeScalars) else {
      let shown = MessageText.quoted("${\(body)}")
      throw Failure(message: "\(shown) is not a valid variable; write '${NAME}' or '${NAME:-default}'")
    }
    let given = environment[name]
    if rest.isEmpty {
      guard let given else {
        throw Failure(
          message: "environment variable '\(name)' is not set; set it, or write '${\(name):-default}'")
      }
      return given
    }
    // The default is checked even if unused: a mistake in it must not wait for the day it is needed.
    let fallback = try ExpandedText(String(rest.dropFirst(2)), environment: [:]).value
    return given.flatMap { $0.isEmpty ? nil : $0 } ?? fallback
  }

  private static func isInner(_ scalar: Unicode.Scalar) -> Bool {
    scalar == "_" || ("0"..."9").contains(scalar)
  }
}

// One line of the log, as text for people or as JSON for programs.

internal import Foundation
internal import Logging
internal import OTLP

/// One line of the log.
struct LogLine: Equatable {
  var level: Logger.Level
  var message: String
  /// Sorted by name.
  var fields: [(name: String, value: String)]

  init(_ level: Logger.Level, _ message: String, _ fields: [String: String] = [:]) {
    self.level = level
    self.message = message
    self.fields = fields.sorted { $0.key < $1.key }.map { (name: $0.key, value: $0.value) }
  }

  static func == (left: LogLine, right: LogLine) -> Bool {
    left.level == right.level && left.message == right.message
      && left.fields.elementsEqual(right.fields) { $0.name == $1.name && $0.value == $1.value }
  }

  /// `2026-01-31T23:59:58.001Z info assigned lane=0 partition=3`. Control characters are escaped: a line
  /// stays one line, whatever a producer names its services.
  func text(at time: String) -> String {
    var text = "\(time) \(level.rawValue) \(LogLine.printable(message))"
    for field in fields {
      let value = LogLine.printable(field.value)
      let isBare = !value.isEmpty && !value.contains { $0 == " " || $0 == "\"" || $0 == "=" }
      text += " \(field.name)=\(isBare ? value : LogLine.quoted(field.value))"
    }
    return text + "\n"
  }

  /// `{"time": …, "level": …, "message": …, "fields": {…}}` on one line.
  func json(at time: String) -> String {
    var text = "{\"time\":\(LogLine.quoted(time)),\"level\":\"\(level.rawValue)\""
    text += ",\"message\":\(LogLine.quoted(message))"
    if !fields.isEmpty {
      let pairs = fields.map { "\(LogLine.quoted($0.name)):\(LogLine.quoted($0.value))" }
      text += ",\"fields\":{\(pairs.joined(separator: ","))}"
    }
    return text + "}\n"
  }

  /// A JSON string.
  private static func quoted(_ text: String) -> String {
    var bytes: [UInt8] = []
    bytes.appendJSONString(text)
    return String(decoding: bytes, as: UTF8.self)
  }

  private static func printable(_ text: String) -> String {
    guard text.unicodeScalars.contains(where: isControl) else { return text }
    var printable = ""
    for scalar in text.unicodeScalars {
      if isControl(scalar) {
        printable += "\\u" + Hexadecimal.text(UInt64(scalar.value), digits: 4)
      } else {
        printable.unicodeScalars.append(scalar)
      }
    }
    return printable
  }

  /// Control characters, and those that some readers take for a line break: what JSON strings escape.
  private static func isControl(_ scalar: Unicode.Scalar) -> Bool {
    scalar.properties.generalCategory == .control || scalar == "\u{2028}" || scalar == "\u{2029}"
  }
}

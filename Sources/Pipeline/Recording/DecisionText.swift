// Fields of decision records, read without decoding the whole.

private import Foundation

/// Reads single fields of decision records as this program writes them.
enum DecisionText {
  private static let root = Array(#""root":{"service":""#.utf8)

  /// The service of the root span, as it is written in JSON; nil without a root.
  static func rootService(in record: ArraySlice<UInt8>) -> ArraySlice<UInt8>? {
    guard var end = place(of: root, in: record) else { return nil }
    let start = end
    while end < record.endIndex, record[end] != UInt8(ascii: "\"") {
      end += record[end] == UInt8(ascii: "\\") ? 2 : 1
    }
    return record[start..<min(end, record.endIndex)]
  }

  /// A name that is written in JSON. Records have names of 256 bytes at most.
  static func name(_ json: [UInt8]) -> String {
    guard !json.isEmpty else { return "(no service)" }
    let quoted = Data([UInt8(ascii: "\"")] + json + [UInt8(ascii: "\"")])
    return (try? JSONDecoder().decode(String.self, from: quoted)) ?? String(decoding: json, as: UTF8.self)
  }

  /// The place after the first `text` in `record`. A quotation mark within a name is escaped, so that a name
  /// is not taken for a field.
  private static func place(of text: [UInt8], in record: ArraySlice<UInt8>) -> Int? {
    guard record.count >= text.count else { return nil }
    for place in record.startIndex...record.endIndex - text.count
    where record[place] == text[0] && record[place..<place + text.count].elementsEqual(text) {
      return place + text.count
    }
    return nil
  }
}

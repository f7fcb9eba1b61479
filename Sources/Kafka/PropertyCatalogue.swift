// The properties of the librdkafka in use and their possible values, from its own table.

internal import CRdKafka
internal import Glibc

/// A property of librdkafka, from its own table.
public struct KafkaPropertyDescription: Equatable, Sendable {
  /// Its name.
  public var name: String
  /// The words that it accepts; empty if it accepts other values.
  public var words: [String]
  /// The numbers that it accepts, such as `0 .. 900000`.
  public var range: String?

  /// The properties that can be set as text, by name.
  public static let all: [String: KafkaPropertyDescription] = {
    let rows = table().split(separator: "\n").compactMap { KafkaPropertyDescription(row: $0) }
    // If a property exists for clients and for topics, librdkafka sets the one for clients, which comes
    // first.
    return Dictionary(rows.map { ($0.name, $0) }) { first, _ in first }
  }()

  /// A row has name, kind of client, range, default, importance and description. A property that a dedicated
  /// function sets, such as a callback, can't be set as text.
  private init?(row: Substring) {
    let columns = row.split(separator: "|", maxSplits: 5, omittingEmptySubsequences: false)
    guard columns.count == 6, !columns[5].contains("see dedicated API") else { return nil }
    name = KafkaPropertyDescription.trimmed(columns[0])
    guard name != "Property", !name.hasPrefix("---") else { return nil }
    let values = KafkaPropertyDescription.trimmed(columns[2])
    range = values.contains(" .. ") ? values : nil
    words =
      range == nil && !values.isEmpty
      ? values.split(separator: ",").map { KafkaPropertyDescription.trimmed($0) } : []
  }

  private static func trimmed(_ text: Substring) -> String {
    var text = text.drop { $0 == " " }
    while text.last == " " { text = text.dropLast() }
    return String(text)
  }

  /// librdkafka writes its table to a file, here one in memory.
  private static func table() -> String {
    var bytes: UnsafeMutablePointer<CChar>?
    var count = 0
    guard let file = unsafe open_memstream(&bytes, &count) else { return "" }
    unsafe rd_kafka_conf_properties_show(file)
    // Sound: after the file is closed, `bytes` points to `count` bytes, which are ours to free.
    unsafe fclose(file)
    defer { unsafe free(bytes) }
    return unsafe bytes.map { unsafe String(cString: $0) } ?? ""
  }
}

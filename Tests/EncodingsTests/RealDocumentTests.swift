// Documents of Jaeger and Zipkin that nobody here wrote, held to their manifest.

import Foundation
import OTLP
import Testing

@testable import Encodings

/// A document next to the checkout: the project does not contain them.
private struct RealDocument: CustomTestStringConvertible, Sendable {
  var path: String
  var spans: Int
  var traces: Int
  /// Nil where the manifest does not count them: in documents of one span.
  var links: Int?
  var repeatedIDs: Int

  static let directory = URL(fileURLWithPath: #filePath)
    .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
    .appending(path: "../shared/documents").standardized

  var testDescription: String { path }
  var encoding: ForeignEncoding { path.hasPrefix("zipkin/") ? .zipkinJSON : .jaegerJSON }

  var bytes: [UInt8] {
    get throws { Array(try Data(contentsOf: RealDocument.directory.appending(path: path))) }
  }

  /// The lines of the manifest about Jaeger's and Zipkin's own JSON. OTLP has its own tests; the form of
  /// Jaeger's Thrift has no ids that are told in characters.
  static let all: [RealDocument] = {
    let manifest = (try? String(contentsOf: directory.appending(path: "MANIFEST.md"), encoding: .utf8)) ?? ""
    return manifest.split(separator: "\n").compactMap { line in
      let columns = line.split(separator: "|").map { $0.trimmingCharacters(in: .whitespaces) }
      guard columns.count == 12, columns[6] != "OTLP JSON", columns[9] != "[0]", let spans = Int(columns[7]),
        let traces = Int(columns[8]), let links = Int(columns[10]), let repeated = Int(columns[11])
      else { return nil }
      let isOneSpan = columns[6] == "single-span document"
      return RealDocument(
        path: columns[0], spans: spans, traces: traces, links: isOneSpan ? nil : links, repeatedIDs: repeated)
    }
  }()
}

@Suite(
  .enabled(
    if: !RealDocument.all.isEmpty, "the documents of other encodings, ../shared/documents, are not here"))
struct RealDocumentTests {
  @Test func theManifestIsRead() {
    #expect(RealDocument.all.count >= 22)
  }

  @Test(arguments: RealDocument.all)
  private func theCountsAreTheManifests(_ document: RealDocument) throws {
    let found = try rejected(document.bytes, document.encoding)
    #expect(found.groups == [])
    var record = ScannedRecord()
    var identifiers: [[UInt64]: Int] = [:]
    var traces: Set<TraceID> = []
    var links = 0
    try found.written.withRawBytes { (bytes) throws(MalformedInput) in
      try record.scan(bytes)
      for span in record.spans {
        identifiers[[span.traceID.high, span.traceID.low, span.spanID], default: 0] += 1
        traces.insert(span.traceID)
        var cursor = WireCursor(span.content)
        while let link = try cursor.next(SpanField.links, in: bytes) {
          let text = String(decoding: bytes.extracting(link.indices).copied(), as: UTF8.self)
          if text.contains("follows_from") { links += 1 }
        }
      }
    }
    #expect(record.spans.count == document.spans && record.rejected == [])
    #expect(traces.count == document.traces)
    // The document's own text says it, too.
    let text = String(decoding: try document.bytes, as: UTF8.self)
    #expect(links == text.ranges(of: "FOLLOWS_FROM").count)
    if let expected = document.links { #expect(links == expected) }
    #expect(identifiers.values.reduce(0) { $0 + $1 - 1 } == document.repeatedIDs)
  }

  /// Jaeger's Thrift, written as JSON, has numbers for ids: it is refused.
  @Test(arguments: ["jaeger/fixtures__thrift_batch_01.json", "jaeger/fixtures__thrift_batch_02.json"])
  func thriftIsRefused(_ path: String) throws {
    let bytes = Array(try Data(contentsOf: RealDocument.directory.appending(path: path)))
    #expect(throws: MalformedInput.self) { try converted(bytes, .jaegerJSON) }
  }
}

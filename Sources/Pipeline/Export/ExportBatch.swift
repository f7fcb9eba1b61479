// The records of one request to a store.

internal import OTLP
internal import Sampling

/// Records one after the other. Protobuf messages that are written one after the other are one message, whose
/// repeated fields have the elements of both: so the whole is an `ExportTraceServiceRequest`, and nothing is
/// encoded again.
struct ExportBatch {
  /// A record of the batch.
  struct Piece {
    var place: RecordPlace
    /// The assignment that its partition was read under.
    var epoch: UInt64
    var key: [UInt8]?
    /// Its bytes in the batch.
    var range: Range<Int>
    var spans: Int
  }

  private(set) var bytes: [UInt8] = []
  private(set) var pieces: [Piece] = []
  /// When its first record was read, by the steady clock.
  var since = Instant.distantPast

  var isEmpty: Bool { pieces.isEmpty }

  mutating func append(_ value: RawSpan, key: RawSpan?, _ place: RecordPlace, epoch: UInt64, spans: Int) {
    let start = bytes.count
    bytes.append(contentsOf: value.copied())
    pieces.append(
      Piece(place: place, epoch: epoch, key: key?.copied(), range: start..<bytes.count, spans: spans))
  }

  /// A batch of some of its records.
  func part(_ some: some Sequence<Piece>) -> ExportBatch {
    var part = ExportBatch()
    part.since = since
    for var piece in some {
      let start = part.bytes.count
      part.bytes += bytes[piece.range]
      piece.range = start..<part.bytes.count
      part.pieces.append(piece)
    }
    return part
  }
}

// Spans that should be one half of a call, and for how long the other half is waited for.

internal import OTLP

/// A span of a client or a server whose other one has not been read.
struct CallHalf {
  /// The client's key; of a server, its parent's.
  var key: UInt64
  /// The latest log time when it was read, in nanoseconds.
  var since: Int64
  /// The place of a client among the spans read last; nil of a server.
  var place: Int?
  /// The name of what the client says it calls; the half has one use of it.
  var peer: UInt32?
  /// How many such spans its trace has had before, for one with a peer.
  var before = 0.0
}

/// Halves in the order in which they were read, bounded.
struct CallHalves {
  private var halves = Chunks<CallHalf>()
  private let countMax: Int

  /// Log time that is waited for the other half. Traces are kept as a whole; what comes later is a late span.
  static let waitMax: Int64 = 60_000_000_000

  init(bytesMax: Int) {
    countMax = min(65_536, bytesMax >> 12)
  }

  var byteCount: Int { halves.byteCount }

  mutating func add(_ half: CallHalf) { halves.append(half) }

  /// The oldest half if nobody waits for its other one any longer, or if it has to make room before that.
  ///
  /// - Parameter leaving: the place among the spans read last that is forgotten next.
  mutating func next(at clock: Int64, leaving: Int) -> (half: CallHalf, isDropped: Bool)? {
    guard halves.count > 0 else { return nil }
    let half = halves[halves.start]
    let isOver = clock - half.since >= CallHalves.waitMax
    let hasToLeave = halves.count > countMax || half.place.map { $0 <= leaving } ?? false
    guard isOver || hasToLeave else { return nil }
    halves.removeFirst()
    return (half, !isOver)
  }
}

/// What a client's span says about whom it calls.
struct CalledPeer {
  /// A database, which has no spans of its own.
  var database: String?
  /// A service, which may have none.
  var service: String?

  /// The first that a span has is its database's name: the connector's `db.name`, what the semantic
  /// conventions call it now, and what kind of database it is.
  private static let databaseKeys: [StaticString] = [
    "db.name", "db.namespace", "db.system.name", "db.system",
  ]

  /// Reads a span's attributes.
  init(of brief: SpanBrief, in record: RawSpan) {
    var rank = CalledPeer.databaseKeys.count
    var cursor = WireCursor(brief.content)
    do throws(MalformedInput) {
      while let message = try cursor.next(SpanField.attributes, in: record) {
        let view = try KeyValueView(message, in: record)
        let isService = record.spells("peer.service", in: view.key)
        var found = 0
        while found < rank, !record.spells(CalledPeer.databaseKeys[found], in: view.key) { found += 1 }
        guard isService || found < rank, case .string(let range) = try view.value(in: record),
          range.count > 0
        else { continue }
        if isService {
          service = record.text(range)
        } else {
          (rank, database) = (found, record.text(range))
        }
      }
    } catch {}
  }
}

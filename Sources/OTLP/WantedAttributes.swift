// Reads the few wanted attributes from the bytes of a span or a resource.

/// A wanted attribute that was found.
public struct FoundAttribute: Equatable, Sendable {
  /// Which of the wanted keys it has.
  public var key: Int
  /// Its value.
  public var value: AttributeValue
}

/// A set of attribute keys, and their values in the last span or resource read. Reused from span to span: it
/// keeps its storage.
///
/// The scanner steps over attributes, so nothing about them has been checked. The rule: an unreadable
/// attribute counts as absent; those around it still count. Of several attributes with one key the first
/// counts.
public struct WantedAttributes: Sendable {
  /// The most keys in a set.
  public static let countMax = 64

  /// What was found, in byte order, each key at most once.
  public private(set) var found: [FoundAttribute] = []

  private let keys: WantedKeys
  /// Bit *i* is set if the key of number *i* was found.
  private var seen: UInt64 = 0

  /// A set of keys without repeats, at most `countMax`.
  public init(keys texts: [String]) {
    precondition(texts.count <= WantedAttributes.countMax, "too many attribute keys")
    keys = WantedKeys(texts.map { Array($0.utf8) })
    found.reserveCapacity(keys.count)
  }

  /// Whether no key is in the set.
  public var isEmpty: Bool { keys.isEmpty }

  /// Reads the attributes of a span that the scanner has accepted.
  public mutating func read(_ span: SpanView, of bytes: RawSpan) {
    forget()
    readAttributes(SpanField.attributes, in: span.content, of: bytes)
  }

  /// Reads the attributes of one of the record's resources. A resource given in several parts has the
  /// attributes of all of them.
  public mutating func read(_ resource: ResourceView, of record: ScannedRecord, _ bytes: RawSpan) {
    forget()
    for index in resource.extras {
      var cursor = WireCursor(record.extras[index])
      do {
        while let message = try cursor.next(ResourceSpansField.resource, in: bytes) {
          readAttributes(ResourceField.attributes, in: message, of: bytes)
        }
      } catch {
        // The scanner has walked these fields, so nothing here can throw.
      }
    }
  }

  private mutating func forget() {
    found.removeAll(keepingCapacity: true)
    seen = 0
  }

  @inline(__always)
  private mutating func readAttributes(_ field: UInt32, in message: ByteRange, of bytes: RawSpan) {
    var cursor = WireCursor(message)
    do {
      while !cursor.isAtEnd {
        let tag = try cursor.tag(in: bytes)
        if tag.field == field, tag.type == .lengthDelimited {
          readAttribute(try cursor.content(of: tag, in: bytes), of: bytes)
          if found.count == keys.count { return }
        } else {
          try cursor.skip(tag, in: bytes)
        }
      }
    } catch {
      // A resource is checked only up to its service name: what was read before the damage counts.
    }
  }

  @inline(__always)
  private mutating func readAttribute(_ message: ByteRange, of bytes: RawSpan) {
    do throws(MalformedInput) {
      let attribute = try KeyValueView(message, in: bytes)
      guard let number = keys.number(of: attribute.key, in: bytes) else { return }
      let bit: UInt64 = 1 << UInt64(number)
      guard seen & bit == 0 else { return }
      found.append(FoundAttribute(key: number, value: try attribute.value(in: bytes)))
      seen |= bit
    } catch {
      // An unreadable attribute counts as absent.
    }
  }
}

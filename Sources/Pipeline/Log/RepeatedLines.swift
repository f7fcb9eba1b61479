// Keeps lasting conditions from filling the log: one line when they begin, then one a minute with a count.

internal import Logging
internal import Sampling

/// The conditions of the last minute.
///
/// Lines whose messages differ only in numbers are one condition: "failed after 12 ms" and "failed after
/// 13 ms" are. But a partition's number is a name: "partition 3" and "partition 4" are two conditions, up to
/// `partitionsMax`.
struct RepeatedLines {
  private struct Condition {
    var saidAt: Instant
    /// The last line left out, and how many were.
    var last: LogLine
    var count = 0
  }

  /// Identifies a condition.
  private struct Key: Hashable {
    var text: String
    /// The partition that the message names; also nil beyond the limit.
    var partition: String?
  }

  private var conditions: [Key: Condition] = [:]
  /// Number of conditions with the same text.
  private var texts: [String: Int] = [:]
  /// Lines of conditions without room, since this was last logged.
  private var crowdedOut = 0
  private var crowdedSince = Instant.distantPast

  /// More conditions than this in a minute are only counted.
  static let conditionsMax = 64
  /// The same for the partitions of each condition.
  static let partitionsMax = 64
  static let pause = Interval.seconds(60)

  /// Lines to write for `line`.
  mutating func note(_ line: LogLine, at now: Instant) -> [LogLine] {
    var lines = sayWhatIsDue(at: now)
    // Lines below warning are always written.
    guard line.level >= .warning else { return lines + [line] }
    var key = RepeatedLines.key(of: line)
    if conditions[key] == nil, texts[key.text, default: 0] >= RepeatedLines.partitionsMax {
      key.partition = nil
    }
    if conditions[key] != nil {
      conditions[key]?.count += 1
      conditions[key]?.last = line
    } else if texts[key.text] != nil || texts.count < RepeatedLines.conditionsMax {
      conditions[key] = Condition(saidAt: now, last: line)
      texts[key.text, default: 0] += 1
      lines.append(line)
    } else {
      if crowdedOut == 0 { crowdedSince = now }
      crowdedOut += 1
    }
    return lines
  }

  /// Conditions that recurred are logged again; the others are over.
  private mutating func sayWhatIsDue(at now: Instant) -> [LogLine] {
    var lines: [LogLine] = []
    for (key, condition) in conditions where condition.saidAt + RepeatedLines.pause <= now {
      guard condition.count > 0 else {
        conditions[key] = nil
        let left = texts[key.text, default: 1] - 1
        texts[key.text] = left > 0 ? left : nil
        continue
      }
      var line = condition.last
      line.fields.append((name: "repeated", value: "\(condition.count)"))
      lines.append(line)
      conditions[key] = Condition(saidAt: now, last: condition.last)
    }
    lines.sort { $0.message < $1.message }
    if crowdedOut > 0, crowdedSince + RepeatedLines.pause <= now {
      let message = "more than \(RepeatedLines.conditionsMax) different warnings in a minute"
      lines.append(LogLine(.warning, message, ["left_out": "\(crowdedOut)"]))
      crowdedOut = 0
    }
    return lines
  }

  private static func key(of line: LogLine) -> Key {
    var text = line.level.rawValue
    var partition: String?
    var isInNumber = false
    for scalar in line.message.unicodeScalars {
      guard ("0"..."9").contains(scalar) else {
        text.unicodeScalars.append(scalar)
        isInNumber = false
        continue
      }
      if !isInNumber {
        if partition == nil, text.hasSuffix("partition ") { partition = "" }
        text += "0"
      }
      if text.hasSuffix("partition 0") { partition?.unicodeScalars.append(scalar) }
      isInNumber = true
    }
    for field in line.fields { text += "\u{0}\(field.name)=\(field.value)" }
    return Key(text: text, partition: partition)
  }
}

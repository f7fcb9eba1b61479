// Keeps conditions that last from filling the log: one line when they begin, then one a minute with a count.

internal import Logging
internal import Sampling

/// The conditions of the last minute.
///
/// Lines that differ in the numbers of their message alone are one condition: "failed after 12 ms" and
/// "failed after 13 ms" are. A partition's number is no measure but a name: "partition 3" and "partition 4"
/// are two conditions, up to `partitionsMax`.
struct RepeatedLines {
  private struct Condition {
    var saidAt: Instant
    /// The last line that was left out, and how many were.
    var last: LogLine
    var count = 0
  }

  /// What tells conditions apart.
  private struct Key: Hashable {
    var text: String
    /// The partition that the message names; nil for those beyond the limit, too.
    var partition: String?
  }

  private var conditions: [Key: Condition] = [:]
  /// How many conditions have the same text.
  private var texts: [String: Int] = [:]
  /// Lines of conditions for which there was no room, since it was last said.
  private var crowdedOut = 0
  private var crowdedSince = Instant.distantPast

  /// More different conditions than these in a minute are counted, not told apart.
  static let conditionsMax = 64
  /// And of each of them so many partitions.
  static let partitionsMax = 64
  static let pause = Interval.seconds(60)

  /// The lines to be written now that `line` is to be said.
  mutating func note(_ line: LogLine, at now: Instant) -> [LogLine] {
    var lines = sayWhatIsDue(at: now)
    // What happens once, and is no trouble, is said as often as it happens.
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

  /// Conditions that went on are said again; those that did not are over.
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

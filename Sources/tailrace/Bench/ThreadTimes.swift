// Processor time of this process by kind of thread, from /proc.

import Foundation

/// What the threads of this process have used since they started.
struct ThreadTimes {
  /// Seconds of processor time of the lanes' threads,
  private(set) var lanes = 0.0
  /// of librdkafka's,
  private(set) var clients = 0.0
  /// and of all threads, those that have ended included.
  private(set) var all = Double(clock()) / Double(CLOCKS_PER_SEC)
  /// How many times lanes' threads have waited: each wait ends with a wake-up.
  private(set) var wakeUps = 0.0

  /// Reads them. A thread that ends meanwhile counts in `all` only.
  static var now: ThreadTimes {
    var times = ThreadTimes()
    let tasks = "/proc/self/task"
    for task in (try? FileManager.default.contentsOfDirectory(atPath: tasks)) ?? [] {
      guard let stat = text("\(tasks)/\(task)/stat"), let name = stat.firstRange(of: "("),
        let end = stat.lastIndex(of: ")")
      else { continue }
      // After the name, which may contain any character: the state, and as 12th and 13th utime and stime.
      let fields = stat[end...].split(separator: " ")
      guard fields.count > 13, let user = Double(fields[12]), let system = Double(fields[13]) else {
        continue
      }
      let seconds = (user + system) / Double(sysconf(Int32(_SC_CLK_TCK)))
      switch stat[name.upperBound..<end] {
      case let name where name.hasPrefix("lane-"):
        times.lanes += seconds
        times.wakeUps += waits(of: "\(tasks)/\(task)/status")
      case let name where name.hasPrefix("rdk:"): times.clients += seconds
      default: break
      }
    }
    return times
  }

  private static func waits(of status: String) -> Double {
    let label = "voluntary_ctxt_switches:"
    let line = text(status)?.split(separator: "\n").first { $0.hasPrefix(label) }
    return line.flatMap { Double($0.dropFirst(label.count).trimmingPrefix(while: \.isWhitespace)) } ?? 0
  }

  private static func text(_ path: String) -> String? {
    FileManager.default.contents(atPath: path).map { String(decoding: $0, as: UTF8.self) }
  }
}

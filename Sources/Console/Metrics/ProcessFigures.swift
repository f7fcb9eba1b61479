// The system's figures of this process, named as in Prometheus's own libraries.

internal import Foundation

/// Memory, time and files of this process. Linux only: elsewhere there are none.
struct ProcessFigures {
  var cpuSeconds: Double
  var startSeconds: Double
  var residentBytes: Double
  var virtualBytes: Double
  var openFiles: Double
  var openFilesMax: Double

  /// Current figures; nil without `/proc`.
  static var now: ProcessFigures? {
    guard let stat = text(of: "/proc/self/stat"), let end = stat.lastIndex(of: ")"),
      let boot = bootSeconds,
      let files = try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd")
    else { return nil }
    // After the program's name, which may hold anything: proc(5), fields 3 and up.
    let fields = stat[end...].split(separator: " ").dropFirst().map { Double($0) ?? 0 }
    guard fields.count > 21 else { return nil }
    let ticks = Double(sysconf(Int32(_SC_CLK_TCK)))
    var limit = rlimit()
    // Sound: getrlimit writes one `rlimit`.
    unsafe getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    return ProcessFigures(
      cpuSeconds: (fields[11] + fields[12]) / ticks, startSeconds: boot + fields[19] / ticks,
      residentBytes: fields[21] * Double(sysconf(Int32(_SC_PAGESIZE))), virtualBytes: fields[20],
      openFiles: Double(files.count), openFilesMax: Double(limit.rlim_cur))
  }

  private static var bootSeconds: Double? {
    let line = text(of: "/proc/stat")?.split(separator: "\n").first { $0.hasPrefix("btime ") }
    return line.flatMap { Double($0.dropFirst(6)) }
  }

  private static func text(of path: String) -> String? {
    FileManager.default.contents(atPath: path).map { String(decoding: $0, as: UTF8.self) }
  }
}

extension MetricSection {
  static let process = MetricSection(
    title: "The process",
    metrics: [
      // A counter of seconds has fractions.
      Metric(
        name: "process_cpu_seconds_total", kind: .counter, unit: .seconds,
        help: "User and system time used by the process", labels: []
      ) { $0.process.map { .amounts([Metric.Sample([], $0.cpuSeconds)]) } },
      .gauge("process_start_time_seconds", "When the process started, in seconds since 1970", .seconds) {
        $0.process?.startSeconds
      },
      .gauge("process_resident_memory_bytes", "Memory in use", .bytes) { $0.process?.residentBytes },
      .gauge("process_virtual_memory_bytes", "Address space in use", .bytes) {
        $0.process?.virtualBytes
      },
      .gauge("process_open_fds", "Open file descriptors") { $0.process?.openFiles },
      .gauge("process_max_fds", "Limit on open file descriptors") { $0.process?.openFilesMax },
    ])
}

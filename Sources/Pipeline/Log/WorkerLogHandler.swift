// A worker's log: bounded, one line per event, without secrets.

internal import Files
internal import Foundation
public import Logging
internal import Sampling
internal import Synchronization
public import Topology

/// Where lines go. Shared by all copies of a logger.
final class LogSink: Sendable {
  private let format: LogSettings.Format
  private let secrets: [String]
  private let now: @Sendable () -> Moment
  private let write: @Sendable (String) -> Void
  private let repeated = Mutex(RepeatedLines())

  /// - Parameter secrets: texts that are masked wherever they appear.
  init(
    format: LogSettings.Format, secrets: [String] = [], now: @escaping @Sendable () -> Moment = { .now },
    write: @escaping @Sendable (String) -> Void
  ) {
    self.format = format
    self.secrets = secrets
    self.now = now
    self.write = write
  }

  func log(_ line: LogLine) {
    let moment = now()
    let line = masked(line)
    // Under the lock, so that lines are in time order.
    repeated.withLock { repeated in
      for line in repeated.note(line, at: moment.steady) { write(text(line, at: moment.wall)) }
    }
  }

  private func text(_ line: LogLine, at time: Instant) -> String {
    // Milliseconds are enough: 2026-01-31T23:59:58.001Z.
    let stamp = "\(time)".dropLast(7) + "Z"
    return format == .json ? line.json(at: String(stamp)) : line.text(at: String(stamp))
  }

  private func masked(_ line: LogLine) -> LogLine {
    var line = line
    line.message = MessageText.masked(line.message, secrets)
    for place in line.fields.indices {
      line.fields[place].value = MessageText.masked(line.fields[place].value, secrets)
    }
    return line
  }
}

/// The minimum level of a worker's log lines; it may change while the worker runs.
public final class LogLevel: Sendable {
  private let fixed: Logger.Level?
  private let level: Mutex<Logger.Level>

  /// - Parameter fixed: overrides the settings.
  public init(_ settings: LogSettings, fixed: Logger.Level? = nil) {
    self.fixed = fixed
    level = Mutex(fixed ?? Logger.Level(settings.level))
  }

  /// The current level.
  public var value: Logger.Level { level.withLock { $0 } }

  /// Adopts the level of new settings, unless it is fixed.
  func follow(_ settings: LogSettings) {
    level.withLock { $0 = fixed ?? Logger.Level(settings.level) }
  }
}

extension Logger.Level {
  fileprivate init(_ level: LogSettings.Level) {
    self = Logger.Level(rawValue: level.rawValue) ?? .info
  }
}

/// Writes lines to standard error as configured by a topology's `log` section.
public struct WorkerLogHandler: LogHandler {
  /// The minimum level to write. Setting it affects only this copy, which then ignores later changes.
  public var logLevel: Logger.Level {
    get { own ?? level.value }
    set { own = newValue }
  }
  private var own: Logger.Level?
  private let level: LogLevel
  /// Fields of every line.
  public var metadata: Logger.Metadata = [:]
  private let sink: LogSink

  init(level: LogLevel, sink: LogSink) {
    self.level = level
    self.sink = sink
  }

  /// One of the fields of every line.
  public subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }

  /// Writes a line, or counts it.
  public func log(event: LogEvent) {
    let fields = metadata.merging(event.metadata ?? [:]) { $1 }
    sink.log(LogLine(event.level, "\(event.message)", fields.mapValues { "\($0)" }))
  }
}

extension Logger {
  /// A worker's logger on standard error.
  public static func standardError(_ worker: WorkerSettings, level: LogLevel) -> Logger {
    let sink = LogSink(format: worker.log.format, secrets: worker.kafka.secretValues) { text in
      try? FileHandle.standardError.write(contentsOf: Data(text.utf8))
    }
    return Logger(label: "tailrace") { _ in WorkerLogHandler(level: level, sink: sink) }
  }

  /// A worker's logger on standard error, which writes nothing below `level`.
  public static func standardError(_ worker: WorkerSettings, level: Logger.Level) -> Logger {
    standardError(worker, level: LogLevel(worker.log, fixed: level))
  }
}

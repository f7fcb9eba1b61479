// The log of a worker: bounded, one line a happening, without secrets.

internal import Foundation
internal import Kafka
public import Logging
internal import Sampling
internal import Synchronization

/// Where lines go. Shared by all copies of a logger.
final class LogSink: Sendable {
  private let format: LogSettings.Format
  private let secrets: [String]
  private let now: @Sendable () -> Moment
  private let write: @Sendable (String) -> Void
  private let repeated = Mutex(RepeatedLines())

  /// - Parameter secrets: texts that are masked wherever they turn up.
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
    // Under the lock, so that lines come in the order of their times.
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
    for secret in secrets {
      line.message = line.message.replacingOccurrences(of: secret, with: KafkaProperty.mask)
      for place in line.fields.indices {
        let value = line.fields[place].value
        line.fields[place].value = value.replacingOccurrences(of: secret, with: KafkaProperty.mask)
      }
    }
    return line
  }
}

/// Writes lines on standard error as a topology's `log` section says.
public struct WorkerLogHandler: LogHandler {
  /// The least important lines to write.
  public var logLevel: Logger.Level
  /// Fields of every line.
  public var metadata: Logger.Metadata = [:]
  private let sink: LogSink

  init(level: Logger.Level, sink: LogSink) {
    logLevel = level
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
  ///
  /// - Parameter level: takes the place of the level in the settings.
  public static func standardError(_ worker: WorkerSettings, level: Logger.Level? = nil) -> Logger {
    let sink = LogSink(format: worker.log.format, secrets: worker.kafka.secretValues) { text in
      FileHandle.standardError.write(Data(text.utf8))
    }
    let level = level ?? Logger.Level(rawValue: worker.log.level.rawValue) ?? .info
    return Logger(label: "tailrace") { _ in WorkerLogHandler(level: level, sink: sink) }
  }
}

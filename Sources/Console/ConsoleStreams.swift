// Server-sent events: the same bytes for all who listen, made once a second while somebody does.

internal import Foundation
internal import NIOCore

/// The connections that listen. Used on one event loop.
final class ConsoleStreams {
  private let loop: any EventLoop
  private let queue: DispatchQueue
  private let stream: ConsoleStream?
  private var listeners: [ObjectIdentifier: ConsoleConnection] = [:]
  private var isTicking = false

  /// More have to wait for others to leave.
  private static let listenersMax = 64
  private static let pause = TimeAmount.seconds(1)

  init(on loop: any EventLoop, _ queue: DispatchQueue, _ stream: ConsoleStream?) {
    self.loop = loop
    self.queue = queue
    self.stream = stream
  }

  func add(_ connection: ConsoleConnection) -> Bool {
    guard listeners.count < ConsoleStreams.listenersMax else { return false }
    listeners[ObjectIdentifier(connection)] = connection
    if !isTicking {
      isTicking = true
      tick()
    }
    return true
  }

  func remove(_ connection: ConsoleConnection) {
    listeners[ObjectIdentifier(connection)] = nil
  }

  private func tick() {
    guard !listeners.isEmpty, let stream else {
      isTicking = false
      return
    }
    let done = NIOLoopBound({ [self] (events: ByteBuffer) in deliver(events) }, eventLoop: loop)
    queue.async { [loop] in
      let events = ByteBuffer(bytes: stream.make())
      loop.execute { done.value(events) }
    }
  }

  private func deliver(_ events: ByteBuffer) {
    for listener in listeners.values { listener.push(events) }
    let next = NIOLoopBound({ [self] in tick() }, eventLoop: loop)
    loop.scheduleTask(in: ConsoleStreams.pause) { next.value() }
  }
}

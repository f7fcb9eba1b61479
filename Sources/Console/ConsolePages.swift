// Pages that take time to make, made off the thread that serves connections.

internal import Foundation
internal import NIOCore

/// Makes one page at a time, once for all who wait for it: pages never take more than one thread, however
/// many requests there are.
///
/// Used on one event loop.
final class ConsolePages {
  typealias Taker = (ConsolePage) -> Void

  private let loop: any EventLoop
  private let respond: @Sendable (String) -> ConsoleResponse?
  private let queue: DispatchQueue
  /// Who waits for which page. A request that arrives while a page is made gets the next one, so no page is
  /// older than its request.
  private var takers: [String: [Taker]] = [:]
  /// Requested pages, oldest request first.
  private var order: [String] = []
  private var isMaking = false

  init(
    on loop: any EventLoop, queue: DispatchQueue, respond: @escaping @Sendable (String) -> ConsoleResponse?
  ) {
    self.loop = loop
    self.queue = queue
    self.respond = respond
  }

  /// Calls `taker` with the page at `path` once it is made.
  func ask(for path: String, _ taker: @escaping Taker) {
    if takers[path] == nil { order.append(path) }
    takers[path, default: []].append(taker)
    makeNext()
  }

  /// A page that takes no time to make.
  func page(at path: String) -> ConsolePage { respond(path).map { ConsolePage($0) } ?? .notFound }

  private func makeNext() {
    guard !isMaking, !order.isEmpty else { return }
    isMaking = true
    let path = order.removeFirst()
    let waiting = takers.removeValue(forKey: path) ?? []
    let done = NIOLoopBound({ [self] (page: ConsolePage) in deliver(page, to: waiting) }, eventLoop: loop)
    queue.async { [loop, respond] in
      let page = respond(path).map { ConsolePage($0) } ?? .notFound
      loop.execute { done.value(page) }
    }
  }

  private func deliver(_ page: ConsolePage, to waiting: [Taker]) {
    isMaking = false
    for taker in waiting { taker(page) }
    makeNext()
  }
}

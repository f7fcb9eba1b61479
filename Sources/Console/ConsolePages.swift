// Pages that take time to make, made off the thread that serves connections.

internal import Foundation
internal import NIOCore

/// Makes one page at a time, once for all who wait for it: pages never take more than one thread, however
/// many requests there are.
///
/// Used on one event loop.
final class ConsolePages {
  typealias Taker = (ConsolePage) -> Void

  /// What a request asks for.
  struct Target: Hashable {
    var path: String
    var query = ""

    var request: ConsoleRequest { ConsoleRequest(path: path, query: query) }
  }

  private let loop: any EventLoop
  private let respond: @Sendable (ConsoleRequest) -> ConsoleResponse?
  private let queue: DispatchQueue
  /// Who waits for which page. A request that arrives while a page is made gets the next one, so no page is
  /// older than its request.
  private var takers: [Target: [Taker]] = [:]
  /// Requested pages, oldest request first.
  private var order: [Target] = []
  private var isMaking = false
  /// So many pages may wait, and so many requests for one of them.
  private static let waitingMax = 256

  init(
    on loop: any EventLoop, queue: DispatchQueue,
    respond: @escaping @Sendable (ConsoleRequest) -> ConsoleResponse?
  ) {
    self.loop = loop
    self.queue = queue
    self.respond = respond
  }

  /// Calls `taker` with the page once it is made.
  func ask(for target: Target, _ taker: @escaping Taker) {
    // Clients may be gone before their page is made: what waits is bounded by itself.
    let isFull =
      takers[target].map { $0.count >= ConsolePages.waitingMax } ?? (order.count >= ConsolePages.waitingMax)
    guard !isFull else { return taker(.refusal(.serviceUnavailable)) }
    if takers[target] == nil { order.append(target) }
    takers[target, default: []].append(taker)
    makeNext()
  }

  /// A page that takes no time to make.
  func page(at target: Target) -> ConsolePage {
    respond(target.request).map { ConsolePage($0) } ?? .notFound
  }

  private func makeNext() {
    guard !isMaking, !order.isEmpty else { return }
    isMaking = true
    let target = order.removeFirst()
    let waiting = takers.removeValue(forKey: target) ?? []
    let done = NIOLoopBound({ [self] (page: ConsolePage) in deliver(page, to: waiting) }, eventLoop: loop)
    queue.async { [loop, respond] in
      let page = respond(target.request).map { ConsolePage($0) } ?? .notFound
      loop.execute { done.value(page) }
    }
  }

  private func deliver(_ page: ConsolePage, to waiting: [Taker]) {
    isMaking = false
    for taker in waiting { taker(page) }
    makeNext()
  }
}

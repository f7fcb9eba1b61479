// The console of the demo: its kept traces in the browser.

import Console
import Foundation
import Topology

/// Serves the demo's kept traces.
struct DemoExplorer {
  private let explorer: Explorer

  /// At the console's port, or at any free one.
  init(_ topology: TailSamplingTopology) throws {
    // The embedded broker does not look offsets up by time; its log is short.
    var settings = ExplorerSettings()
    settings.memoryBytes = 64 << 20
    do {
      explorer = try Explorer(topology, settings, version: Version.text)
    } catch {
      settings.port = 0
      do { explorer = try Explorer(topology, settings, version: Version.text) } catch {
        throw CommandFailure.failed("\(error)")
      }
    }
    say("the kept traces are")
  }

  private func say(_ what: String) {
    StandardError.write("\(what) at \(explorer.address)\n")
  }

  /// Serves until Ctrl-C, which signals `done`.
  func serve(until done: DispatchSemaphore) {
    say("Ctrl-C ends it; until then the kept traces stay")
    done.wait()
  }

  func stop() { explorer.stop() }
}

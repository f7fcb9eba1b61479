// Valid configurations, and names and numbers of intervals.

import Testing

@testable import Sampling

@Suite struct BaselineConfigurationTests {
  @Test func theDefaultsAreValid() throws {
    try BaselineConfiguration().validate()
  }

  @Test(arguments: [
    (BaselineConfiguration.Fault.budget, changed { $0.budget = .shareOfTraces(0) }),
    (.budget, changed { $0.budget = .shareOfSpans(1.01) }),
    (.budget, changed { $0.budget = .shareOfBytes(.nan) }),
    (.budget, changed { $0.budget = .spansPerSecond(-1) }),
    (.budget, changed { $0.budget = .spansPerSecond(.infinity) }),
    (.key, changed { $0.key = .attributes([]) }), (.key, changed { $0.key = .attributes(["a", "a"]) }),
    (.key, changed { $0.key = .attributes([""]) }),
    (.key, changed { $0.key = .attributes((0...8).map(String.init)) }), (.floor, changed { $0.floor = -1 }),
    (.floor, changed { $0.floor = .nan }), (.ceiling, changed { $0.ceiling = 0 }),
    (.ceiling, changed { $0.ceiling = 2 }), (.boost, changed { $0.boost = 0.5 }),
    (.boost, changed { $0.boost = .nan }), (.interval, changed { $0.interval = .milliseconds(500) }),
    (.interval, changed { $0.interval = Interval(nanoseconds: 1_000_000_001) }),
    (.history, changed { $0.history = 1 }), (.history, changed { $0.history = 49 }),
    (.servicesMax, changed { $0.servicesMax = 0 }),
  ])
  func faultsAreNamed(_ fault: BaselineConfiguration.Fault, _ configuration: BaselineConfiguration) {
    #expect(throws: fault) { try configuration.validate() }
  }

  private static func changed(
    _ change: (inout BaselineConfiguration) -> Void
  ) -> BaselineConfiguration {
    var configuration = BaselineConfiguration()
    change(&configuration)
    return configuration
  }

  @Test func intervalsAreNumberedFrom1970() {
    let number = { IntervalNumber(of: Instant(milliseconds: $0), length: .seconds(10)).value }
    #expect([0, 9999, 10_000, -5].map(number) == [0, 0, 1, 0])
  }
}

// swift-tools-version: 6.2
import PackageDescription

/// As in the package that is fuzzed. There is no `main`: libFuzzer brings it.
let rules: [SwiftSetting] = [
  .swiftLanguageMode(.v6),
  .strictMemorySafety(),
  .treatAllWarnings(as: .error),
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("InternalImportsByDefault"),
  .enableUpcomingFeature("MemberImportVisibility"),
  .unsafeFlags(["-parse-as-library"]),
]

let package = Package(
  name: "fuzz",
  dependencies: [.package(name: "tailrace", path: "../..")],
  targets: [
    .target(name: "Expectation", swiftSettings: rules),
    .executableTarget(
      name: "FuzzScanner",
      dependencies: ["Expectation", .product(name: "OTLP", package: "tailrace")],
      swiftSettings: rules),
    .executableTarget(
      name: "FuzzJSON",
      dependencies: ["Expectation", .product(name: "OTLP", package: "tailrace")],
      swiftSettings: rules),
    .executableTarget(
      name: "FuzzEncodings",
      dependencies: [
        "Expectation", .product(name: "OTLP", package: "tailrace"),
        .product(name: "Encodings", package: "tailrace"),
      ],
      swiftSettings: rules),
    .executableTarget(
      name: "FuzzCompression",
      dependencies: ["Expectation", .product(name: "Encodings", package: "tailrace")],
      swiftSettings: rules),
    .executableTarget(
      name: "FuzzSampler",
      dependencies: [
        "Expectation", .product(name: "OTLP", package: "tailrace"),
        .product(name: "Sampling", package: "tailrace"),
      ],
      swiftSettings: rules),
    .executableTarget(
      name: "FuzzDecision",
      dependencies: [
        "Expectation", .product(name: "OTLP", package: "tailrace"),
        .product(name: "Sampling", package: "tailrace"),
      ],
      swiftSettings: rules),
    .executableTarget(
      name: "FuzzLedger",
      dependencies: [
        "Expectation", .product(name: "OTLP", package: "tailrace"),
        .product(name: "Sampling", package: "tailrace"),
      ],
      swiftSettings: rules),
    .executableTarget(
      name: "FuzzCommitPoint",
      dependencies: ["Expectation", .product(name: "Sampling", package: "tailrace")],
      swiftSettings: rules),
    .executableTarget(
      name: "FuzzStats",
      dependencies: ["Expectation", .product(name: "Sampling", package: "tailrace")],
      swiftSettings: rules),
    .executableTarget(
      name: "FuzzRecording",
      dependencies: ["Expectation", .product(name: "Pipeline", package: "tailrace")],
      swiftSettings: rules),
    .executableTarget(
      name: "FuzzAnonymiser",
      dependencies: [
        "Expectation", .product(name: "OTLP", package: "tailrace"),
        .product(name: "Pipeline", package: "tailrace"),
      ],
      swiftSettings: rules),
  ]
)

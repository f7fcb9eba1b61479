// swift-tools-version: 6.2
import PackageDescription

/// One set of rules for every target: Swift 6 with its data-race checks, each unsafe step marked, no
/// warnings left.
let rules: [SwiftSetting] = [
  .swiftLanguageMode(.v6),
  .strictMemorySafety(),
  .treatAllWarnings(as: .error),
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("InternalImportsByDefault"),
  .enableUpcomingFeature("MemberImportVisibility"),
]

let package = Package(
  name: "tailrace",
  products: [
    .executable(name: "tailrace", targets: ["tailrace"]),
    .library(name: "OTLP", targets: ["OTLP"]),
    .library(name: "Sampling", targets: ["Expressions", "Sampling"]),
    // For the fuzz targets, which are a package of their own.
    .library(name: "Encodings", targets: ["Compression", "Encodings"]),
    .library(name: "Pipeline", targets: ["Topology", "Pipeline"]),
  ],
  // Exact, since revisions may be a mirror's own and Package.resolved is not committed for that reason: so
  // the same sources make the same program. Who uses the libraries meets none of these: they depend on
  // nothing.
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", exact: "1.8.2"),
    .package(url: "https://github.com/apple/swift-log", exact: "1.16.2"),
    .package(url: "https://github.com/apple/swift-nio", exact: "2.101.2"),
    .package(url: "https://github.com/apple/swift-nio-http2", exact: "1.46.0"),
    .package(url: "https://github.com/apple/swift-nio-ssl", exact: "2.37.6"),
    .package(url: "https://github.com/jpsim/Yams", exact: "6.2.2"),
    // What swift-nio is built with, which would float.
    .package(url: "https://github.com/apple/swift-atomics", exact: "1.3.0"),
    .package(url: "https://github.com/apple/swift-collections", exact: "1.6.0"),
  ],
  targets: [
    .systemLibrary(name: "CRdKafka", pkgConfig: "rdkafka", providers: [.apt(["librdkafka-dev"])]),
    .systemLibrary(name: "CZstd", pkgConfig: "libzstd", providers: [.apt(["libzstd-dev"])]),
    .systemLibrary(name: "CMemory"),
    .systemLibrary(name: "CZlib"),
    .target(name: "Invariants", swiftSettings: rules),
    .target(name: "OTLP", dependencies: ["Invariants"], swiftSettings: rules),
    .target(name: "Compression", dependencies: ["CZlib", "CZstd"], swiftSettings: rules),
    .target(name: "Encodings", dependencies: ["OTLP"], swiftSettings: rules),
    .target(
      name: "SpanStorage", dependencies: ["Invariants", "OTLP", "CMemory", "CZstd"], swiftSettings: rules),
    .target(name: "Expressions", dependencies: ["Invariants", "OTLP"], swiftSettings: rules),
    .target(
      name: "Sampling", dependencies: ["Invariants", "OTLP", "SpanStorage", "Expressions"],
      swiftSettings: rules),
    .target(name: "Kafka", dependencies: ["CRdKafka", "CMemory"], swiftSettings: rules),
    .target(name: "Files", swiftSettings: rules),
    .target(
      name: "Topology",
      dependencies: [
        "Files", "OTLP", "Expressions", "Sampling", "Kafka", .product(name: "Yams", package: "Yams"),
      ],
      swiftSettings: rules),
    .target(
      name: "Pipeline",
      dependencies: [
        "Invariants", "Files", "Compression", "OTLP", "Encodings", "SpanStorage", "Sampling", "Kafka",
        "Topology",
        .product(name: "Logging", package: "swift-log"),
      ],
      swiftSettings: rules),
    .target(name: "Exploration", dependencies: ["OTLP", "Sampling"], swiftSettings: rules),
    .target(name: "CConsolePages"),
    .target(
      name: "Console",
      dependencies: [
        "OTLP", "Sampling", "Kafka", "Topology", "Pipeline", "Exploration", "CConsolePages",
        // Not imported: named, or they would count as unused.
        .product(name: "Atomics", package: "swift-atomics"),
        .product(name: "DequeModule", package: "swift-collections"),
        .product(name: "NIOConcurrencyHelpers", package: "swift-nio"),
        .product(name: "NIOCore", package: "swift-nio"),
        .product(name: "NIOPosix", package: "swift-nio"),
        .product(name: "NIOSSL", package: "swift-nio-ssl"),
      ],
      swiftSettings: rules),
    .target(
      name: "Stores",
      dependencies: [
        "Files", "OTLP", "Sampling", "Topology", "Pipeline",
        .product(name: "NIOCore", package: "swift-nio"),
        .product(name: "NIOHPACK", package: "swift-nio-http2"),
        .product(name: "NIOHTTP1", package: "swift-nio"),
        .product(name: "NIOHTTP2", package: "swift-nio-http2"),
        .product(name: "NIOPosix", package: "swift-nio"),
        .product(name: "NIOSSL", package: "swift-nio-ssl"),
        .product(name: "NIOTLS", package: "swift-nio"),
      ],
      swiftSettings: rules),
    .target(
      name: "Simulation", dependencies: ["OTLP", "Sampling", "Kafka", "Topology", "Pipeline"],
      swiftSettings: rules),
    .executableTarget(
      name: "tailrace",
      dependencies: [
        "Files", "Compression", "OTLP", "Encodings", "SpanStorage", "Expressions", "Sampling", "Kafka",
        "Topology", "Pipeline", "Exploration", "Console", "Stores", "Simulation",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
        .product(name: "Logging", package: "swift-log"),
        .product(name: "NIOCore", package: "swift-nio"),
        .product(name: "NIOPosix", package: "swift-nio"),
      ],
      swiftSettings: rules),
    .testTarget(name: "OTLPTests", dependencies: ["OTLP"], swiftSettings: rules),
    .testTarget(name: "CompressionTests", dependencies: ["Compression"], swiftSettings: rules),
    .testTarget(name: "EncodingsTests", dependencies: ["Encodings", "OTLP"], swiftSettings: rules),
    .testTarget(
      name: "SpanStorageTests", dependencies: ["SpanStorage", "OTLP", "Simulation"], swiftSettings: rules),
    .testTarget(
      name: "ExpressionsTests", dependencies: ["Expressions", "OTLP", "Simulation"], swiftSettings: rules),
    .testTarget(
      name: "SamplingTests", dependencies: ["Sampling", "Expressions", "SpanStorage", "OTLP", "Simulation"],
      swiftSettings: rules),
    .testTarget(name: "KafkaTests", dependencies: ["Kafka"], swiftSettings: rules),
    .testTarget(
      name: "TopologyTests",
      dependencies: ["Topology", "Expressions", "Sampling", "OTLP", "Simulation", "Kafka"],
      swiftSettings: rules),
    .testTarget(
      name: "PipelineTests",
      dependencies: [
        "Pipeline", "Compression", "Encodings", "Files", "Topology", "Sampling", "OTLP", "Simulation",
        "Kafka",
      ],
      swiftSettings: rules),
    .testTarget(
      name: "ExplorationTests", dependencies: ["Exploration", "OTLP", "Sampling", "Simulation"],
      swiftSettings: rules),
    .testTarget(
      name: "ConsoleTests",
      dependencies: [
        "Console", "Topology", "Pipeline", "Sampling", "Exploration", "CConsolePages",
        .product(name: "NIOCore", package: "swift-nio"),
        .product(name: "NIOPosix", package: "swift-nio"),
      ],
      swiftSettings: rules),
    .testTarget(
      name: "StoresTests",
      dependencies: [
        "Stores", "Topology", "Pipeline", "OTLP", "Sampling", "Simulation",
        .product(name: "NIOCore", package: "swift-nio"),
        .product(name: "NIOHPACK", package: "swift-nio-http2"),
        .product(name: "NIOHTTP1", package: "swift-nio"),
        .product(name: "NIOHTTP2", package: "swift-nio-http2"),
        .product(name: "NIOPosix", package: "swift-nio"),
      ],
      swiftSettings: rules),
    .testTarget(name: "SimulationTests", dependencies: ["Simulation", "OTLP"], swiftSettings: rules),
    .testTarget(name: "CommandTests", dependencies: ["tailrace"], swiftSettings: rules),
    .testTarget(name: "TidyTests", swiftSettings: rules),
  ]
)

// `make docs` sets it. Nobody who builds the program or uses the libraries fetches a documentation tool.
if Context.environment["TAILRACE_DOCS"] != nil {
  package.dependencies.append(
    .package(url: "https://github.com/swiftlang/swift-docc-plugin", exact: "1.5.0"))
}

// Every code that the librdkafka in use knows has a name here.

import Kafka
import Testing

@Suite struct ErrorCodeTests {
  @Test func everyCodeOfLibrdkafkaHasAName() {
    let codes = librdkafkaErrorCodes()
    // The markers at the ends of its own codes, and success.
    let marks: Set<Int32> = [-200, -100, 0]
    let unnamed = codes.filter { !marks.contains($0) && KafkaErrorCode(rawValue: $0) == nil }
    #expect(codes.count > 140)
    #expect(unnamed.isEmpty)
  }

  @Test func flagsAreThoseOfTheCode() {
    #expect(KafkaError(.localTimedOut).isRetriable)
    #expect(KafkaError(.localFatal).isFatal)
    #expect(!KafkaError(.illegalGeneration).isRetriable)
    #expect(KafkaError(.producerFenced).isFenced)
    #expect(KafkaError(.invalidProducerEpoch).name == "INVALID_PRODUCER_EPOCH")
  }
}

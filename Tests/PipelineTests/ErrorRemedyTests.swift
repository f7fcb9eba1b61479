// The remedy for each error of librdkafka.

import Kafka
import Testing

@testable import Pipeline

@Suite struct ErrorRemedyTests {
  @Test(
    arguments: [
      (.localTransport, .retry), (.coordinatorLoadInProgress, .retry), (.unstableOffsetCommit, .retry),
      (.illegalGeneration, .retry), (.localState, .abort), (.unknown, .abort),
      (.offsetMetadataTooLarge, .stop), (.msgSizeTooLarge, .stop), (.topicAuthorizationFailed, .stop),
      (.producerFenced, .stop), (.localUnknownTopic, .stop),
    ] as [(KafkaErrorCode, BrokerError.Remedy)])
  func theTableDecides(_ code: KafkaErrorCode, _ remedy: BrokerError.Remedy) {
    #expect(KafkaError(code).remedy == remedy)
  }

  @Test func librdkafkasFlagsComeFirst() {
    #expect(KafkaError(.unknown, isRetriable: true).remedy == .retry)
    #expect(KafkaError(.localTimedOut, isFatal: true).remedy == .stop)
    #expect(KafkaError(.localTimedOut, requiresAbort: true).remedy == .abort)
  }

  /// A transaction that failed because a broker was down is no reason to end the process.
  @Test func anAbortThatBrokersCauseIsTransient() {
    let away = BrokerError(KafkaError(.localMsgTimedOut, requiresAbort: true), "")
    #expect(away.remedy == .abort && away.isTransient)
    let odd = BrokerError(KafkaError(.invalidTxnState, requiresAbort: true), "")
    #expect(odd.remedy == .abort && !odd.isTransient)
  }

  /// In the middle of a transaction the sampler has moved on: a retry means the whole transaction.
  @Test func retriesInATransactionAbortIt() {
    #expect(BrokerError(inTransaction: KafkaError(.localQueueFull), "").remedy == .abort)
    #expect(BrokerError(inTransaction: KafkaError(.localQueueFull), "").isTransient)
    #expect(!BrokerError(inTransaction: KafkaError(.localState), "").isTransient)
    #expect(BrokerError(inTransaction: KafkaError(.msgSizeTooLarge), "").remedy == .stop)
  }
}

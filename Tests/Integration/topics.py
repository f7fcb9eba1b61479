"""Kafka as any client sees it: topics created, written, and read from their start."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic

from children import DEADLINE

RECORD_BYTES_MAX = 32 << 20


@dataclass(frozen=True)
class Record:
    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: dict[str, bytes]


class Broker:
    """The broker under test, and one producer and one admin client for all tests."""

    def __init__(self, address: str):
        self.address = address
        self._connection = {"bootstrap.servers": address, "log_level": 2}
        self.admin = AdminClient(self._connection)
        self.producer = Producer(
            {**self._connection, "message.max.bytes": RECORD_BYTES_MAX, "linger.ms": 1, "acks": "all"}
        )

    def create(self, *names: str, partitions: int, config: dict[str, str] | None = None) -> None:
        """Creates topics that accept records of up to `RECORD_BYTES_MAX` bytes."""
        settings = {"max.message.bytes": str(RECORD_BYTES_MAX), **(config or {})}
        new = [NewTopic(name, partitions, 1, config=settings) for name in names]
        for made in self.admin.create_topics(new).values():
            made.result(DEADLINE)

    def add_partitions(self, name: str, count: int) -> None:
        """Increases a topic's partitions to `count`."""
        for made in self.admin.create_partitions([NewPartitions(name, count)]).values():
            made.result(DEADLINE)

    def delete(self, *names: str) -> None:
        for future in self.admin.delete_topics(list(names), operation_timeout=DEADLINE).values():
            future.result(DEADLINE)

    def partition_counts(self) -> dict[str, int]:
        listed = self.admin.list_topics(timeout=DEADLINE).topics
        return {name: len(topic.partitions) for name, topic in listed.items()}

    def produce(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None = None,
        partition: int = -1,
        on_written: Callable[[Message], None] | None = None,
        at: float | None = None,
    ) -> None:
        """Passes one record to the producer; `flush` makes sure that it was written.

        `at` is its timestamp in seconds since 1970, else it is now."""

        def delivered(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                raise KafkaException(error)
            if on_written is not None:
                on_written(message)

        milliseconds = 0 if at is None else int(at * 1000)
        self.producer.produce(topic, value, key, partition, on_delivery=delivered, timestamp=milliseconds)
        self.producer.poll(0)

    def flush(self) -> None:
        assert self.producer.flush(DEADLINE) == 0, "the broker did not take all records"

    def read(self, *names: str, isolation: str = "read_committed") -> "Reader":
        return Reader(self, names, isolation)

    def uncommitted(self, group: str, topic: str) -> dict[int, tuple[int, int]]:
        """For each partition whose end the group has not committed: the committed offset and the end."""
        consumer = Consumer({**self._connection, "group.id": group, "enable.auto.commit": False})
        try:
            partitions = [TopicPartition(topic, number) for number in range(self.partition_counts()[topic])]
            behind = {}
            for committed in consumer.committed(partitions, timeout=DEADLINE):
                _, end = consumer.get_watermark_offsets(committed, timeout=DEADLINE)
                # A partition without records has nothing to commit.
                if committed.offset != end and end > 0:
                    behind[committed.partition] = (committed.offset, end)
            return behind
        finally:
            consumer.close()


class Reader:
    """Reads topics from their start; `records` has everything read so far, in order within a partition."""

    RENEWED_AFTER = 10.0
    """Seconds without a record after which `until` starts over.

    A reader blocked by a killed producer's open transaction has been seen to stay blocked after the broker
    aborted it, where one that starts over reads on to the end.
    """

    def __init__(self, broker: Broker, names: Iterable[str], isolation: str):
        self._broker = broker
        self._names = set(names)
        self._isolation = isolation
        self._open()

    def _open(self) -> None:
        self.records: dict[str, list[Record]] = {name: [] for name in self._names}
        self._next: dict[tuple[str, int], int] = {}
        self._connect()

    def _connect(self) -> None:
        self._waiting = set(self._names)
        self._consumer = Consumer(
            {
                **self._broker._connection,
                "group.id": "integration-suite",
                "enable.auto.commit": False,
                "isolation.level": self._isolation,
                # This broker answers a fetch with a whole partition.
                "receive.message.max.bytes": 2147483647,
                "fetch.message.max.bytes": RECORD_BYTES_MAX,
                "fetch.max.bytes": 4 * RECORD_BYTES_MAX,
                "fetch.wait.max.ms": 50,
            }
        )

    def _assign_new_topics(self) -> None:
        counts = self._broker.partition_counts()
        found = {name for name in self._waiting if name in counts}
        if found:
            self._consumer.incremental_assign(
                [
                    TopicPartition(name, number, self._next.get((name, number), 0))
                    for name in found
                    for number in range(counts[name])
                ]
            )
            self._waiting -= found

    def poll(self) -> None:
        """Reads what has arrived, waiting a short while for it."""
        if self._waiting:
            self._assign_new_topics()
        for message in self._consumer.consume(5000, timeout=0.1):
            if (error := message.error()) is not None:
                if error.retriable() or not error.fatal():
                    continue
                raise KafkaException(error)
            self._next[message.topic(), message.partition()] = message.offset() + 1
            self.records[message.topic()].append(
                Record(
                    topic=message.topic(),
                    partition=message.partition(),
                    offset=message.offset(),
                    key=message.key(),
                    value=message.value(),
                    headers=dict(message.headers() or ()),
                )
            )

    def renew(self) -> None:
        """Continues from its position on a new connection: a partition may be stuck, see `RENEWED_AFTER`."""
        self._consumer.close()
        self._connect()

    def until(
        self, condition: Callable[[], bool], what: str, check: Callable[[], None] | None = None
    ) -> None:
        """Reads until `condition` is true; `check` may fail sooner, as when a program has ended."""
        began = progressed = time.monotonic()
        count = -1
        while not condition():
            if check is not None:
                check()
            read = {name: len(records) for name, records in self.records.items()}
            now = time.monotonic()
            assert now < began + DEADLINE, f"after {DEADLINE:.0f} s waiting for: {what}; read so far: {read}"
            if sum(read.values()) != count:
                count, progressed = sum(read.values()), now
            elif now > progressed + self.RENEWED_AFTER:
                self._consumer.close()
                self._open()
                progressed = now
            self.poll()

    def quiet(self, seconds: float) -> None:
        """Reads until nothing has arrived for `seconds`."""
        count, since = -1, time.monotonic()
        while time.monotonic() - since < seconds:
            self.poll()
            now = sum(map(len, self.records.values()))
            if now != count:
                count, since = now, time.monotonic()

    def close(self) -> None:
        self._consumer.close()

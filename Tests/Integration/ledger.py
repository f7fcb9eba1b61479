"""The ledger as docs/ledger.md describes it: the verdicts of dropped traces, read from pages of topic `verdicts`."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

TRIGGERS = ("root", "wait", "limit", "memory", "eager", "late", "recall", "linked")


@dataclass(frozen=True)
class Entry:
    """A dropped trace, or late spans of one if the trigger is `late`."""

    trace_id: str
    trigger: str
    has_root: bool
    vetoed: bool
    decided_at: int
    """Nanoseconds since 1970, as the next."""
    earliest_start: int
    first_offset: int
    last_offset: int
    spans: int
    errors: int
    links: tuple[str, ...] = ()


class Page:
    """A page, read from its first byte to its last."""

    def __init__(self, data: bytes):
        self._data, self._at = data, 8
        magic, version, count = struct.unpack_from("<3sBI", data)
        assert magic == b"TRL" and version in (1, 2), f"no page: {data[:8]!r}"
        self._version = version
        self.partition = self._number()
        self.configuration = self._bytes(self._number()).decode()
        self._time, self._offset = self._signed(), self._signed()
        self.entries = [self._entry() for _ in range(count)]
        assert self._at == len(data), f"{len(data) - self._at} bytes after the last entry"

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    @property
    def verdicts(self) -> list[Entry]:
        """The entries that are verdicts: the others say where late spans are."""
        return [entry for entry in self.entries if entry.trigger != "late"]

    def _bytes(self, count: int) -> bytes:
        assert self._at + count <= len(self._data), "truncated"
        self._at += count
        return self._data[self._at - count : self._at]

    def _number(self) -> int:
        value, shift = 0, 0
        while True:
            (byte,) = self._bytes(1)
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def _signed(self) -> int:
        value = self._number()
        return value >> 1 if value & 1 == 0 else -(value >> 1) - 1

    def _entry(self) -> Entry:
        trace_id, (flags,) = self._bytes(16).hex(), self._bytes(1)
        assert flags < 0x80 or self._version == 2, "a flag of another version"
        self._offset += self._signed()
        last_offset = self._offset + self._number()
        self._time += self._signed() * (1 if flags & 8 else 1_000_000)
        age, spans = self._number(), self._number()
        return Entry(
            trace_id=trace_id,
            trigger=TRIGGERS[flags >> 4 & 7],
            has_root=bool(flags & 1),
            vetoed=bool(flags & 2),
            decided_at=self._time,
            earliest_start=self._time - (age << 20),
            first_offset=self._offset,
            last_offset=last_offset,
            spans=spans,
            errors=self._number() if flags & 4 else 0,
            links=self._links() if flags & 0x80 else (),
        )

    def _links(self) -> tuple[str, ...]:
        return tuple(self._bytes(16).hex() for _ in range(self._number()))

"""A proxy in front of a Kafka broker that can be slow, silent or unreachable."""

import contextlib
import socket
import struct
import threading
import time

HOST = "127.0.0.1"
FETCH = struct.pack(">h", 1)
"""How requests for records begin."""
METADATA_BYTES_MAX = 1 << 20
"""Longer answers are records, which are not searched."""


class Proxy:
    """Forwards the traffic of clients and the broker, frame by frame.

    Brokers name their own address in their answers, and clients would then connect there: in answers the
    broker's port is replaced by the proxy's, which has the same length.
    """

    def __init__(self, broker_port: int):
        self._broker_port = broker_port
        self._listener = socket.create_server((HOST, 0))
        self.port = self._listener.getsockname()[1]
        self._named = HOST.encode() + struct.pack(">i", broker_port)
        self._replaced = HOST.encode() + struct.pack(">i", self.port)
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        self.delay = 0.0
        """Seconds that each frame takes."""
        self._flows = threading.Event()
        self._flows.set()
        self._is_refusing = False
        self.swallows_fetches = False
        """Whether requests for records get no answer; all others do."""
        threading.Thread(target=self._accept, name="proxy", daemon=True).start()

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    # Faults.

    def fall_silent(self) -> None:
        """Connections stay open, and nothing gets through."""
        self._flows.clear()

    def vanish(self) -> None:
        """Cuts all connections, and every new one at once."""
        self._is_refusing = True
        self.cut()

    def cut(self) -> None:
        with self._lock:
            connections, self._connections = self._connections, set()
        for each in connections:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def recover(self) -> None:
        self.delay = 0
        self._is_refusing = False
        self._flows.set()

    # Connections.

    def _accept(self) -> None:
        while True:
            client, _ = self._listener.accept()
            if self._is_refusing:
                client.close()
                continue
            try:
                server = socket.create_connection((HOST, self._broker_port))
            except OSError:
                client.close()
                continue
            with self._lock:
                self._connections |= {client, server}
            for source, target, is_answer in ((client, server, False), (server, client, True)):
                threading.Thread(target=self._hand_on, args=(source, target, is_answer), daemon=True).start()

    def _hand_on(self, source: socket.socket, target: socket.socket, is_answer: bool) -> None:
        """Forwards until one side ends; then ends the other too."""
        with contextlib.suppress(OSError, EOFError):
            while True:
                header = self._read(source, 4)
                (left,) = struct.unpack(">i", header)
                time.sleep(self.delay)
                self._flows.wait()
                if left <= METADATA_BYTES_MAX:
                    frame = self._read(source, left)
                    if self.swallows_fetches and not is_answer and frame.startswith(FETCH):
                        continue
                    target.sendall(header + (frame.replace(self._named, self._replaced) if is_answer else frame))
                    continue
                target.sendall(header)
                while left > 0:
                    part = self._read(source, min(left, METADATA_BYTES_MAX))
                    target.sendall(part)
                    left -= len(part)
        with self._lock:
            self._connections -= {source, target}
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    @staticmethod
    def _read(source: socket.socket, count: int) -> bytes:
        parts = bytearray()
        while len(parts) < count:
            if not (more := source.recv(count - len(parts))):
                raise EOFError
            parts += more
        return bytes(parts)

"""Listeners that imitate a broker's handshakes: TLS, and SASL in Kafka's own protocol."""

import base64
import hashlib
import hmac
import socket
import ssl
import struct
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

API_VERSIONS, SASL_HANDSHAKE, SASL_AUTHENTICATE = 18, 17, 36
# The APIs that the listener advertises: just enough for a client to try SASL.
VERSIONS = {0: (0, 7), 1: (0, 11), 3: (0, 4), 10: (0, 2), SASL_HANDSHAKE: (0, 1), API_VERSIONS: (0, 3), SASL_AUTHENTICATE: (0, 1)}
AUTHENTICATION_FAILED = 58


class Authority:
    """A certificate authority, and the certificates that it signs."""

    def __init__(self, directory: Path, name: str):
        self._directory = directory
        self._name = name
        self.certificate = directory / f"{name}.pem"
        self._key = directory / f"{name}.key"
        self._openssl("req", "-x509", *self._request(name, self._key), "-days", "2", "-out", self.certificate)

    def issue(self, name: str, host: str = "IP:127.0.0.1") -> tuple[Path, Path]:
        """A certificate for a host, and its key."""
        stem = self._directory / f"{self._name}-{name}"
        certificate, key, request, extensions = (stem.with_suffix(each) for each in (".pem", ".key", ".csr", ".ext"))
        self._openssl("req", *self._request(name, key), "-out", request)
        extensions.write_text(f"subjectAltName={host}\n")
        signer = ["-CA", self.certificate, "-CAkey", self._key, "-CAcreateserial", "-days", "2"]
        self._openssl("x509", "-req", "-in", request, *signer, "-extfile", extensions, "-out", certificate)
        return certificate, key

    @staticmethod
    def _request(name: str, key: Path) -> list[str | Path]:
        return ["-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", key]

    @staticmethod
    def _openssl(*arguments: str | Path) -> None:
        subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, timeout=60)


class Listener:
    """Accepts connections on its own port, one at a time, until closed."""

    def __init__(self, serve: Callable[[socket.socket], None]):
        self._serve = serve
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._server.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._handle, args=(connection,), daemon=True).start()

    def _handle(self, connection: socket.socket) -> None:
        connection.settimeout(30)
        try:
            with connection:
                self._serve(connection)
        except (OSError, EOFError):
            # The client disconnected; the tests check what it had sent before.
            pass

    def close(self) -> None:
        self._server.close()


class TLSListener(Listener):
    """Requires a client certificate signed by `authority`."""

    def __init__(self, certificate: Path, key: Path, authority: Authority):
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority.certificate)
        self._context.load_cert_chain(certificate, key)
        self._context.verify_mode = ssl.CERT_REQUIRED
        self.clients: list[tuple[str, str, int]] = []
        """For each finished handshake: the client certificate's name, the TLS version, and the first API requested."""
        self.failures: list[str] = []
        """The reason of each failed handshake."""
        super().__init__(self._speak)

    def _speak(self, connection: socket.socket) -> None:
        try:
            secured = self._context.wrap_socket(connection, server_side=True)
        except ssl.SSLError as error:
            self.failures.append(error.reason or str(error))
            return
        with secured:
            subject = dict(pair[0] for pair in secured.getpeercert()["subject"])
            version = secured.version()
            api, *_ = read_request(secured)
            self.clients.append((subject["commonName"], version, api))


@dataclass
class Request:
    api: int
    version: int
    correlation: int
    body: bytes

    def __iter__(self):
        return iter((self.api, self.version, self.correlation, self.body))


def read_request(connection: socket.socket) -> Request:
    """The next request; its body begins after the client's id."""
    (length,) = struct.unpack(">i", read_exactly(connection, 4))
    data = read_exactly(connection, length)
    api, version, correlation, name = struct.unpack_from(">hhih", data)
    return Request(api, version, correlation, data[10 + max(0, name) :])


def read_exactly(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        if not (more := connection.recv(count - len(data))):
            raise EOFError
        data += more
    return data


def text(value: str) -> bytes:
    return struct.pack(">h", len(value)) + value.encode()


class SASLListener(Listener):
    """Speaks Kafka up to the end of SASL, and records what clients sent."""

    def __init__(self, mechanism: str, authenticate: Callable[[list[bytes]], tuple[bytes, str | None]]):
        """`authenticate` gets all tokens of a connection so far; it returns the answer, or the reason to refuse."""
        self._mechanism = mechanism
        self._authenticate = authenticate
        self.mechanisms: list[str] = []
        self.tokens: list[list[bytes]] = []
        """The tokens of each connection."""
        self.later: list[int] = []
        """APIs requested after a successful handshake."""
        super().__init__(self._speak)

    def _speak(self, connection: socket.socket) -> None:
        tokens: list[bytes] = []
        self.tokens.append(tokens)
        while True:
            api, version, correlation, body = read_request(connection)
            if api == API_VERSIONS:
                answer = self._versions(version)
            elif api == SASL_HANDSHAKE:
                self.mechanisms.append(body[2:].decode())
                answer = struct.pack(">hi", 0, 1) + text(self._mechanism)
            elif api == SASL_AUTHENTICATE:
                tokens.append(body[4:])
                token, refusal = self._authenticate(tokens)
                code = AUTHENTICATION_FAILED if refusal else 0
                answer = struct.pack(">h", code) + (text(refusal) if refusal else struct.pack(">h", -1))
                answer += struct.pack(">i", len(token)) + token + (struct.pack(">q", 0) if version > 0 else b"")
            else:
                self.later.append(api)
                return
            connection.sendall(struct.pack(">ii", 4 + len(answer), correlation) + answer)

    @staticmethod
    def _versions(version: int) -> bytes:
        # From version 3 on, lists begin with their length plus one, and tagged fields follow each entry.
        tags = b"\0" if version >= 3 else b""
        count = bytes([len(VERSIONS) + 1]) if version >= 3 else struct.pack(">i", len(VERSIONS))
        entries = b"".join(struct.pack(">hhh", api, *span) + tags for api, span in VERSIONS.items())
        return struct.pack(">h", 0) + count + entries + (struct.pack(">i", 0) if version > 0 else b"") + tags


class Scram:
    """The server's side of SCRAM (RFC 5802), for one user."""

    def __init__(self, digest: str, password: str):
        self._digest = digest
        self._salted = hashlib.pbkdf2_hmac(digest, password.encode(), b"salt", 4096)

    def __call__(self, tokens: list[bytes]) -> tuple[bytes, str | None]:
        first = tokens[0].removeprefix(b"n,,")
        nonce = first.partition(b",r=")[2] + b"server"
        server = b"r=" + nonce + b",s=" + base64.b64encode(b"salt") + b",i=4096"
        if len(tokens) == 1:
            return server, None
        final, _, proof = tokens[1].rpartition(b",p=")
        message = b",".join((first, server, final))
        client_key = self._hmac(self._salted, b"Client Key")
        signature = self._hmac(hashlib.new(self._digest, client_key).digest(), message)
        expected = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        if base64.b64decode(proof) != expected:
            return b"", "the proof is wrong"
        return b"v=" + base64.b64encode(self._hmac(self._hmac(self._salted, b"Server Key"), message)), None

    def _hmac(self, key: bytes, message: bytes) -> bytes:
        return hmac.new(key, message, self._digest).digest()

"""TLS and SASL by configuration, up to the handshake, and secrets that appear nowhere.

The suite's broker speaks neither; the listeners here stop after the handshake.
"""

import base64
import threading
import time

import pytest

from children import TAILRACE, Child
from secure_listeners import Authority, SASLListener, Scram, TLSListener
from test_console import Console
from topologies import TailSampling

API_VERSIONS, METADATA = 18, 3
CONFIGURATION_ERROR = 2
USER, SECRET = "tailrace-user", "correct$horse\"battery'stäple"


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"), "trusted")


@pytest.fixture
def start_at(children, write):
    """Starts a worker with the given properties for the broker at an address."""

    def start_at(name: str, address: str, environment: dict[str, str] | None = None, **kafka: str) -> Child:
        properties = {each.replace("__", "."): value for each, value in kafka.items()}
        path = write(TailSampling(name, kafka=properties))
        return children.start(name, [TAILRACE, "run", path], {"BROKER": address, **(environment or {})})

    return start_at


@pytest.fixture
def listening():
    listeners = []

    def listening(listener):
        listeners.append(listener)
        return listener

    yield listening
    for each in listeners:
        each.close()


def test_mutual_tls(start_at, listening, authority):
    listener = listening(TLSListener(*authority.issue("broker"), authority))
    certificate, key = authority.issue("tailrace")
    worker = start_at(
        "security-mtls", listener.address,
        security__protocol="ssl", ssl__ca__location=str(authority.certificate),
        ssl__certificate__location=str(certificate), ssl__key__location=str(key),
    )  # fmt: skip
    worker.wait_for(lambda: listener.clients, "a handshake")
    name, version, api = listener.clients[0]
    assert name == "tailrace" and version in ("TLSv1.2", "TLSv1.3")
    assert api == API_VERSIONS, "Kafka's protocol goes through the tunnel"
    assert not listener.failures
    assert worker.stop() == 0


def test_certificate_and_key_from_files_of_a_secret(start_at, listening, authority):
    """The same with the PEM texts themselves, which have many lines."""
    listener = listening(TLSListener(*authority.issue("broker"), authority))
    certificate, key = authority.issue("tailrace-pem")
    worker = start_at(
        "security-pem", listener.address,
        security__protocol="ssl", ssl__ca__pem=f"${{file:{authority.certificate}}}",
        ssl__certificate__pem=f"${{file:{certificate}}}", ssl__key__pem=f"${{file:{key}}}",
    )  # fmt: skip
    worker.wait_for(lambda: listener.clients, "a handshake")
    assert listener.clients[0][0] == "tailrace-pem"
    shown = worker.output + Console(worker).get("/configz")[1]
    assert not any(line in shown for line in key.read_text().splitlines())
    assert worker.stop() == 0


def test_a_broker_that_is_not_trusted_is_refused(start_at, listening, authority, tmp_path):
    listener = listening(TLSListener(*Authority(tmp_path, "other").issue("broker"), authority))
    worker = start_at(
        "security-untrusted", listener.address,
        security__protocol="ssl", ssl__ca__location=str(authority.certificate),
    )  # fmt: skip
    worker.wait_for(lambda: "certificate verify failed" in worker.output, "why it does not connect")
    worker.wait_for(lambda: listener.failures, "an end of the handshake")
    assert not listener.clients, "nothing was said to it"
    assert worker.stop() == 0


def test_a_certificate_for_another_host_is_refused(start_at, listening, authority):
    """Signed by an authority we trust, but for another host: without a name check any certificate makes a broker."""
    listener = listening(TLSListener(*authority.issue("other-host", "DNS:elsewhere.example"), authority))
    worker = start_at(
        "security-other-host", listener.address,
        security__protocol="ssl", ssl__ca__location=str(authority.certificate),
    )  # fmt: skip
    worker.wait_for(lambda: "certificate verify failed" in worker.output, "why it does not connect")
    worker.wait_for(lambda: listener.failures, "an end of the handshake")
    assert not listener.clients, "nothing was said to it"
    assert worker.stop() == 0


def test_without_a_client_certificate_the_broker_refuses(start_at, listening, authority):
    listener = listening(TLSListener(*authority.issue("broker"), authority))
    worker = start_at(
        "security-nobody", listener.address,
        security__protocol="ssl", ssl__ca__location=str(authority.certificate),
    )  # fmt: skip
    worker.wait_for(lambda: listener.failures, "a refusal")
    assert listener.failures[0] == "PEER_DID_NOT_RETURN_A_CERTIFICATE"
    worker.wait_for(lambda: "no answer from the brokers" in worker.output, "a word about it")
    assert worker.stop() == 0


def test_plain(start_at, listening, tmp_path):
    """The broker repeats the password in its refusal: it still appears nowhere."""
    read = threading.Event()

    def refuse(tokens: list[bytes]) -> tuple[bytes, str]:
        read.wait(30)
        return b"", f"wrong: {tokens[0].decode()[1:]} {SECRET}"

    listener = listening(SASLListener("PLAIN", refuse))
    (tmp_path / "password").write_text(f"{SECRET}\n")
    worker = start_at(
        "security-plain", listener.address, {"KAFKA_USER": USER},
        security__protocol="sasl_plaintext", sasl__mechanism="PLAIN", debug="security,broker",
        sasl__username="${KAFKA_USER}", sasl__password=f"${{file:{tmp_path / 'password'}}}",
    )  # fmt: skip
    console = Console(worker)
    pages = {page: console.get(page)[1] for page in ("/configz", "/metrics", "/readyz", "/livez", "/startupz")}
    read.set()
    worker.wait_for(lambda: "wrong:" in worker.output, "what the broker says")
    assert worker.stop() == 0
    assert listener.mechanisms[0] == "PLAIN"
    assert next(tokens for tokens in listener.tokens if tokens) == [f"\0{USER}\0{SECRET}".encode()]
    assert 'sasl.password: "***"' in pages["/configz"]
    for shown in (worker.output, *pages.values()):
        assert SECRET not in shown


def test_check_says_why_it_is_refused(listening, authority, tailrace, write, tmp_path):
    """At once, not after the broker's timeout."""
    untrusted = listening(TLSListener(*Authority(tmp_path, "untrusted").issue("broker"), authority))
    strict = listening(SASLListener("PLAIN", lambda tokens: (b"", "wrong password")))
    login = {"sasl.mechanism": "PLAIN", "sasl.username": USER, "sasl.password": "pass-word"}
    for name, address, properties, reason in (
        ("tls", untrusted.address, {"security.protocol": "ssl", "ssl.ca.location": str(authority.certificate)}, "certificate verify failed"),
        ("sasl", strict.address, {"security.protocol": "sasl_plaintext", **login}, "wrong password"),
    ):
        topology = TailSampling(f"security-check-{name}", kafka=properties)
        begun = time.monotonic()
        result = tailrace("check", "--connect", "--quiet", write(topology), address=address)
        assert result.returncode == 1 and reason in result.stdout, result.stdout
        assert time.monotonic() - begun < 12
        assert "pass-word" not in result.stdout


@pytest.mark.parametrize("digest", ["sha256", "sha512"])
def test_scram(start_at, listening, digest):
    mechanism = {"sha256": "SCRAM-SHA-256", "sha512": "SCRAM-SHA-512"}[digest]
    listener = listening(SASLListener(mechanism, Scram(digest, SECRET)))
    worker = start_at(
        f"security-{digest}", listener.address, {"KAFKA_PASSWORD": SECRET},
        security__protocol="sasl_plaintext", sasl__mechanism=mechanism,
        sasl__username=USER, sasl__password="${KAFKA_PASSWORD}",
    )  # fmt: skip
    worker.wait_for(lambda: listener.later, "requests of somebody who has shown who he is")
    assert listener.mechanisms[0] == mechanism
    first, final = next(tokens for tokens in listener.tokens if len(tokens) == 2)
    assert first.startswith(f"n,,n={USER},r=".encode())
    assert SECRET.encode() not in first + final, "SCRAM never sends the password"
    assert worker.stop() == 0
    assert SECRET not in worker.output


def test_oauthbearer(start_at, listening):
    """With librdkafka's own unsecured tokens; the properties of OIDC are read by the same code."""
    listener = listening(SASLListener("OAUTHBEARER", lambda tokens: (b"", None)))
    worker = start_at(
        "security-oauth", listener.address,
        security__protocol="sasl_plaintext", sasl__mechanism="OAUTHBEARER",
        enable__sasl__oauthbearer__unsecure__jwt="true", sasl__oauthbearer__config=f"principal={USER}",
    )  # fmt: skip
    worker.wait_for(lambda: listener.later, "requests of somebody who has shown who he is")
    sent = next(tokens[0] for tokens in listener.tokens if tokens)
    assert sent.startswith(b"n,,\x01auth=Bearer ")
    claims = sent.partition(b"Bearer ")[2].split(b".")[1]
    assert USER.encode() in base64.urlsafe_b64decode(claims + b"=" * (-len(claims) % 4))
    assert worker.stop() == 0
    assert USER not in worker.output


def test_a_secret_that_is_not_there(children, tailrace):
    path = children.directory / "security-missing.yaml"
    path.write_text("kind: tail-sampling\nkafka:\n  sasl.password: ${file:/no/such/secret}\n")
    assert tailrace("check", path).returncode == 0
    for command in (["check", "--resolve", path], ["check", "--connect", path], ["run", path]):
        result = tailrace(*command)
        assert result.returncode == CONFIGURATION_ERROR, result.stdout
        assert f"{path}:3:" in result.stdout and "/no/such/secret" in result.stdout

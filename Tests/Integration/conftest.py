"""One broker for the session; programs per test, their logs shown when it fails, and none left behind."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

from children import TAILRACE, Child, Children
from parts import start_broker, start_collector
from topics import Broker, Reader
from topologies import Topology

INTEGRATION = Path(__file__).parent


def pytest_configure() -> None:
    """Without its real parts the suite tests nothing, so that is a failure and never a skip."""
    missing = []
    for line in (INTEGRATION / "requirements.txt").read_text().splitlines():
        package, _, wanted = line.partition("==")
        if not wanted:
            continue
        try:
            if (found := version(package)) != wanted:
                missing.append(f"{package} is {found}, not {wanted}")
        except PackageNotFoundError:
            missing.append(f"{package} {wanted} is not installed")
    if missing:
        raise pytest.UsageError("; ".join(missing) + ": run `make setup`")
    if not os.access(TAILRACE, os.X_OK):
        raise pytest.UsageError(f"no program at {TAILRACE}: run `make build`, or set TAILRACE to its path")


CHILDREN = pytest.StashKey[Children]()
FIRST_CHILD = pytest.StashKey[int]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo) -> Iterator[None]:
    """Adds the logs of all programs that ran during a failed test to its report."""
    report = yield
    # The session's own end comes with its last test, after the logs are gone.
    if report.failed and call.when != "teardown" and (children := item.session.stash.get(CHILDREN, None)):
        # The broker, and the programs started by this test.
        for child in [*children.all[:1], *children.all[item.stash.get(FIRST_CHILD, 1) :]]:
            code = child.process.poll()
            report.sections.append((f"{child.name}: {'running' if code is None else code}", child.tail))
    return report


@pytest.fixture(scope="session")
def session_children(request: pytest.FixtureRequest) -> Iterator[Children]:
    directory = Path(tempfile.mkdtemp(prefix="tailrace-integration-"))
    children = Children(directory)
    request.session.stash[CHILDREN] = children
    yield children
    children.kill_since(0)
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def broker(session_children: Children) -> Iterator[Broker]:
    # It is killed with the rest: with a session's data its own end takes a minute, and is not what is tested.
    _, broker = start_broker(session_children)
    yield broker


@pytest.fixture
def children(request: pytest.FixtureRequest, session_children: Children) -> Iterator[Children]:
    """Programs of one test; all are killed at its end."""
    first = request.node.stash[FIRST_CHILD] = len(session_children.all)
    yield session_children
    session_children.kill_since(first)


@pytest.fixture
def write(session_children: Children) -> Callable[[Topology], Path]:
    """Writes a topology to its file."""

    def write(topology: Topology) -> Path:
        path = session_children.directory / f"{topology.label}.yaml"
        path.write_text(topology.text)
        return path

    return write


@pytest.fixture
def start(
    broker: Broker, children: Children, write: Callable[[Topology], Path]
) -> Callable[[Topology], Child]:
    """Starts a worker."""

    def start(topology: Topology) -> Child:
        environment = {"BROKER": broker.address}
        return children.start(topology.label, [TAILRACE, "run", write(topology)], environment)

    return start


@pytest.fixture
def run(start: Callable[[Topology], Child]) -> Callable[[Topology], Child]:
    """Starts a worker, and returns once it has partitions."""

    def run(topology: Topology) -> Child:
        worker = start(topology)
        worker.wait_for(lambda: "assigned" in worker.output, "a line that says that partitions were assigned")
        return worker

    return run


@pytest.fixture
def tailrace(broker: Broker) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a command to its end; the result has `returncode`, and `stdout` with all output."""

    def tailrace(*arguments: str | Path, address: str | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [TAILRACE, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "BROKER": address or broker.address},
            text=True,
            timeout=60,
            check=False,
        )

    return tailrace


@pytest.fixture
def read(broker: Broker) -> Iterator[Callable[..., Reader]]:
    readers: list[Reader] = []

    def read(*names: str, isolation: str = "read_committed") -> Reader:
        readers.append(broker.read(*names, isolation=isolation))
        return readers[-1]

    yield read
    for reader in readers:
        reader.close()


@pytest.fixture
def collector(broker: Broker, children: Children) -> Callable[[str], tuple[str, str]]:
    """Starts rotel, which exports to a topic; returns its addresses for OTLP over gRPC and over HTTP."""
    return lambda topic: start_collector(children, broker, topic)

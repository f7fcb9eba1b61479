"""The processes that the suite starts. None outlives it, however it ends."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

DEADLINE = 60.0
"""Seconds after which a wait has failed; generous, because the machine may be busy."""

REPOSITORY = Path(__file__).resolve().parents[2]
TAILRACE = Path(os.environ.get("TAILRACE") or REPOSITORY / ".build/release/tailrace").absolute()

# The kernel kills a child whose parent is gone: only this covers a `kill -9` of the test run.
_TIED = [setpriv, "--pdeathsig", "KILL"] if (setpriv := shutil.which("setpriv")) else []

Value = TypeVar("Value")


def wait_until(condition: Callable[[], Value], what: str, deadline: float = DEADLINE) -> Value:
    """Waits until `condition` returns something true, and returns that."""
    end = time.monotonic() + deadline
    while not (value := condition()):
        assert time.monotonic() < end, f"after {deadline:.0f} s still waiting for: {what}"
        time.sleep(0.02)
    return value


def free_ports(count: int) -> list[int]:
    """Different ports that are free at this moment."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def accepts_connections(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Child:
    """A running program, with everything it prints in a file."""

    def __init__(
        self, name: str, command: list[str | Path], log: Path, environment: dict[str, str] | None = None
    ):
        self.name = name
        self.log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [*_TIED, *map(str, command)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    @property
    def tail(self) -> str:
        return self.output[-12_000:]

    def require_running(self) -> None:
        code = self.process.poll()
        assert code is None, f"{self.name} has ended with exit code {code}"

    def wait_for(self, condition: Callable[[], Value], what: str, deadline: float = DEADLINE) -> Value:
        """Waits until `condition` is true; fails at once if the program ends first."""

        def checked() -> Value:
            self.require_running()
            return condition()

        return wait_until(checked, f"{self.name}: {what}", deadline)

    def stop(self) -> int:
        """Asks the program to end (SIGTERM) and returns its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} did not end within {DEADLINE:.0f} s of SIGTERM") from None

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Stops every thread of the program: SIGSTOP alone returns before the last of them has stopped."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            self.wait_for(lambda: all(state == "T" for state in self._thread_states()), "to stand still")
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def _thread_states(self) -> list[str]:
        tasks = Path(f"/proc/{self.process.pid}/task")
        # The state is the first field after the name, which is in parentheses and may contain any character.
        return [each.joinpath("stat").read_text().rpartition(")")[2].split()[0] for each in tasks.iterdir()]

    def kill(self) -> None:
        """Ends the program without a chance to clean up (SIGKILL)."""
        self.process.kill()
        self.process.wait()


class Children:
    """All programs of the session, in start order."""

    def __init__(self, directory: Path):
        self.directory = directory
        self.all: list[Child] = []

    def start(self, name: str, command: list[str | Path], environment: dict[str, str] | None = None) -> Child:
        child = Child(name, command, self.directory / f"{len(self.all):02}-{name}.log", environment)
        self.all.append(child)
        return child

    def kill_since(self, count: int) -> None:
        """Kills those started after the first `count`, the latest first."""
        for child in reversed(self.all[count:]):
            child.kill()

"""The image as the manifests run it: confined, probed from another network, reconfigured, crashed, stopped.

Not part of the suite: `make image-test` runs it on the image built by `make image`. It needs podman, runc and root.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from manifests import KUBERNETES, REPOSITORY, Manifest, generated, only, render, worker

sys.path.append(str(REPOSITORY / "Tests" / "Integration"))

from children import Child, Children, accepts_connections, free_ports, wait_until  # noqa: E402
from ledger import Page  # noqa: E402
from topics import Broker  # noqa: E402

IMAGE = os.environ.get("IMAGE", "tailrace:0.1.0")
PODMAN = ["podman", "--storage-driver", "overlay", "--runtime", "runc", "--cgroup-manager", "cgroupfs"]
HERE = {"IPv4": "10.213.77.1", "IPv6": "fd13:77::1"}
THERE = {"IPv4": "10.213.77.2", "IPv6": "fd13:77::2"}
"""The addresses of both ends of the link between this network and the network of the probes."""


def do(*command: Any) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


class ConfigMapFolder:
    """A mounted ConfigMap as the kubelet writes it: files are links into a folder that is swapped as a whole."""

    def __init__(self, path: Path, data: dict[str, str]):
        self.path, self._count = path, 0
        path.mkdir(mode=0o755)
        self.write(data)
        for name in data:
            (path / name).symlink_to(f"..data/{name}")

    def write(self, data: dict[str, str]) -> None:
        before = self.path / f"..{self._count}"
        self._count += 1
        folder = self.path / f"..{self._count}"
        folder.mkdir(mode=0o755)
        for name, text in data.items():
            (folder / name).write_text(text)
        (self.path / "..data_tmp").symlink_to(folder.name)
        (self.path / "..data_tmp").rename(self.path / "..data")
        shutil.rmtree(before, ignore_errors=True)


class Worker:
    """A container in this network, run according to its manifest."""

    def __init__(self, child: Child, name: str, port: int, topology: ConfigMapFolder, text: str):
        self.child, self.name, self.port = child, name, port
        self.topology, self.text = topology, text

    @property
    def pid(self) -> int:
        return int(do(*PODMAN, "inspect", "--format", "{{.State.Pid}}", self.name))

    def signal(self, name: str) -> None:
        do(*PODMAN, "kill", "--signal", name, self.name)


def arguments(pod: Manifest, container: Manifest, environment: dict[str, str]) -> list[str]:
    """The parts of a pod's specification that podman has flags for. Its own seccomp profile is `RuntimeDefault`."""
    security, own = pod["securityContext"], container["securityContext"]
    flags = ["--user", f"{security['runAsUser']}:{security['runAsGroup']}"]
    if own["readOnlyRootFilesystem"]:
        flags += ["--read-only", "--read-only-tmpfs=false"]
    if not own["allowPrivilegeEscalation"]:
        flags += ["--security-opt", "no-new-privileges"]
    for capability in own["capabilities"]["drop"]:
        flags += ["--cap-drop", capability.lower()]
    flags += ["--memory", container["resources"]["limits"]["memory"].replace("Mi", "m")]
    for name, value in environment.items():
        flags += ["--env", f"{name}={value}"]
    return flags


Run = Callable[..., Child]


@pytest.fixture(scope="module")
def children() -> Iterator[Children]:
    directory = Path(tempfile.mkdtemp(prefix="tailrace-image-"))
    directory.chmod(0o755)
    children = Children(directory)
    yield children
    children.kill_since(0)
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="module")
def broker(children: Children) -> Iterator[Broker]:
    (port,) = free_ports(1)
    program = Path(str(files("noida_db") / "noida-db"))
    command = [program, "start", "--only", "kafka", "--data-dir", children.directory / "broker"]
    server = children.start("broker", [*command, "--kafka-port", str(port)])
    server.wait_for(lambda: accepts_connections(port), "to listen")
    yield Broker(f"127.0.0.1:{port}")
    server.stop()


@pytest.fixture(scope="module")
def neighbour() -> Iterator[Callable[[str, int, str], tuple[int, str]]]:
    """Another network, as the kubelet's is to a pod; requests a page from there."""
    name = f"tailrace-{os.getpid()}"
    do("ip", "netns", "add", name)
    try:
        do("ip", "link", "add", "tailrace-here", "type", "veth", "peer", "name", "there", "netns", name)
        inside = ["ip", "-n", name]
        for prefix, device, ends in (["ip"], "tailrace-here", HERE), (inside, "there", THERE):
            do(*prefix, "address", "add", f"{ends['IPv4']}/30", "dev", device)
            do(*prefix, "address", "add", f"{ends['IPv6']}/64", "dev", device, "nodad")
            do(*prefix, "link", "set", device, "up")

        def ask(family: str, port: int, path: str) -> tuple[int, str]:
            host = f"[{HERE[family]}]" if family == "IPv6" else HERE[family]
            done = subprocess.run(
                ["ip", "netns", "exec", name, sys.executable, "-c", ASK, f"http://{host}:{port}{path}"],
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            status, _, body = done.stdout.partition("\n")
            return (int(status), body) if done.returncode == 0 else (0, done.stderr)

        yield ask
    finally:
        do("ip", "netns", "delete", name)


ASK = """
import sys, urllib.error, urllib.request
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
try:
    answer = opener.open(sys.argv[1], timeout=5)
except urllib.error.HTTPError as error:
    answer = error
print(answer.status, answer.read().decode(), sep="\\n", end="")
"""


@pytest.fixture(scope="module")
def manifests() -> list[Manifest]:
    return render(KUBERNETES / "overlays" / "development")


@pytest.fixture
def run(children: Children) -> Iterator[Run]:
    """Runs the first container of a pod."""
    names: list[str] = []

    def run(
        pod: Manifest, environment: dict[str, str], folders: dict[str, Path], *command: str
    ) -> tuple[Child, str]:
        (container,) = pod["containers"]
        name = f"tailrace-{os.getpid()}-{time.monotonic_ns()}"
        names.append(name)
        # As filled in by the API server: a pod knows its name.
        downward = {
            entry["name"]: name
            for entry in container.get("env", [])
            if entry.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath") == "metadata.name"
        }
        flags = arguments(pod, container, {**downward, **environment})
        for mount in container.get("volumeMounts", []):
            if mount["name"] in folders:
                flags += ["--volume", f"{folders[mount['name']]}:{mount['mountPath']}:ro"]
        # Less than podman's default: raising a limit needs a right that not every host gives.
        flags += ["--ulimit", "nofile=16384:16384", "--ulimit", "nproc=4096:4096"]
        flags += ["--network", "host", "--pull", "never", "--log-driver", "none", "--name", name]
        words = [*PODMAN, "run", "--rm", *flags, IMAGE, *(command or container["args"])]
        return children.start(name, words), name

    yield run
    for name in names:
        subprocess.run([*PODMAN, "rm", "--force", "--time", "0", name], capture_output=True, check=False)


@pytest.fixture
def running(
    manifests: list[Manifest], broker: Broker, children: Children, neighbour: Any, run: Run
) -> Iterator[Worker]:
    """A worker that is ready."""
    (port,) = free_ports(1)
    text = generated(manifests, "tailrace-topology")["topology.yaml"].replace("port: 8080", f"port: {port}")
    # Its own group: otherwise it would wait for the session of a member killed by the previous test.
    text += f"\ngroup: image-{port}\n"
    path = children.directory / f"topology-{port}"
    topology = ConfigMapFolder(path, {"topology.yaml": text})
    environment = {**generated(manifests, "tailrace-environment"), "KAFKA_BROKERS": broker.address}
    pod = worker(manifests)["spec"]["template"]["spec"]
    child, name = run(pod, environment, {"topology": path})
    child.wait_for(lambda: neighbour("IPv4", port, "/readyz")[0] == 200, "to be ready")
    yield Worker(child, name, port, topology, text)


def test_it_is_confined(running: Worker) -> None:
    status = dict(
        line.split(":\t", 1) for line in Path(f"/proc/{running.pid}/status").read_text().splitlines()
    )
    assert set(status["Uid"].split()) == set(status["Gid"].split()) == {"65532"}
    for kind in "Inh", "Prm", "Eff", "Bnd", "Amb":
        assert int(status[f"Cap{kind}"], 16) == 0, kind
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2", "there is no filter"
    mounts = [line.split() for line in Path(f"/proc/{running.pid}/mountinfo").read_text().splitlines()]
    (root,) = [mount for mount in mounts if mount[4] == "/"]
    assert "ro" in root[5].split(",")


@pytest.mark.parametrize("family", ["IPv4", "IPv6"])
def test_probes_are_answered_to_another_network(
    running: Worker, manifests: list[Manifest], neighbour: Any, family: str
) -> None:
    (container,) = worker(manifests)["spec"]["template"]["spec"]["containers"]
    for probe in "startupProbe", "livenessProbe", "readinessProbe":
        path = container[probe]["httpGet"]["path"]
        assert neighbour(family, running.port, path) == (200, "ok\n"), probe
    assert "tailrace_build_info" in neighbour(family, running.port, "/metrics")[1]


def test_traffic_is_decided(
    running: Worker, manifests: list[Manifest], broker: Broker, run: Run
) -> None:
    pod = only(manifests, "Job", "traffic")["spec"]["template"]["spec"]
    words = [broker.address if word == "kafka:9092" else word for word in pod["containers"][0]["args"]]
    child, _ = run(pod, {}, {}, *words)
    assert child.process.wait(60) == 0, child.tail
    reader = broker.read("decisions", "verdicts")

    def kept() -> set[bytes]:
        return {record.key for record in reader.records["decisions"] if json.loads(record.value)["verdict"] == "keep"}

    def dropped() -> int:
        return sum(len(Page(record.value).entries) for record in reader.records["verdicts"])

    reader.until(
        lambda: len(kept()) + dropped() >= 2000, "all traces to be decided", running.child.require_running
    )
    assert kept() and dropped()
    reader.close()


def test_a_swapped_config_map_is_applied(running: Worker, neighbour: Any) -> None:
    changed = running.text.replace("sampling_percentage: 1}", "sampling_percentage: 7}")
    assert changed != running.text
    running.topology.write({"topology.yaml": changed})
    percentage = "sampling_percentage: 7"
    wait_until(lambda: percentage in neighbour("IPv4", running.port, "/configz")[1], "the change")
    assert 'tailrace_config_reloads_total{result="taken"} 1' in neighbour("IPv4", running.port, "/metrics")[1]
    running.topology.write({"topology.yaml": changed.replace("policies:", "polices:")})
    refused = "tailrace_config_refused 1"
    wait_until(lambda: refused in neighbour("IPv4", running.port, "/metrics")[1], "the refusal")
    assert neighbour("IPv4", running.port, "/readyz")[0] == 200


def test_a_crash_is_one_report(running: Worker) -> None:
    """One line announces the report, which is the next line: nothing else is not JSON."""
    running.signal("SEGV")
    running.child.wait_for(lambda: '"kind": "crashReport"' in running.child.output, "a report")
    wait_until(lambda: running.child.output.endswith("\n"), "its end")
    others, reports = [], []
    for line in running.child.output.splitlines():
        if line.startswith("{"):
            reports += [found] if (found := json.loads(line)).get("kind") == "crashReport" else []
        elif line:
            others.append(line)
    (report,) = reports
    assert len(others) == 1 and "Backtracing from" in others[0], others
    # The thread that waits for the end, in the C library: only its name is certain.
    (crashed,) = [thread for thread in report["threads"] if thread.get("crashed")]
    assert crashed["frames"]
    print(json.dumps(report, indent=1)[:3000])


def test_sigterm_ends_it_with_zero(running: Worker) -> None:
    began = time.monotonic()
    running.signal("TERM")
    assert running.child.process.wait(40) == 0, running.child.tail
    print(f"{time.monotonic() - began:.1f} s from SIGTERM to the end")


def test_a_certificate_that_is_missing_is_seen_by_the_check(children: Children, run: Run) -> None:
    production = render(KUBERNETES / "overlays" / "production")
    pod = worker(production)["spec"]["template"]["spec"]
    folder = children.directory / "production"
    ConfigMapFolder(folder, {"topology.yaml": generated(production, "tailrace-topology")["topology.yaml"]})
    secret = children.directory / "secret"
    secret.mkdir(mode=0o755)
    environment = {
        **generated(production, "tailrace-environment"), "KAFKA_USERNAME": "u", "KAFKA_PASSWORD": "a password"
    }  # fmt: skip
    for is_there in False, True:
        if is_there:
            do("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=test", "-days", "1",
               "-keyout", children.directory / "key.pem", "-out", secret / "ca.crt")  # fmt: skip
        folders = {"topology": folder, "kafka-ca": secret}
        child, _ = run(pod, environment, folders, "check", "--resolve", "/etc/tailrace/topology.yaml")
        assert child.process.wait(60) == (0 if is_there else 2), child.tail
        assert is_there or "ssl.ca.location" in child.output and "/etc/tailrace-kafka/ca.crt" in child.output


def test_the_image_is_what_the_recipe_says() -> None:
    """The image contains nothing of the machine that built it."""
    inspected = json.loads(do(*PODMAN, "image", "inspect", IMAGE))[0]
    assert inspected["Config"]["User"] == "65532:65532"
    assert inspected["Config"]["Entrypoint"] == ["/usr/local/bin/tailrace"]
    root = Path(do(*PODMAN, "image", "mount", IMAGE).strip())
    try:
        ours = {
            str(path.relative_to(root)): path.stat().st_size
            for folder in ("usr/local", "opt", "srv", "mnt", "source", "image", "root")
            for path in (root / folder).rglob("*")
            if path.is_file() and not path.is_symlink()
        }
        assert not any((root / "opt").iterdir()), "a mount point of the build is left"
    finally:
        do(*PODMAN, "image", "unmount", IMAGE)
    print(f"{inspected['Size'] / 1e6:.0f} MB unpacked;", ours)
    assert {name for name in ours if not name.startswith("root/.")} == {
        "usr/local/bin/tailrace", "usr/local/libexec/swift-backtrace-static"
    }  # fmt: skip

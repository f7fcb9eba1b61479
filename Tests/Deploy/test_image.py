"""The image's recipe. It is not built here: that needs a container engine and the base images."""

import re

from manifests import DEPLOY, REPOSITORY, run, tool

DOCKERFILE = DEPLOY / "Dockerfile"
INSTRUCTIONS = [
    line
    for line in DOCKERFILE.read_text().replace("\\\n", " ").splitlines()
    if line and not line.startswith("#")
]


def arguments(instruction: str) -> list[str]:
    return [line.partition(" ")[2] for line in INSTRUCTIONS if line.startswith(instruction + " ")]


def test_it_is_sound() -> None:
    done = run(tool("hadolint"), DOCKERFILE)
    assert done.returncode == 0, done.stdout


def test_it_runs_as_nobody_and_without_a_shell() -> None:
    assert arguments("USER") == ["65532:65532"]
    assert arguments("ENTRYPOINT") == ['["/usr/local/bin/tailrace"]']
    assert [image.partition(" ")[0] for image in arguments("FROM")] == [
        "swift:6.3-bookworm",
        "debian:bookworm-slim",
    ]


def test_the_backtracer_is_where_the_runtime_looks() -> None:
    (setting,) = arguments("ENV")
    values = dict(pair.split("=", 1) for pair in setting.removeprefix("SWIFT_BACKTRACE=").split(","))
    assert values["enable"] == "yes" and values["interactive"] == "no"
    assert values["output-to"] == "stderr"
    folder, name = values["swift-backtrace"].rsplit("/", 1)
    copied = re.search(r"install -D (\S+) --target-directory /image(\S+)", " ".join(arguments("RUN")))
    assert copied and copied[1].rsplit("/", 1)[1] == name and copied[2] == folder


def test_the_build_sees_what_it_copies() -> None:
    rules = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    seen = {line[1:] for line in rules if line.startswith("!")}
    assert "*" in rules
    assert seen == {"Package.swift", "Package.resolved", "Sources", "Tests"}
    manifest = (REPOSITORY / "Package.swift").read_text()
    for target in re.findall(r'\.testTarget\(\s*name: "(\w+)"', manifest):
        assert f"Tests/{target}" not in rules and (REPOSITORY / "Tests" / target).is_dir()

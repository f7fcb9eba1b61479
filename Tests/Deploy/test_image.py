"""The image's recipe. It is not built here: `make image` and `make image-test` do that."""

import json
import re
import stat

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
        "swift:6.3.1-bookworm",
        "debian:bookworm-slim",
    ]


def test_the_backtracer_is_where_the_runtime_looks() -> None:
    (setting,) = arguments("ENV")
    values = dict(pair.split("=", 1) for pair in setting.removeprefix("SWIFT_BACKTRACE=").split(","))
    assert values["enable"] == "yes" and values["interactive"] == "no"
    assert values["output-to"] == "stderr"
    # Memory that registers point to may hold spans.
    assert values["registers"] == "none"
    folder, name = values["swift-backtrace"].rsplit("/", 1)
    copied = re.search(r"install -D (\S+) --target-directory /image(\S+)", " ".join(arguments("RUN")))
    assert copied and copied[1].rsplit("/", 1)[1] == name and copied[2] == folder


def test_the_build_sees_what_it_copies() -> None:
    rules = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    seen = {line[1:] for line in rules if line.startswith("!")}
    assert "*" in rules
    copied = {each.split()[0] for each in arguments("COPY") if not each.startswith("--from")}
    assert seen == copied == {"Package.swift", "Sources"}


def test_a_changed_test_builds_nothing_again() -> None:
    """No test is copied; the recipe creates empty targets, found by the ending of their names."""
    manifest = (REPOSITORY / "Package.swift").read_text()
    targets = re.findall(r'\.testTarget\(\s*name: "(\w+)"', manifest)
    assert targets and targets == sorted(set(targets), key=targets.index)
    (made,) = [each for each in arguments("RUN") if "Empty.swift" in each]
    (pattern,) = re.findall(r"grep -oE '(\S+)' Package.swift", made)
    assert set(re.findall(pattern, manifest)) == set(targets)


def test_versions_do_not_float() -> None:
    """Package.resolved is not committed: revisions may be a mirror's. Everything it names is in Package.swift."""
    manifest = (REPOSITORY / "Package.swift").read_text()
    dependencies = re.findall(r'\.package\(url: "[^"]+/([\w-]+)", (\w+): "([\d.]+)"\)', manifest)
    assert len(dependencies) == manifest.count(".package(url:")
    assert {requirement for _, requirement, _ in dependencies} == {"exact"}
    named = {name.lower(): version for name, _, version in dependencies}
    resolved = REPOSITORY / "Package.resolved"
    if resolved.exists():
        pins = {pin["identity"]: pin["state"]["version"] for pin in json.loads(resolved.read_text())["pins"]}
        # swift-nio names it for a product that is not used here.
        pins.pop("swift-system", None)
        # Only `make docs` resolves these, and leaves them in the file.
        for each in ("swift-docc-plugin", "swift-docc-symbolkit"):
            pins.pop(each, None)
            named.pop(each, None)
        assert pins == named


def test_the_scripts_are_sound() -> None:
    script = DEPLOY / "image" / "build.sh"
    assert script.stat().st_mode & stat.S_IXUSR
    assert (done := run(tool("shellcheck"), script)).returncode == 0, done.stdout

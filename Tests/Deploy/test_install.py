"""`make install`: the program, a man page for each command, and completions for each shell."""

import os
import re

from manifests import REPOSITORY, run

TAILRACE = os.environ.get("TAILRACE") or REPOSITORY / ".build/release/tailrace"


def test_everything_is_in_its_place(tmp_path) -> None:
    # The program is not built again.
    done = run(
        "make", "-C", REPOSITORY, "-o", "build", "install",
        f"TAILRACE={TAILRACE}", f"DESTDIR={tmp_path}", "PREFIX=/usr",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    usr = tmp_path / "usr"
    version = run(usr / "bin/tailrace", "version")
    assert version.returncode == 0 and version.stdout.strip()
    usage = run(usr / "bin/tailrace", "--help").stdout
    commands = re.findall(r"^  ([a-z-]+) {2,}\S", usage[usage.index("SUBCOMMANDS:") :], re.MULTILINE)
    assert {"run", "check", "replay", "version"} <= set(commands)
    for name in ["tailrace", *(f"tailrace.{command}" for command in commands)]:
        assert ".Nm" in (usr / f"share/man/man1/{name}.1").read_text(), name
    for path in (
        "bash-completion/completions/tailrace", "zsh/site-functions/_tailrace",
        "fish/vendor_completions.d/tailrace.fish",
    ):  # fmt: skip
        assert "plan-capacity" in (usr / "share" / path).read_text(), path

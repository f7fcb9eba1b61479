"""Pages of metrics in Prometheus's text format, read strictly, and Prometheus's own tool for them."""

import re
import shutil
import subprocess
from collections import Counter

SAMPLE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)')
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)')
SUFFIXES = {"histogram": ("_bucket", "_sum", "_count")}


def promtool(*arguments: str, text: str = "") -> str:
    """The output of promtool; fails if it reports a problem."""
    program = shutil.which("promtool")
    assert program, "no promtool: run `make setup`"
    result = subprocess.run([program, *arguments], input=text, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stderr


class Families:
    """A page of metrics. Each family appears once, with HELP and TYPE, in this order, before its samples."""

    def __init__(self, text: str):
        assert text.endswith("\n")
        self.types: dict[str, str] = {}
        self._samples: dict[str, list[tuple[dict[str, str], float]]] = {}
        helped = family = None
        seen = set()
        for line in text.splitlines():
            if line.startswith("# HELP "):
                _, _, helped, words = line.split(" ", 3)
                assert words and helped not in self.types, line
            elif line.startswith("# TYPE "):
                _, _, family, kind = line.split(" ")
                assert family == helped and kind in ("counter", "gauge", "histogram"), line
                assert (kind == "counter") == family.endswith("_total"), line
                self.types[family] = kind
            else:
                assert (found := SAMPLE.fullmatch(line)), line
                name, labels, value = found.groups()
                assert name in [family + each for each in SUFFIXES.get(self.types[family], ("",))], line
                pairs = LABEL.findall(labels or "")
                assert "".join(f'{key}="{value}",' for key, value in pairs) == (f"{labels}," if labels else ""), line
                assert (name, labels) not in seen, f"twice: {line}"
                seen.add((name, labels))
                self._samples.setdefault(name, []).append((dict(pairs), float(value)))

    def samples(self, name: str) -> list[tuple[dict[str, str], float]]:
        return self._samples.get(name, [])

    def value(self, name: str) -> float:
        """The one sample without labels."""
        ((labels, value),) = self.samples(name)
        assert not labels
        return value

    def sum(self, name: str) -> float:
        return sum(value for _, value in self.samples(name))

    def by(self, name: str, label: str) -> dict[str, float]:
        """Samples that have only this label."""
        return {labels[label]: value for labels, value in self.samples(name)}

    def counts(self, name: str, *names: str) -> Counter:
        """Samples by label values, without those of 0."""
        return Counter({tuple(labels[each] for each in names): int(value) for labels, value in self.samples(name) if value})

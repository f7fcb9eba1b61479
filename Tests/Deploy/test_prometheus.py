"""The rules for Prometheus: they are valid, they fire when they should, and each alert has its runbook entry."""

import re
import shutil
import subprocess
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
RULES = REPOSITORY / "Deploy/prometheus/rules.yaml"
DASHBOARD = REPOSITORY / "Deploy/grafana/tailrace.json"
RECORD = re.compile(r"\b[a-z_]+:[a-z0-9_]+:[a-z0-9_]+")
NAME = re.compile(r"\b(?:tailrace|process)_[a-z0-9_]+")


def promtool(*arguments: str | Path) -> str:
    program = shutil.which("promtool")
    assert program, "no promtool: run `make setup`"
    result = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def rules() -> list[dict]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def test_rules_are_sound():
    promtool("check", "rules", RULES)


def test_alerts_fire_when_they_should(tmp_path):
    path = tmp_path / "rules_test.yaml"
    path.write_text((Path(__file__).parent / "rules_test.yaml").read_text().replace("RULES", str(RULES)))
    promtool("test", "rules", path)


def test_no_rule_reads_a_record_of_another_group():
    """Groups are evaluated in no order, a group's rules in theirs: a record is only read after it in its group."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    records = {rule["record"] for group in groups for rule in group["rules"] if "record" in rule}
    assert records
    for group in groups:
        evaluated = set()
        for rule in group["rules"]:
            name = rule.get("record") or rule["alert"]
            read = set(RECORD.findall(rule["expr"]))
            assert read <= records, f"{name} reads what nothing records: {read - records}"
            assert read <= evaluated, f"{name} reads what its group has not recorded: {read - evaluated}"
            if "record" in rule:
                evaluated.add(rule["record"])


def test_every_alert_is_tested():
    text = (Path(__file__).parent / "rules_test.yaml").read_text()
    for name in (rule["alert"] for rule in rules() if "alert" in rule):
        assert f"{{alertname: {name}," in text, f"{name} is not shown to be silent"
        assert f"- alertname: {name}\n" in text, f"{name} is not shown to fire"


def test_every_alert_has_an_entry_in_the_runbook():
    headings = re.findall(r"^## (\w+)$", (REPOSITORY / "docs/runbook.md").read_text(), re.MULTILINE)
    alerts = {rule["alert"]: rule for rule in rules() if "alert" in rule}
    assert sorted(name for name in headings if name.startswith("Tailrace")) == sorted(alerts)
    for name, rule in alerts.items():
        assert rule["annotations"]["runbook_url"].endswith(f"/docs/runbook.md#{name.lower()}")
        assert rule["labels"]["severity"] in ("warning", "critical")


def test_every_metric_that_is_used_is_documented():
    documented = set(NAME.findall((REPOSITORY / "docs/metrics.md").read_text()))
    for path in (RULES, DASHBOARD, REPOSITORY / "docs/runbook.md"):
        recorded = {rule["record"].split(":")[1] for rule in rules() if "record" in rule}
        for name in set(NAME.findall(path.read_text())) - recorded:
            assert re.sub("_(bucket|sum|count)$", "", name) in documented, f"{path.name}: {name}"

"""The rules as promtool reads them, and what an alert has to bring along."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.sre.prometheus import RULE_FILES, RULES, alerts, promtool
from tests.sre.report import verified

DEPLOY = RULES.parent
COMMANDS = re.compile(r"# (\w+)\n\n```sh\n[^\n]+\n[^\n]+\n[^\n]+\n```\n\n\*\*What it means\*\*")
LINK = re.compile(r"\]\(([\w./]+\.md)\)")


def test_the_rules_and_the_configuration_are_sound() -> None:
    checked = promtool("check", "rules", *RULE_FILES)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    checked = promtool("check", "config", "--syntax-only", "prometheus.yml")
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_every_alert_fires_with_its_numbers_and_not_before() -> None:
    tested = promtool("test", "rules", "tests.yml")
    assert tested.returncode == 0, tested.stdout + tested.stderr
    text = (RULES / "tests.yml").read_text()
    assert set(re.findall(r"^ +alertname: (\w+)$", text, re.M)) == set(alerts())
    assert set(re.findall(r"alertname: (\w+), exp_alerts: \[\]", text)) == set(alerts())
    verified("Verified", f"- {len(alerts())} alerts: each is tested to fire, and not to before")


@pytest.mark.parametrize("name", sorted(alerts()))
def test_an_alert_has_what_a_person_needs_at_night(name: str) -> None:
    alert = alerts()[name]
    assert alert["labels"]["severity"] in ("page", "ticket")
    assert alert["annotations"]["runbook"] == f"deploy/runbooks/{name}.md"
    text = (DEPLOY / "runbooks" / f"{name}.md").read_text()
    found = COMMANDS.match(text)
    assert found is not None
    assert found[1] == name


def test_no_runbook_is_left_over_and_no_link_leads_nowhere() -> None:
    runbooks = {file.stem: file for file in (DEPLOY / "runbooks").glob("*.md")}
    assert set(runbooks) == {*alerts(), "README"}
    for file in runbooks.values():
        for target in LINK.findall(file.read_text()):
            assert (file.parent / Path(target)).exists(), (file.name, target)

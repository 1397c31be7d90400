"""What is shipped for running Hantar agrees with the program and with itself."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from service.cli.run import defaults
from service.settings import ROLES

DEPLOY = Path(__file__).parents[2] / "deploy"
DOCKERFILES = ("Dockerfile", "bridge.Dockerfile")


def test_every_setting_is_listed_with_its_default() -> None:
    text = (DEPLOY / "hantar.env").read_text()
    assert text == defaults(), "run hantar check-config --print-defaults > deploy/hantar.env"


@pytest.mark.parametrize("file", DOCKERFILES)
def test_a_dockerfile_is_clean(file: str) -> None:
    linter = shutil.which("hadolint", path=Path(sys.executable).parent) or "hadolint"
    done = subprocess.run([linter, str(DEPLOY / file)], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("file", DOCKERFILES)
def test_an_image_holds_what_its_dockerfile_copies_and_runs_as_nobody(file: str) -> None:
    text = (DEPLOY / file).read_text()
    allowed = (DEPLOY.parent / ".dockerignore").read_text().splitlines()
    for line in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.M):
        for name in line.split():
            assert (DEPLOY.parent / name).exists()
            assert f"!{name.split('/')[0]}" in allowed
    assert re.search(r"^USER 10001$", text, re.M)
    assert re.search(r"^STOPSIGNAL SIGTERM$", text, re.M)
    assert re.search(r"^HEALTHCHECK ", text, re.M)


def test_prometheus_scrapes_what_compose_runs() -> None:
    config = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())
    targets = [
        target.split(":")[0]
        for job in config["scrape_configs"]
        for group in job["static_configs"]
        for target in group["targets"]
    ]
    assert set(targets) == {*ROLES, "rabbitmq"}
    for file in config["rule_files"]:
        assert (DEPLOY / "prometheus" / Path(file).name).exists()

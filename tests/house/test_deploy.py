"""What is shipped for running Hantar agrees with the program and with itself."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.cli.run import defaults
from service.settings import ROLES, Settings

DEPLOY = Path(__file__).parents[2] / "deploy"
DOCKERFILES = ("Dockerfile", "bridge.Dockerfile")
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


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


def test_compose_runs_every_role_with_settings_that_there_are() -> None:
    known = {f"HANTAR_{name.upper()}" for name in Settings.model_fields}
    commands = [service.get("command", []) for service in SERVICES.values()]
    assert {command[2] for command in commands if command[:1] == ["run"]} == set(ROLES)
    for name, service in SERVICES.items():
        given = {key for key in service.get("environment", {}) if key.startswith("HANTAR_")}
        assert given <= known, name
        assert re.search(r":[\w.-]+$", service["image"]), f"{name} has no pinned image"
        assert set(service.get("depends_on", {})) <= set(SERVICES), name


def test_compose_mounts_what_is_there() -> None:
    for name, service in SERVICES.items():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            where = (DEPLOY / source).exists() if source[0] == "." else source in COMPOSE["volumes"]
            assert where, f"{name}: {source}"


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

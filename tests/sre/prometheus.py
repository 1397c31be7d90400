"""A real Prometheus, Debian's, as it would run beside an installation."""

from __future__ import annotations

import asyncio
import re
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from service.embedded.bound import bound
from tests.servers.node_folder import free_ports
from tests.servers.packages import Program, cache_folder, unpack
from tests.system import eventually

RULES = Path(__file__).parents[2] / "deploy/prometheus"
RULE_FILES = ("limits.yml", "slo.yml", "alerts.yml")
PROMTOOL_SECONDS = 120.0
PROMETHEUS = Program("Prometheus", ["prometheus"], "install it with `apt-get install prometheus`")
_DURATION = re.compile(r"(?<=\[)(\d+)([smhd])(?=\])")
_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def program(name: str) -> str:
    """The path of `prometheus` or `promtool`; fetched when it is not on this machine."""
    return shutil.which(name) or str(unpack(PROMETHEUS, cache_folder()) / "usr/bin" / name)


def promtool(*arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    """Run it among the rules and on what is given, for a bounded time."""
    return subprocess.run(
        [program("promtool"), *arguments],
        cwd=RULES,
        input=given,
        capture_output=True,
        text=True,
        timeout=PROMTOOL_SECONDS,
    )


@cache
def alerts() -> dict[str, dict[str, Any]]:
    """Every alert by its name."""
    groups = yaml.safe_load((RULES / "alerts.yml").read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def expressions() -> dict[str, str]:
    """Every rule's query; an alert by its name, a record by its name and labels."""
    found = {}
    for file in RULE_FILES:
        for group in yaml.safe_load((RULES / file).read_text())["groups"]:
            for rule in group["rules"]:
                labels = ",".join(rule.get("labels", {}).values())
                found[rule.get("alert") or f"{rule['record']}({labels})"] = rule["expr"]
    return found


def scaled(file: str, factor: float, limits: Mapping[str, float]) -> str:
    """The rules of a file with every window and wait so many times shorter, and other limits."""
    document = yaml.safe_load((RULES / file).read_text())
    for group in document["groups"]:
        for rule in group["rules"]:
            if rule.get("record") in limits:
                rule["expr"] = f"vector({limits[rule['record']]})"
            rule["expr"] = _DURATION.sub(
                lambda found: _shorter(found[1], found[2], factor), rule["expr"]
            )
            if "for" in rule:
                value, unit = re.fullmatch(r"(\d+)(\w)", rule["for"]).groups()  # type: ignore[union-attr]
                rule["for"] = _shorter(value, unit, factor, least=1)
    return yaml.safe_dump(document)


def _shorter(value: str, unit: str, factor: float, *, least: int = 5) -> str:
    return f"{max(least, round(int(value) * _UNIT_SECONDS[unit] / factor))}s"


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A running server, and what to ask it."""

    address: str
    http: aiohttp.ClientSession

    async def query(self, expression: str) -> list[dict[str, Any]]:
        """The series of an instant query; AssertionError when it is no query."""
        answer = await self._get("query", query=expression)
        result = answer["data"]["result"]
        if answer["data"]["resultType"] == "scalar":
            return [{"metric": {}, "value": result}]
        found: list[dict[str, Any]] = result
        return found

    async def range(self, expression: str, start: float, end: float, step: float) -> Any:
        """The series of a range query."""
        answer = await self._get(
            "query_range", query=expression, start=str(start), end=str(end), step=str(step)
        )
        return answer["data"]["result"]

    async def names(self) -> set[str]:
        """Every metric it has seen."""
        answer = await self._get("label/__name__/values")
        return set(answer["data"])

    async def series(self) -> list[tuple[str, dict[str, str]]]:
        """Every series of ours that it has seen, by name and labels."""
        answer = await self._get("series", **{"match[]": '{__name__=~"hantar_.+"}'})
        return [(each["__name__"], each) for each in answer["data"]]

    async def has_seen_all(self, targets: int) -> None:
        """Return once so many targets answered twice: what counters do from now on is seen."""

        async def look() -> bool:
            return len(await self.query("sum_over_time(up[1m]) >= 2")) == targets

        await eventually(look, within_seconds=30.0)

    async def rule_faults(self) -> dict[str, str]:
        """The rules that cannot be evaluated, with the reason."""
        answer = await self._get("rules")
        rules = [rule for group in answer["data"]["groups"] for rule in group["rules"]]
        assert rules, "no rule was read"
        return {rule["name"]: rule["lastError"] for rule in rules if rule.get("lastError")}

    async def firing(self) -> dict[str, str]:
        """The alerts that fire, with their summaries."""
        answer = await self._get("alerts")
        return {
            alert["labels"]["alertname"]: alert["annotations"]["summary"]
            for alert in answer["data"]["alerts"]
            if alert["state"] == "firing"
        }

    async def _get(self, path: str, **parameters: str) -> Any:
        async with self.http.get(
            f"{self.address}/api/v1/{path}",
            params=parameters,
            timeout=aiohttp.ClientTimeout(total=20),
        ) as response:
            answer = await response.json()
            assert answer["status"] == "success", f"{answer.get('error')}: {parameters}"
            return answer


@asynccontextmanager
async def running_prometheus(
    folder: Path,
    targets: Mapping[str, Mapping[str, str]],
    *,
    rules: Mapping[str, str] | None = None,
    every_seconds: int = 1,
) -> AsyncIterator[Prometheus]:
    """One that scrapes the addresses of instances by job, and evaluates these rules."""
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in (rules or {}).items():
        (folder / file).write_text(text)
    every = f"{every_seconds}s"
    config = {
        "global": {"scrape_interval": every, "scrape_timeout": every, "evaluation_interval": every},
        "rule_files": [str(folder / file) for file in rules or {}],
        "scrape_configs": [
            {
                "job_name": job,
                "static_configs": [
                    {"targets": [address], "labels": {"instance": name}}
                    for name, address in instances.items()
                ],
            }
            for job, instances in targets.items()
        ],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    [port] = free_ports(1)
    command = [
        program("prometheus"),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    process = _start(command, folder / "prometheus.log")
    try:
        async with aiohttp.ClientSession() as http:

            async def ready() -> bool:
                assert process.poll() is None, (folder / "prometheus.log").read_text()[-2000:]
                try:
                    async with http.get(f"http://127.0.0.1:{port}/-/ready") as answer:
                        return answer.status == 200
                except aiohttp.ClientError:
                    return False

            await eventually(ready, within_seconds=30.0)
            yield Prometheus(f"http://127.0.0.1:{port}", http)
    finally:
        process.terminate()
        try:
            await asyncio.to_thread(process.wait, 10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


def _start(command: list[str], log_file: Path) -> subprocess.Popen[bytes]:
    with log_file.open("wb") as log:
        return subprocess.Popen(
            bound(command, on_parent_death=signal.SIGKILL),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )

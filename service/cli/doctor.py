"""`hantar doctor`: what is wrong, and what to do."""

from __future__ import annotations

import asyncio

import click
import msgspec

from service.cli.database import database_address
from service.cli.doctor_broker import check_broker
from service.cli.doctor_database import check_database
from service.cli.findings import Finding, failed, ok, warning
from service.cli.key_file import key_file, read_seal
from service.cli.resources import as_json
from service.core.sealing import Seal
from service.settings import Settings, SettingsError, load, misspelt

_SIGNS = {"ok": ("ok", "green"), "warning": ("look", "yellow"), "failed": ("FAILED", "red")}


@click.command()
@as_json
def doctor(as_json: bool) -> None:
    """Look at settings, database, broker, leases, outbox, credits and devices; say what to do.

    Changes nothing. Exit code 1 when something does not work; what merely deserves a look is 0.
    """
    findings = asyncio.run(examine())
    if as_json:
        click.echo(msgspec.json.encode(findings).decode())
    else:
        _print(findings)
    if any(finding.verdict == "failed" for finding in findings):
        raise SystemExit(1)


async def examine() -> list[Finding]:
    """Every finding, of the settings of this process."""
    try:
        settings = load()
    except SettingsError as error:
        return [failed("settings", str(error), "correct them; `hantar check-config` lists all")]
    findings = [warning("settings", each, "correct or remove it") for each in misspelt()]
    findings = findings or [ok("settings", "sound")]
    seal, finding = _seal(settings)
    if finding is not None:
        findings.append(finding)
    try:
        dsn = database_address()
    except click.ClickException as error:
        return [*findings, failed("database", error.message, "start it first")]
    looks = [check_database(settings, dsn, seal)]
    if settings.amqp_url is not None:
        looks.append(check_broker(settings.amqp_url.get_secret_value(), settings.shards))
    for found in await asyncio.gather(*looks):
        findings += found
    return findings


def _seal(settings: Settings) -> tuple[Seal, Finding | None]:
    file = key_file(settings)
    if file is None:
        advice = "make one (deploy/README.md) before secrets of devices are set"
        return Seal([]), warning("key file", "HANTAR_SECRET_KEY_FILE is not set", advice)
    try:
        return read_seal(file), ok("key file", "readable")
    except (OSError, ValueError) as error:
        advice = "restore it from where it is kept safe: without it no secret opens"
        return Seal([]), failed("key file", f"{file}: {error}", advice)


def _print(findings: list[Finding]) -> None:
    width = max(len(finding.check) for finding in findings)
    for finding in findings:
        sign, colour = _SIGNS[finding.verdict]
        click.echo(f"{click.style(f'{sign:6}', colour)} {finding.check:{width}}  {finding.detail}")
        if finding.advice:
            click.echo(f"{'':7}{'':{width}}  → {finding.advice}")

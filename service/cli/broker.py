"""The broker behind the operators' commands."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import click
from aiormq.exceptions import AMQPError

from service.settings import load

Result = TypeVar("Result")


def with_broker(work: Callable[[str], Coroutine[Any, Any, Result]]) -> Result:
    """Run `work` with the broker's address; what goes wrong becomes one line and exit code 1."""
    url = broker_url()
    if url is None:
        raise click.UsageError("set HANTAR_DATABASE_URL and HANTAR_AMQP_URL")
    try:
        return asyncio.run(work(url))
    except (OSError, TimeoutError, AMQPError) as error:
        raise click.ClickException(f"the broker: {error or type(error).__name__}") from None


def broker_url() -> str | None:
    """The broker's address; None with the embedded default, which has none."""
    settings = load()
    return None if settings.amqp_url is None else settings.amqp_url.get_secret_value()

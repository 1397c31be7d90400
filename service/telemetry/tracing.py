"""The trace of the work in hand: in log lines as `trace_id`, in exemplars, and to pass on."""

from __future__ import annotations

from contextvars import ContextVar

import structlog

from service.core import traceparent

_current: ContextVar[str | None] = ContextVar("traceparent", default=None)


def begin(given: object = None) -> str:
    """From here on this task works in the trace that was given; in a new one if that is none."""
    found = traceparent.read(given) or traceparent.new()
    _current.set(found)
    structlog.contextvars.bind_contextvars(trace_id=traceparent.trace_id(found))
    return found


def current() -> str | None:
    """The traceparent of the work in hand; None for what nobody asked for."""
    return _current.get()


def headers() -> dict[str, str]:
    """What a message is to carry, to be of the work in hand."""
    found = _current.get()
    return {} if found is None else {"traceparent": found}


def exemplar() -> dict[str, str] | None:
    """What leads from a metric to the trace of the work in hand."""
    return exemplar_of(_current.get())


def exemplar_of(given: str | None) -> dict[str, str] | None:
    """What leads from a metric to this trace."""
    return None if given is None else {"trace_id": traceparent.trace_id(given)}

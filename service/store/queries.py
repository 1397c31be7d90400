"""Named queries: each `.sql` file holds `-- name: …`, one sentence, and the statement."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


@cache
def load(subject: str) -> dict[str, str]:
    """The statements of `sql/<subject>.sql` by name."""
    text = files("service.store").joinpath("sql", f"{subject}.sql").read_text("utf-8")
    parts = _NAME.split(text)
    return {name: body.strip() for name, body in zip(parts[1::2], parts[2::2], strict=True)}

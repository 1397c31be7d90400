"""Writes schemas/openapi.json and asyncapi.yaml as a running Hantar serves them: `make schemas`."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from contextlib import aclosing
from pathlib import Path
from typing import Any

import orjson
import yaml

from service.cli.run import prepare_database
from service.embedded import EmbeddedPostgres
from service.ingress.api_page import DOCUMENT_PATH, EVENTS_DOCUMENT_PATH
from service.store.pool import open_pool
from tests.database import SHARDS
from tests.system import run_app

SCHEMAS = Path(__file__).parents[1] / "schemas"
OPENAPI, ASYNCAPI = SCHEMAS / "openapi.json", SCHEMAS / "asyncapi.yaml"
#: The committed files, and where a running Hantar serves them.
FILES = {OPENAPI: DOCUMENT_PATH, ASYNCAPI: EVENTS_DOCUMENT_PATH}


class _Dumper(yaml.SafeDumper):
    """Writes what has several lines as one reads it."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def written(document: Any, file: Path) -> bytes:
    """A document as it is committed."""
    if file.suffix == ".json":
        return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    plain = orjson.loads(orjson.dumps(document))  # without tuples, of which YAML makes a matter
    text: str = yaml.dump(plain, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
    return text.encode()


async def served() -> dict[Path, Any]:
    """The documents of an installation of its own."""
    folder = Path(tempfile.mkdtemp(prefix="hantar-schemas-"))
    folder.chmod(0o711)  # root's server runs as another user
    server = EmbeddedPostgres(folder / "postgres", durable=False)
    try:
        dsn = await server.start()
        await prepare_database(dsn, SHARDS)
        pool = await open_pool(dsn, name="schemas", size=1)
        try:
            async with aclosing(run_app(dsn, pool)) as running:
                hantar = await anext(running)
                return {file: (await hantar.call("GET", path)).json for file, path in FILES.items()}
        finally:
            await pool.close()
    finally:
        await server.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    for file, document in asyncio.run(served()).items():
        file.write_bytes(written(document, file))

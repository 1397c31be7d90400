"""The AsyncAPI document as a page to read: one answer, no scripts, no network."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

Schema = Mapping[str, Any]

_HEAD = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Hantar: commands and events</title>
<link rel="icon" type="image/png" href="favicon.png">
<style>
body { margin: 0 auto; max-width: 60rem; padding: 1rem; line-height: 1.5;
  font-family: system-ui, sans-serif; color: #1d2733; background: #fff; }
nav ul { columns: 2; padding-left: 1.2rem; }
section { border-top: 1px solid #c9d2dc; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .25rem .75rem .25rem 0;
  border-bottom: 1px solid #e4e9ee; }
code, pre { font-family: ui-monospace, monospace; font-size: .92em; }
pre { background: #f4f6f8; padding: .75rem; overflow-x: auto; }
.required { color: #9a2617; }
a { color: #1b58b8; }
</style>
</head>
<body>
<main>
"""
_REQUIRED = ' <span class="required">required</span>'
_TAIL = "</main>\n</body>\n</html>\n"


def page(document: Mapping[str, Any]) -> bytes:
    """The page; its links are relative, so that it works behind any prefix of a proxy."""
    messages, schemas = document["components"]["messages"], document["components"]["schemas"]
    channels = [(name, c) for name, c in document["channels"].items() if name in messages]
    exchanges = list(dict.fromkeys(_exchange(channel) for _, channel in channels))
    parts = [
        _HEAD,
        f"<h1>{_text(document['info']['title'])}: commands and events</h1>",
        *(f"<p>{_text(part)}</p>" for part in document["info"]["description"].split("\n\n")),
        '<p>The same for programs: <a href="../asyncapi.json">asyncapi.json</a> '
        '(AsyncAPI 3). Over HTTP: <a href="../docs">the API</a>.</p>',
        _contents(channels, schemas),
    ]
    for exchange in exchanges:
        parts.append(f"<h2>Exchange <code>{_text(exchange)}</code></h2>")
        for name, channel in channels:
            if _exchange(channel) == exchange:
                parts.append(_section(name, channel, messages[name]))
    parts.append("<h2>Bodies</h2>")
    parts += [_body(name, schema) for name, schema in schemas.items()]
    parts.append(_TAIL)
    return "\n".join(parts).encode()


def _exchange(channel: Mapping[str, Any]) -> str:
    name: str = channel["bindings"]["amqp"]["exchange"]["name"]
    return name


def _contents(channels: Iterable[tuple[str, Any]], schemas: Iterable[str]) -> str:
    links = [(name, channel["address"]) for name, channel in channels]
    links += [(name, name) for name in schemas]
    items = "\n".join(
        f'<li><a href="#{_text(name)}"><code>{_text(shown)}</code></a></li>'
        for name, shown in links
    )
    return f'<nav aria-label="Contents">\n<ul>\n{items}\n</ul>\n</nav>'


def _values(parameter: Mapping[str, Any]) -> str:
    if "enum" in parameter:
        return _codes(parameter["enum"])
    description: str = parameter["description"]
    return _text(description[0].lower() + description[1:].removesuffix("."))


def _section(name: str, channel: Mapping[str, Any], message: Mapping[str, Any]) -> str:
    parameters = "".join(
        f"<p><code>{{{_text(each)}}}</code> is {_values(known)}.</p>"
        for each, known in channel.get("parameters", {}).items()
    )
    example = json.dumps(message["examples"][0]["payload"], indent=2, ensure_ascii=False)
    return "\n".join(
        [
            f'<section id="{_text(name)}">',
            f"<h3>Routing key <code>{_text(channel['address'])}</code></h3>",
            f"<p>{_text(message['summary'])}</p>{parameters}",
            f"<p>The body is JSON: {_kind(message['payload'])}.</p>",
            "<h4>Properties</h4>",
            _table(message["x-amqp-properties"]),
            "<h4>Headers</h4>",
            _table(message["headers"]),
            f"<h4>Example</h4>\n<pre>{escape(example)}</pre>",
            "</section>",
        ]
    )


def _body(name: str, schema: Schema) -> str:
    return "\n".join(
        [
            f'<section id="{_text(name)}">',
            f"<h3><code>{_text(name)}</code></h3>",
            f"<p>{_text(schema.get('description', ''))}</p>",
            _table(schema),
            "</section>",
        ]
    )


def _table(schema: Schema) -> str:
    required = schema.get("required", ())
    rows = "\n".join(
        f'<tr><th scope="row"><code>{_text(name)}</code></th><td>{_kind(known)}'
        f"{_REQUIRED if name in required else ''}</td>"
        f"<td>{_text(known.get('description', ''))}</td></tr>"
        for name, known in schema.get("properties", {}).items()
    )
    return f"<table>\n<tbody>\n{rows}\n</tbody>\n</table>"


def _kind(schema: Schema) -> str:
    """What a value may be, in a few words."""
    if "$ref" in schema:
        name = _text(schema["$ref"].rpartition("/")[2])
        return f'<a href="#{name}"><code>{name}</code></a>'
    if "const" in schema:
        return _codes([schema["const"]])
    if "enum" in schema:
        return _codes(schema["enum"])
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(map(_kind, schema["anyOf"])))
    if schema.get("type") == "array":
        return f"a list of {_kind(schema['items'])}"
    if isinstance(schema.get("additionalProperties"), Mapping):
        return f"an object of {_kind(schema['additionalProperties'])}"
    return _text(schema.get("format") or schema.get("type") or "anything")


def _codes(values: Iterable[object]) -> str:
    return " or ".join(f"<code>{escape(json.dumps(value))}</code>" for value in values)


def _text(text: str) -> str:
    """Text with `code` in it."""
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", escape(text))

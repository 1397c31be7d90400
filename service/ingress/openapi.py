"""The OpenAPI document, made from the table of operations and the types that validate."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from typing import Any, get_args, get_origin

import msgspec

from schemas.answers import answer_example, problem_example
from schemas.api import BULK_LIMIT, Bulk, Send
from schemas.problems import CODES, ProblemDocument
from schemas.shapes import Links, Many, One, PageMeta
from service.ingress.lists import PAGING
from service.ingress.operations import PREFIX, Operation, Parameter
from service.ingress.requests import KEY_LIMIT_CHARS

JSON = "application/json"
PROBLEM = "application/problem+json"
DESCRIPTION = """\
Send WhatsApp messages, run campaigns, keep contacts and templates.

Every request carries a key: `Authorization: Bearer <key>`. One resource comes as `{"data": {…}}`,
a list with `links` and `meta`, and whatever goes wrong as a problem (RFC 9457) with a stable
`code`. Times are RFC 3339 in UTC, ids are whole numbers, phones are E.164.
"""
#: By the first parts of the path, in the order in which a newcomer needs them. The examples can be
#: tried in the order of the document.
JOURNEY = {
    "/devices": ("Devices", "The WhatsApp numbers that messages go out by."),
    "/connection": ("Connection", "The state of the WhatsApp connection, and linking a phone."),
    "/messages": ("Messages", "Send one or a thousand, and see what became of them."),
    "/inbound-messages": ("Inbound messages", "What people wrote to your devices."),
    "/contacts": ("Contacts", "The people you write to, one by one or from a CSV file."),
    "/contact-groups": ("Contact groups", "Named sets of contacts."),
    "/templates": ("Templates", "Texts with placeholders."),
    "/campaigns": ("Campaigns", "One text to many people."),
    "/credits": ("Credits", "What can be sent still, and what was."),
    "/webhook-endpoints": ("Webhooks", "Have events sent to you, signed."),
    "/me": ("Account", "Who is asking, and accounts that people make themselves."),
}
_METHODS = ("POST", "GET", "PUT", "PATCH", "DELETE")
#: What a handler is called here, and what its operation is called outside.
_NAMES = {"page": "list", "one": "get"}
_ID = {"type": "integer", "format": "int64", "minimum": 1, "maximum": 2**63 - 1}
_SHARED = ("unauthenticated", "rate_limited", "internal", "unavailable")


def document(operations: Sequence[Operation]) -> dict[str, Any]:
    """The whole document; the same operations give the same document."""
    ordered = _ordered(operations)
    types = list(dict.fromkeys(_types(ordered)))
    _, schemas = msgspec.json.schema_components(types, ref_template=_ref("schemas", "{name}"))
    schemas["Bulk"]["properties"]["messages"] = {
        "type": "array",
        "items": {"$ref": _ref("schemas", "Send")},
        "minItems": 1,
        "maxItems": BULK_LIMIT,
    }
    paths: dict[str, dict[str, Any]] = {}
    for operation in ordered:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Hantar",
            "version": version("hantar"),
            "description": DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": PREFIX}],
        "security": [{"key": []}],
        "tags": _tags(ordered),
        "paths": paths,
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "parameters": _parameters(),
            "headers": _HEADERS,
            "responses": _problem_responses(ordered),
            "schemas": dict(sorted(schemas.items())),
        },
    }


def _ref(kind: str, name: str) -> str:
    return f"#/components/{kind}/{name}"


def _ordered(operations: Sequence[Operation]) -> list[Operation]:
    """By the journey, then by path in the order of the table.

    What makes something comes first, and what forgets it last.
    """
    paths = list(dict.fromkeys(operation.path for operation in operations))
    journey = list(JOURNEY)
    forgotten = {
        operation.path
        for operation in operations
        if operation.method == "DELETE" and operation.path.endswith("}")
    }

    def forgetting(path: str) -> int:
        return -path.count("/") if path in forgotten else -len(paths)

    return sorted(
        operations,
        key=lambda operation: (
            journey.index(_prefix(operation.path)),
            forgetting(operation.path),
            paths.index(operation.path),
            _METHODS.index(operation.method),
        ),
    )


def _prefix(path: str) -> str:
    """The part of the journey; what has no place in it yet is the account's."""
    first = "/" + path.split("/")[1]
    return first if first in JOURNEY else "/me"


def _tags(ordered: Iterable[Operation]) -> list[dict[str, str]]:
    names = {JOURNEY[_prefix(operation.path)][0] for operation in ordered}
    return [{"name": name, "description": text} for name, text in JOURNEY.values() if name in names]


def _types(ordered: Iterable[Operation]) -> Iterable[Any]:
    yield from (ProblemDocument, Send, Bulk, Links, PageMeta)
    for operation in ordered:
        for kind in (operation.body, *operation.answers.values()):
            if get_origin(kind) in (One, Many):
                yield get_args(kind)[0]
            elif kind not in (None, str):
                yield kind


def _operation(operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": _operation_id(operation),
        "summary": operation.summary,
        "tags": [JOURNEY[_prefix(operation.path)][0]],
        "parameters": [*_path_parameters(operation), *map(_query_parameter, operation.query)],
        "responses": _responses(operation),
    }
    if operation.method == "POST":
        described["parameters"].append({"$ref": _ref("parameters", "idempotency_key")})
    described["parameters"].append({"$ref": _ref("parameters", "request_id")})
    if operation.open_to_all:
        described["security"] = []
    if operation.body is not None:
        content = {"schema": _schema(operation.body), "example": operation.example}
        described["requestBody"] = {"required": True, "content": {operation.media_type: content}}
    return described


def _operation_id(operation: Operation) -> str:
    """Such as `contact_groups_list`: the resource and what is done with it."""
    handler: Any = operation.handler
    resource = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(handler.__self__).__name__).lower()
    done = _NAMES.get(handler.__name__, handler.__name__)
    return f"{resource}_{'put' if operation.method == 'PUT' else done}"


def _path_parameters(operation: Operation) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": _ID,
            "example": operation.example_ids.get(name, 1),
        }
        for name in re.findall(r"{(\w+)}", operation.path)
    ]


def _query_parameter(parameter: Parameter) -> dict[str, Any]:
    if parameter in PAGING:
        return {"$ref": _ref("parameters", parameter.name)}
    return _described(parameter)


def _described(parameter: Parameter) -> dict[str, Any]:
    described = {
        "name": parameter.name,
        "in": "query",
        "description": parameter.description,
        "schema": {"type": "string"} | dict(parameter.schema),
    }
    if parameter.example is not None:
        described["example"] = parameter.example
    return described


def _parameters() -> dict[str, Any]:
    return {parameter.name: _described(parameter) for parameter in PAGING} | {
        "idempotency_key": {
            "name": "Idempotency-Key",
            "in": "header",
            "description": "Sent again with the same key within 24 hours, a request is answered "
            "as it was the first time, and does nothing.",
            "schema": {"type": "string", "pattern": f"^[!-~]{{1,{KEY_LIMIT_CHARS}}}(?!\\n)$"},
        },
        "request_id": {
            "name": "X-Request-Id",
            "in": "header",
            "description": "Comes back with the answer; made when it is missing or unsound.",
            "schema": {"type": "string"},
        },
    }


def _schema(kind: Any) -> dict[str, Any]:
    """A type as a schema, with references to its components."""
    if kind is str:
        return {"type": "string"}
    origin = get_origin(kind)
    if origin not in (One, Many):
        return {"$ref": _ref("schemas", kind.__name__)}
    item = {"$ref": _ref("schemas", get_args(kind)[0].__name__)}
    if origin is One:
        return {"type": "object", "required": ["data"], "properties": {"data": item}}
    return {
        "type": "object",
        "required": ["data", "links", "meta"],
        "properties": {
            "data": {"type": "array", "items": item},
            "links": {"$ref": _ref("schemas", "Links")},
            "meta": {"$ref": _ref("schemas", "PageMeta")},
        },
    }


_HEADERS: dict[str, Any] = {
    "X-Request-Id": {
        "description": "The id of the request, the caller's own or a new one.",
        "schema": {"type": "string"},
    },
    "RateLimit": {
        "description": "What is left of the account's quota, and seconds until it is whole.",
        "schema": {"type": "string"},
    },
    "RateLimit-Policy": {
        "description": "The account's quota.",
        "schema": {"type": "string"},
    },
    "Retry-After": {
        "description": "Seconds after which it is worth trying again.",
        "schema": {"type": "integer", "minimum": 0},
    },
    "Idempotent-Replayed": {
        "description": "There when this is the answer of an earlier request with the same key.",
        "schema": {"const": "true"},
    },
    "WWW-Authenticate": {
        "description": "How to say who asks.",
        "schema": {"type": "string"},
    },
}


def _headers(status: int, operation: Operation | None) -> dict[str, Any]:
    names = ["X-Request-Id"]
    if status != CODES["unauthenticated"] and not (operation and operation.open_to_all):
        names += ["RateLimit", "RateLimit-Policy"]
    if status < 300 and operation is not None and operation.method == "POST":
        names.append("Idempotent-Replayed")
    if status in (429, 503):
        names.append("Retry-After")
    if status == CODES["unauthenticated"]:
        names.append("WWW-Authenticate")
    return {name: {"$ref": _ref("headers", name)} for name in names}


def _responses(operation: Operation) -> dict[str, Any]:
    found = {
        str(status): _success(status, kind, operation) for status, kind in operation.answers.items()
    }
    for status, codes in _problems(operation):
        found[str(status)] = {"$ref": _ref("responses", "_or_".join(codes))}
    return found


def _problems(operation: Operation) -> list[tuple[int, list[str]]]:
    """The codes of each status that an operation may answer."""
    by_status: dict[int, list[str]] = {}
    for code in dict.fromkeys([*_usual(operation), *operation.problems]):
        by_status.setdefault(CODES[code], []).append(code)
    return [(status, sorted(codes)) for status, codes in sorted(by_status.items())]


def _usual(operation: Operation) -> list[str]:
    """The codes that an operation may answer by what it is."""
    codes = ["bad_request", *_SHARED]
    if operation.open_to_all:
        codes.remove("unauthenticated")
    if "{" in operation.path:
        codes.append("not_found")
    if operation.method == "POST":
        codes += ["invalid_idempotency_key", "idempotency_key_reused", "idempotency_in_progress"]
    if operation.body is not None:
        codes += ["invalid_json", "unsupported_media_type", "request_timeout"]
        codes += ["payload_too_large", "unknown_field"]
    elif operation.method == "POST":
        codes += ["request_timeout", "payload_too_large", "unsupported_media_type"]
    if operation.body is not None or operation.method == "POST" or operation.query:
        codes.append("validation_failed")
    if operation.query:
        codes.append("unknown_field")
    return codes


def _success(status: int, kind: Any, operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "description": _SUCCESS.get(status, "Done."),
        "headers": _headers(status, operation),
    }
    if kind is str:
        described["content"] = {"text/csv": {"schema": {"type": "string"}}}
    elif kind is not None:
        content = {"schema": _schema(kind)}
        if (example := answer_example(kind, PREFIX + operation.path)) is not None:
            content["example"] = example
        described["content"] = {JSON: content}
    return described


_SUCCESS = {
    200: "The answer.",
    201: "It was made.",
    202: "It was accepted, and will be done.",
    204: "Done; there is nothing to say.",
}


def _problem_responses(ordered: Iterable[Operation]) -> dict[str, Any]:
    """What operations share: an answer for each set of codes."""
    sets = sorted({(s, tuple(codes)) for each in ordered for s, codes in _problems(each)})
    return {"_or_".join(codes): _problem(status, list(codes)) for status, codes in sets}


def _problem(status: int, codes: list[str]) -> dict[str, Any]:
    schema = {
        "allOf": [{"$ref": _ref("schemas", "ProblemDocument")}],
        "properties": {"status": {"const": status}, "code": {"enum": codes}},
    }
    return {
        "description": f"A problem: {', '.join(codes)}.",
        "headers": _headers(status, None),
        "content": {PROBLEM: {"schema": schema, "example": problem_example(codes[0])}},
    }

"""The OpenAPI document: valid, whole, committed, and the same as what runs."""

from __future__ import annotations

import re

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from schemas.problems import CODES
from service.ingress.api_page import (
    DOCUMENT_PATH,
    EVENTS_DOCUMENT_PATH,
    EVENTS_PAGE_PATH,
    PAGE_PATH,
    SHORT_PATH,
)
from service.ingress.operations import PREFIX
from tests.integration.api.described import document, operations
from tests.schemas import OPENAPI, written
from tests.system import Hantar

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: What is no operation: the documents, the pages, their files, and what providers call.
BESIDE = (
    DOCUMENT_PATH,
    EVENTS_DOCUMENT_PATH,
    PAGE_PATH,
    EVENTS_PAGE_PATH,
    f"{PAGE_PATH}/{{file}}",
    SHORT_PATH,
)


async def test_it_is_valid(hantar: Hantar) -> None:
    OpenAPIV31SpecValidator(await document(hantar)).validate()


async def test_it_is_committed_as_it_is_served(hantar: Hantar) -> None:
    assert OPENAPI.read_bytes() == written(await document(hantar), OPENAPI), "run make schemas"


async def test_it_needs_no_key_and_answers_head(hantar: Hantar) -> None:
    answer = await hantar.call("HEAD", DOCUMENT_PATH)
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("application/json")


async def test_every_route_is_described_and_every_operation_routed(hantar: Hantar) -> None:
    routed = {
        (route.method, route.resource.canonical)
        for route in hantar.app.routes()
        if route.resource is not None and route.method not in ("HEAD", "OPTIONS")
    }
    described = {(each.method, PREFIX + each.path) for each in await operations(hantar)}
    api = {(method, path) for method, path in routed if path.startswith(PREFIX)}
    assert {each for each in api - described if each[1] not in BESIDE} == set()
    assert described - routed == set()


async def test_every_operation_is_named_sorted_and_explained(hantar: Hantar) -> None:
    names = [each.name for each in await operations(hantar)]
    assert sorted(set(names)) == sorted(names)
    tags = [tag["name"] for tag in (await document(hantar))["tags"]]
    for each in await operations(hantar):
        assert re.fullmatch(r"[a-z_]+", each.name)
        assert each.content["summary"].endswith(".")
        assert [tag for tag in each.content["tags"] if tag in tags] == each.content["tags"]


async def test_every_operation_says_all_that_can_be_answered(hantar: Hantar) -> None:
    for each in await operations(hantar):
        answers = dict(each.answers())
        assert {400, 429, 500, 503} <= answers.keys(), each.name
        assert (401 in answers) == ("security" not in each.content), each.name
        assert 404 in answers or "{" not in each.path, each.name
        assert any(status < 300 for status in answers), each.name
        for status, answer in answers.items():
            assert "X-Request-Id" in answer["headers"], (each.name, status)
            assert ("Retry-After" in answer["headers"]) == (status in (429, 503))
            if status >= 400:
                schema = answer["content"]["application/problem+json"]["schema"]
                assert {CODES[code] for code in schema["properties"]["code"]["enum"]} == {status}


async def test_every_body_and_answer_has_an_example_that_fits(hantar: Hantar) -> None:
    for each in await operations(hantar):
        shown = [
            (status, content)
            for status, answer in each.answers()
            for kind, content in answer.get("content", {}).items()
            if kind.endswith("json")
        ]
        if each.request is not None:
            shown.append((0, each.request[1]))
        for status, content in shown:
            assert content.get("example") is not None, (each.name, status)
            assert each.errors(content["schema"], content["example"]) == [], (each.name, status)


async def test_every_post_takes_an_idempotency_key(hantar: Hantar) -> None:
    for each in await operations(hantar):
        names = [parameter["name"] for parameter in each.parameters()]
        assert ("Idempotency-Key" in names) == (each.method == "POST"), each.name

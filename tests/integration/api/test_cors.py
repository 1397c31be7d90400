"""OPTIONS, HEAD, and what web pages of other origins may do."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from multidict import CIMultiDict

from service.store.pool import Pool
from tests.integration.api.checks import check_problem
from tests.system import Account, Answer, Hantar, run_app

pytestmark = pytest.mark.asyncio(loop_scope="module")

PAGE = "https://app.example.com"
PREFLIGHT = {
    "Origin": PAGE,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type,idempotency-key",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hantar(dsn: str, pool: Pool) -> AsyncIterator[Hantar]:
    """Hantar that takes requests of one page."""
    async for running in run_app(dsn, pool, cors_origins=f"{PAGE}, http://localhost:3000"):
        yield running


def words(answer: Answer, header: str) -> set[str]:
    """The words of a header that is a list, in lower case."""
    return {word.strip().lower() for word in CIMultiDict(answer.headers)[header].split(",")}


def granted(answer: Answer) -> str | None:
    """The origin that a browser would hand the answer to."""
    return CIMultiDict(answer.headers).get("Access-Control-Allow-Origin")


async def test_a_page_may_ask_after_a_preflight_without_a_key(
    hantar: Hantar, account: Account
) -> None:
    answer = await hantar.call("OPTIONS", "/api/v1/messages/send", headers=PREFLIGHT)
    assert (answer.status, answer.json, granted(answer)) == (204, "", PAGE)
    assert "post" in words(answer, "Access-Control-Allow-Methods")
    assert words(answer, "Access-Control-Allow-Headers") >= {
        "authorization", "content-type", "idempotency-key", "x-request-id", "traceparent"
    }  # fmt: skip
    assert int(answer.headers["Access-Control-Max-Age"]) > 0
    for path, caller in (("/api/v1/messages", account), ("/api/v1/messages", None), ("/no", None)):
        answer = await hantar.call("GET", path, caller, headers={"Origin": PAGE})
        assert granted(answer) == PAGE, path
        assert words(answer, "Access-Control-Expose-Headers") >= {
            "x-request-id", "idempotent-replayed", "ratelimit", "ratelimit-policy", "retry-after"
        }  # fmt: skip
        assert "origin" in words(answer, "Vary")
    assert "Access-Control-Allow-Credentials" not in answer.headers


async def test_pages_of_other_origins_are_told_nothing(hantar: Hantar, account: Account) -> None:
    for origin in (
        "https://evil.example",
        f"{PAGE}.evil.example",
        "http://app.example.com",
        "null",
    ):
        preflight = PREFLIGHT | {"Origin": origin}
        answer = await hantar.call("OPTIONS", "/api/v1/messages", headers=preflight)
        assert (answer.status, granted(answer)) == (204, None)
        assert "Access-Control-Allow-Methods" not in answer.headers
        answer = await hantar.get("/messages", account, headers={"Origin": origin})
        assert (answer.status, granted(answer)) == (200, None)
        # or a cache would hand this answer to the page that may have it
        assert "origin" in words(answer, "Vary")


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/api/v1/messages", {"GET", "HEAD", "OPTIONS"}),
        ("/api/v1/messages/send", {"POST", "OPTIONS"}),
        ("/api/v1/contacts/1", {"GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"}),
    ],
)
async def test_options_tells_the_methods_of_a_path(
    hantar: Hantar, account: Account, path: str, methods: set[str]
) -> None:
    for caller in (account, None):
        answer = await hantar.call("OPTIONS", path, caller)
        assert answer.status == 204
        assert words(answer, "Allow") == {method.lower() for method in methods}
        assert "Access-Control-Allow-Methods" not in answer.headers
    check_problem(await hantar.call("OPTIONS", "/api/v1/nothing", account), 404, "not_found")


async def test_head_is_get_without_the_body(hantar: Hantar, account: Account) -> None:
    for path in ("/messages", "/contacts", "/credits", "/me", "/templates", "/messages/1"):
        get = await hantar.get(path, account)
        head = await hantar.call("HEAD", f"/api/v1{path}", account)
        assert head.status == get.status
        assert not head.json
        for name in ("Content-Type", "Content-Length"):
            assert head.headers[name] == get.headers[name], path


async def test_without_origins_nothing_is_said_of_them(
    dsn: str, pool: Pool, account: Account
) -> None:
    async for closed in run_app(dsn, pool):
        for answer in (
            await closed.call("OPTIONS", "/api/v1/messages", headers=PREFLIGHT),
            await closed.get("/messages", account, headers={"Origin": PAGE}),
        ):
            assert granted(answer) is None
            assert "Vary" not in answer.headers

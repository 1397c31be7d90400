"""Content types, sizes, methods and paths: what HTTP itself can do to a request."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import AsyncIterator
from urllib.parse import quote

import orjson
import pytest
from yarl import URL

from tests.integration.api.checks import check_problem, nothing_done, request_id
from tests.system import Account, Hantar

pytestmark = pytest.mark.asyncio(loop_scope="module")

GOOD = {"phone": "0123456789", "body": "hello"}
RAW = orjson.dumps(GOOD)
SEND = "/api/v1/messages/send"
BULK = "/api/v1/messages/bulk"
JSON = {"Content-Type": "application/json"}
SEND_LIMIT = 64 * 1024
BULK_LIMIT = 20 * 1024 * 1024


@pytest.mark.row("5.1-10")
@pytest.mark.parametrize(
    "media",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json-x",
        "application/problem+json",
        "application/json, text/plain",
        "json",
        "",
        None,
    ],
)
async def test_other_content_types_are_415(
    hantar: Hantar, account: Account, media: str | None
) -> None:
    headers = {} if media is None else {"Content-Type": media}
    async with nothing_done(hantar, account):
        for path in (SEND, BULK):
            answer = await hantar.call(
                "POST",
                path,
                account,
                data=RAW,
                headers=headers,
                skip_auto_headers=["Content-Type"],
            )
            check_problem(answer, 415, "unsupported_media_type")


@pytest.mark.row("5.1-10")
@pytest.mark.parametrize(
    "media", ["application/json", "APPLICATION/JSON", "application/json; charset=utf-8"]
)
async def test_json_is_taken_however_it_is_spelt(
    hantar: Hantar, account: Account, media: str
) -> None:
    answer = await hantar.call("POST", SEND, account, data=RAW, headers={"Content-Type": media})
    assert answer.status == 202


@pytest.mark.row("5.1-11")
@pytest.mark.parametrize("accept", ["text/html", "application/xml", "*/*;q=0", ""])
async def test_every_answer_is_json_whatever_is_accepted(
    hantar: Hantar, account: Account, accept: str
) -> None:
    headers = {"Accept": accept}
    answer = await hantar.post("/messages/send", account, GOOD, headers=headers)
    assert (answer.status, answer.headers["Content-Type"]) == (202, "application/json")
    answer = await hantar.get("/messages", account, headers=headers)
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
    check_problem(await hantar.call("GET", "/", headers=headers), 404, "not_found")
    check_problem(await hantar.call("POST", SEND, headers=headers), 401, "unauthenticated")


def filled(size: int, *, bulk: bool = False) -> bytes:
    """JSON of exactly this size."""
    head, tail = (b'{"messages":[]', b"}") if bulk else (RAW[:-1], b"}")
    return head + b" " * (size - len(head) - len(tail)) + tail


async def pieces(raw: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(raw), 65_536):
        yield raw[start : start + 65_536]


@pytest.mark.row("5.1-12")
@pytest.mark.parametrize(
    ("path", "size"),
    [
        (SEND, SEND_LIMIT + 1),
        (SEND, 10_000_000),
        (BULK, BULK_LIMIT + 1),
        (BULK, 21_000_000),
    ],
)
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
async def test_a_body_over_the_limit_is_413(
    hantar: Hantar, account: Account, path: str, size: int, *, chunked: bool
) -> None:
    raw = filled(size, bulk=path == BULK)
    data = pieces(raw) if chunked else io.BytesIO(raw)
    async with nothing_done(hantar, account):
        answer = await hantar.call("POST", path, account, data=data, headers=JSON)
        check_problem(answer, 413, "payload_too_large")
        assert answer.headers["Connection"] == "close"
    assert (await hantar.get("/messages", account)).status == 200


@pytest.mark.row("5.1-12")
async def test_a_body_at_the_limit_is_read(hantar: Hantar, account: Account) -> None:
    answer = await hantar.call("POST", SEND, account, data=filled(SEND_LIMIT), headers=JSON)
    assert answer.status == 202
    raw = io.BytesIO(filled(BULK_LIMIT, bulk=True))
    answer = await hantar.call("POST", BULK, account, data=raw, headers=JSON)
    check_problem(answer, 422, "validation_failed", "messages")


@pytest.mark.row("5.1-13")
async def test_a_gzip_bomb_is_413(hantar: Hantar, account: Account) -> None:
    bomb = gzip.compress(b" " * 50_000_000)
    assert len(bomb) < SEND_LIMIT
    async with nothing_done(hantar, account):
        for path in (SEND, BULK):
            answer = await hantar.call(
                "POST", path, account, data=bomb, headers=JSON | {"Content-Encoding": "gzip"}
            )
            check_problem(answer, 413, "payload_too_large")


async def test_a_zipped_body_is_taken(hantar: Hantar, account: Account) -> None:
    zipped = JSON | {"Content-Encoding": "gzip"}
    answer = await hantar.call("POST", SEND, account, data=gzip.compress(RAW), headers=zipped)
    assert answer.status == 202
    items = [{**GOOD, "body": f"{place} {'x' * 3000}"} for place in range(1000)]
    bulk = gzip.compress(orjson.dumps({"messages": items}))
    assert (await hantar.call("POST", BULK, account, data=bulk, headers=zipped)).status == 402


@pytest.mark.parametrize(
    "raw",
    [RAW, b"", gzip.compress(RAW)[:-9], gzip.compress(RAW)[:-8] + bytes(8),
     gzip.compress(RAW) + b"more", gzip.compress(RAW) * 2, zlib.compress(RAW)],
    ids=["plain", "empty", "cut", "checksum", "trailing", "two", "zlib"],
)  # fmt: skip
async def test_what_does_not_unzip_is_400(hantar: Hantar, account: Account, raw: bytes) -> None:
    async with nothing_done(hantar, account):
        answer = await hantar.call(
            "POST", SEND, account, data=raw, headers=JSON | {"Content-Encoding": "gzip"}
        )
        check_problem(answer, 400, "bad_request")


@pytest.mark.parametrize("coding", ["br", "zstd", "deflate", "gzip, gzip", "junk"])
async def test_other_content_codings_are_415(hantar: Hantar, account: Account, coding: str) -> None:
    async with nothing_done(hantar, account):
        answer = await hantar.call(
            "POST", SEND, account, data=RAW, headers=JSON | {"Content-Encoding": coding}
        )
        check_problem(answer, 415, "unsupported_media_type")
        assert answer.headers["Accept-Encoding"] == "gzip"


@pytest.mark.row("5.1-26")
@pytest.mark.parametrize(
    ("path", "allowed"),
    [(SEND, {"POST"}), (BULK, {"POST"}), ("/api/v1/messages", {"GET", "HEAD"}),
     ("/api/v1/messages/1", {"GET", "HEAD"})],
)  # fmt: skip
async def test_other_methods_are_405_and_told_which_are_taken(
    hantar: Hantar, account: Account, path: str, allowed: set[str]
) -> None:
    methods = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND"}
    async with nothing_done(hantar, account):
        for method in sorted(methods - allowed):
            answer = await hantar.call(method, path, account, data=RAW, headers=JSON)
            assert set(answer.headers["Allow"].split(", ")) == allowed | {"OPTIONS"}, method
            if method == "HEAD":
                assert (answer.status, answer.json) == (405, None)
            else:
                check_problem(answer, 405, "method_not_allowed")


@pytest.mark.row("5.1-27")
async def test_a_strangers_proxy_headers_change_nothing(hantar: Hantar, account: Account) -> None:
    headers = {
        "X-Forwarded-For": "203.0.113.9",
        "X-Forwarded-Host": "other.example",
        "X-Forwarded-Proto": "https",
        "Forwarded": "for=203.0.113.9;host=other.example;proto=https",
        "X-HTTP-Method-Override": "DELETE",
        "X-Original-URL": "/nothing",
        "X-Rewrite-URL": "/nothing",
    }
    answer = await hantar.post("/messages/send", account, GOOD, headers=headers)
    assert answer.status == 202
    answer = await hantar.get("/messages", account, headers=headers)
    assert answer.status == 200
    assert answer.json["meta"]["path"] == f"{hantar.api}/api/v1/messages"


@pytest.mark.row("5.1-28")
@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/messages/%00",
        "/api/v1/messages/%2e%2e%2f",
        "/api/v1/messages/%2e%2e/messages",
        "/api/v1/messages/1/../1",
        "/api/v1/messages/",
        "/api/v1//messages",
        "//api/v1/messages",
        "/api/v1/messages/1/",
        "/api/v1/messages;a=b",
        "/api/v1/messages/1;a=b",
        "/api/v1/messages/1%2F2",
        "/api/v1/messages/1%0A",
        "/api/v1/messages/-1",
        "/api/v1/messages/0",
        "/api/v1/messages/1.0",
        "/api/v1/messages/0x1",
        "/api/v1/messages/null",
        "/api/v1/messages/%D9%A1",
        "/api/v1/messages/9223372036854775807",
        "/api/v1/messages/9223372036854775808",
        "/api/v1/messages/99999999999999999999",
        "/api/v1/messages/%ff",
        "/api/v1/messages%",
        "/api/v1/MESSAGES",
        "/api/v2/messages",
        "/api/v1",
        "/messages",
        "/",
        "/%ff",
    ],
)
async def test_paths_that_lead_nowhere_are_404(hantar: Hantar, account: Account, path: str) -> None:
    async with (
        nothing_done(hantar, account),
        hantar.http.get(URL(hantar.api + path, encoded=True), headers=account.auth) as response,
    ):
        assert response.status == 404
        problem = await response.json(content_type="application/problem+json")
        assert problem["code"] == "not_found"
        assert problem["request_id"] == response.headers["X-Request-Id"]


@pytest.mark.row("5.1-28")
async def test_an_id_is_written_in_ascii_digits(hantar: Hantar, account: Account) -> None:
    own_id = str((await hantar.post("/messages/send", account, GOOD)).json["data"]["id"])
    arabic = own_id.translate({ord("0") + digit: 0x660 + digit for digit in range(10)})
    for path, status in ((own_id, 200), (quote(arabic), 404)):
        url = URL(f"{hantar.api}/api/v1/messages/{path}", encoded=True)
        async with hantar.http.get(url, headers=account.auth) as response:
            assert response.status == status


@pytest.mark.row("5.1-26", "5.1-28")
async def test_every_path_and_method_answers_in_one_shape(hantar: Hantar, account: Account) -> None:
    for path in ("/", "/api/v1/nothing", SEND, BULK, "/api/v1/messages", "/api/v1/messages/1"):
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"):
            for caller in (account, None):
                answer = await hantar.call(method, path, caller)
                if answer.status not in (200, 204):
                    check_problem(answer, answer.status, answer.json["code"])
                    assert answer.status in (401, 404, 405, 415)


@pytest.mark.parametrize(
    ("given", "kept"), [("abc-1", True), ("x" * 128, True), ("x" * 129, False), ("a b", False)]
)
async def test_a_sound_request_id_is_echoed(
    hantar: Hantar, account: Account, given: str, *, kept: bool
) -> None:
    for path in ("/api/v1/messages", "/nothing"):
        answer = await hantar.call("GET", path, account, headers={"X-Request-Id": given})
        assert (request_id(answer) == given) is kept

"""What every refusal must show: the one shape of errors, and that nothing was done."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

from multidict import CIMultiDict

from tests.system import Account, Answer, Hantar

_FIELDS = ["type", "title", "status", "detail", "code", "request_id", "message"]


def check_problem(answer: Answer, status: int, code: str, *fields: str) -> dict[str, Any]:
    """The problem in an answer, which must be whole; for a 422 with these fields in its errors."""
    assert answer.status == status, answer
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json
    assert [name for name in _FIELDS if name not in problem] == []
    assert problem["type"] == f"urn:hantar:problem:{code}", answer
    assert problem["title"] == HTTPStatus(status).phrase
    assert (problem["status"], problem["code"]) == (status, code)
    assert problem["request_id"] == request_id(answer)
    assert problem["detail"]
    assert problem["message"] == problem["detail"]
    if status == 422:
        _check_errors(problem["errors"])
    if fields:
        assert sorted(problem["errors"]) == sorted(fields)
    return problem


def request_id(answer: Answer) -> str:
    """The id an answer carries in its headers, whose names know no case."""
    return CIMultiDict(answer.headers)["X-Request-Id"]


def _check_errors(errors: Mapping[str, list[str]]) -> None:
    assert errors
    for field, sentences in errors.items():
        assert field
        assert sentences
        assert all(isinstance(sentence, str) and sentence for sentence in sentences)


@asynccontextmanager
async def nothing_done(hantar: Hantar, account: Account) -> AsyncIterator[None]:
    """What happens inside must leave the account as it was: no row, no entry, same balance.

    The account must have nothing on its way, as that would settle meanwhile.
    """
    before = await _holdings(hantar, account)
    yield
    assert await _holdings(hantar, account) == before


async def _holdings(hantar: Hantar, account: Account) -> dict[str, int]:
    row = await hantar.pool.fetchrow(
        """
        SELECT balance,
            (SELECT count(*) FROM messages WHERE account_id = a.id) AS messages,
            (SELECT count(*) FROM ledger WHERE account_id = a.id) AS entries,
            (SELECT count(*) FROM contacts WHERE account_id = a.id) AS contacts,
            (SELECT count(*) FROM idempotency WHERE account_id = a.id) AS answers
        FROM accounts a WHERE id = $1
        """,
        account.id,
    )
    assert row is not None
    return dict(row)

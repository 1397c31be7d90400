"""Every error code of Meta's that is known here, with what it has to lead to."""

from __future__ import annotations

import orjson
import pytest

from drivers.driver import Action, Failed, Outcome, Retry, Scope, Sent, Unconfirmed
from drivers.meta.answers import Codes, outcome_of
from drivers.meta.errors import RULES
from drivers.meta.wire import Answered

MESSAGE, RECIPIENT = Scope.MESSAGE, Scope.RECIPIENT
DEVICE, TEMPLATE = Scope.DEVICE, Scope.TEMPLATE
CREDENTIAL, ACCOUNT = Scope.CREDENTIAL, Scope.ACCOUNT

#: The action, its scope, and whether the try counts.
EXPECTED: dict[int, tuple[Action, Scope, bool]] = {
    **dict.fromkeys([1, 2, 131000, 131016, 135000], (Action.RETRY, MESSAGE, True)),
    **dict.fromkeys([131052, 131053, 137000], (Action.RETRY, MESSAGE, True)),
    4: (Action.HOLD, CREDENTIAL, False),
    80007: (Action.HOLD, ACCOUNT, False),
    130429: (Action.HOLD, MESSAGE, False),
    **dict.fromkeys([131048, 131057], (Action.HOLD, DEVICE, False)),
    131056: (Action.HOLD, RECIPIENT, False),
    **dict.fromkeys([132015, 132069], (Action.HOLD, TEMPLATE, False)),
    **dict.fromkeys([0, 3, 10, 190, *range(200, 300), 131005], (Action.PAUSE, CREDENTIAL, False)),
    **dict.fromkeys([368, 131031, 131042, 131064], (Action.PAUSE, ACCOUNT, False)),
    **dict.fromkeys([131037, 131045, 133010, 133016], (Action.PAUSE, DEVICE, False)),
    **dict.fromkeys([130472, 130497, 131026, 131030], (Action.FAIL, RECIPIENT, False)),
    **dict.fromkeys([131049, 131050], (Action.FAIL, RECIPIENT, False)),
    **dict.fromkeys([33, 100, 131008, 131009, 131021], (Action.FAIL, MESSAGE, False)),
    **dict.fromkeys([131047, 131051, 131062], (Action.FAIL, MESSAGE, False)),
    **dict.fromkeys([132000, 132005, 132012, 132018], (Action.FAIL, MESSAGE, False)),
    **dict.fromkeys([132001, 132007, 132016, 132068], (Action.FAIL, TEMPLATE, False)),
    131063: (Action.FAIL, ACCOUNT, False),
}


def answered(status: int, document: object) -> Outcome:
    return outcome_of(Answered(status, orjson.dumps(document)), Codes())


def error(code: object) -> dict[str, object]:
    return {"error": {"code": code, "message": "(#1) somebody's words"}}


def test_every_code_is_expected_here() -> None:
    assert RULES.keys() == EXPECTED.keys()


@pytest.mark.parametrize("code", EXPECTED)
@pytest.mark.parametrize("status", [200, 400, 500])
def test_a_code_decides_whatever_the_status(code: int, status: int) -> None:
    action, scope, counts = EXPECTED[code]
    outcome = answered(status, error(code))
    if action is Action.FAIL:
        assert isinstance(outcome, Failed)
        assert str(code) in outcome.detail
        assert outcome.detail == RULES[code].sentence + f" (code {code})"
    else:
        assert isinstance(outcome, Retry)
        assert (outcome.scope, outcome.counts) == (scope, counts)
        if action is Action.HOLD:
            assert outcome.after_seconds is not None
            assert outcome.after_seconds > 0


@pytest.mark.parametrize("code", EXPECTED)
def test_a_code_is_explained_in_a_sentence(code: int) -> None:
    rule = RULES[code]
    assert rule.sentence[0].isupper()
    assert rule.sentence.endswith(".")
    assert rule.name.replace("_", "").islower()


def test_an_unknown_code_is_tried_a_few_times() -> None:
    outcome = answered(400, error(999_999))
    assert isinstance(outcome, Retry)
    assert (outcome.code, outcome.scope, outcome.counts) == ("unknown_error", MESSAGE, True)
    assert outcome.after_seconds is None


@pytest.mark.parametrize("document", [error(999_999), {}, [], "x", {"error": "what"}])
def test_a_server_error_without_a_known_code_is_in_doubt(document: object) -> None:
    assert isinstance(answered(502, document), Unconfirmed)


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b"{}", b'{"messages":[]}', b'{"messages":[{"id":""}]}', b"\xff"],
)
def test_a_success_without_an_id_is_in_doubt(body: bytes) -> None:
    assert isinstance(outcome_of(Answered(200, body), Codes()), Unconfirmed)


def test_a_success_names_the_message() -> None:
    assert answered(200, {"messages": [{"id": "wamid.1"}]}) == Sent("wamid.1")


def test_too_many_requests_without_a_code_slow_the_device_down() -> None:
    outcome = outcome_of(Answered(429, b"slow down"), Codes())
    assert isinstance(outcome, Retry)
    assert (outcome.slows, outcome.counts) == (True, False)

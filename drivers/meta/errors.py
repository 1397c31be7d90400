"""Meta's error codes as a table: whom each concerns, and what to do about it.

Sources: Meta's Cloud API error reference and throughput pages; pywa's and courier's error lists;
capacity pages of resellers for the pair limit (dualhook) and marketing limits (chakrahq). A code
means the same in an HTTP answer and in a status webhook.
"""

from __future__ import annotations

from drivers.driver import Action, Rule, Scope

_M, _R, _D, _T = Scope.MESSAGE, Scope.RECIPIENT, Scope.DEVICE, Scope.TEMPLATE
_C, _A = Scope.CREDENTIAL, Scope.ACCOUNT
_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86_400.0


def _retry(name: str, sentence: str, after: float | None = None) -> Rule:
    return Rule(name, _M, Action.RETRY, sentence, after, counts=True)


def _hold(name: str, scope: Scope, after: float, sentence: str, *, slows: bool = False) -> Rule:
    return Rule(name, scope, Action.HOLD, sentence, after, slows=slows)


def _pause(name: str, scope: Scope, sentence: str) -> Rule:
    return Rule(name, scope, Action.PAUSE, sentence)


def _fail(
    name: str, sentence: str, scope: Scope = _M, *, known_seconds: float | None = None
) -> Rule:
    return Rule(name, scope, Action.FAIL, sentence, known_seconds)


def _no_marketing(name: str, known_seconds: float, sentence: str) -> Rule:
    return Rule(name, _R, Action.FAIL, sentence, known_seconds, marketing=True)


_TOKEN = _pause(
    "token_refused",
    _C,
    "Meta does not accept the access token, or it lacks a permission: renew it, then resume.",
)
_SERVER = _retry("meta_unavailable", "Meta had a passing fault; the message is tried again.")
_INVALID = _fail("invalid_parameter", "Meta refuses a part of the request as invalid or missing.")
TEMPLATE_VARIABLES = "template_variables"
_VARIABLES = _fail(
    TEMPLATE_VARIABLES,
    "The values given do not fit the approved template: their number, length or format differs.",
)
_LOCKED = _pause("account_locked", _A, "Meta has locked the business account for policy reasons.")
_NOT_REGISTERED = _pause(
    "number_not_registered",
    _D,
    "The number is not registered with the Cloud API, or its display name is not approved.",
)
#: The lower rate is wait enough for the others.
_BUSY = _hold(
    "throttled",
    _M,
    2.0,
    "The number sends faster than Meta allows; it slows down by itself.",
    slows=True,
)
_CALLS = "The hourly limit of calls is used up; sending goes on later."

OUTSIDE_WINDOW = 131047

#: For a code that is not in the table: loud, and tried a few times.
UNKNOWN = _retry("unknown_error", "Meta answered with a code that is not known here.")

RULES: dict[int, Rule] = {
    0: _TOKEN,
    1: _SERVER,
    2: _SERVER,
    3: _TOKEN,
    4: _hold("call_limit", _C, 5 * _MINUTE, _CALLS, slows=True),
    10: _TOKEN,
    33: _fail("no_such_number", "Meta does not know the phone number id of this device."),
    100: _INVALID,
    190: _TOKEN,
    **dict.fromkeys(range(200, 300), _TOKEN),
    368: _LOCKED,
    80007: _hold("call_limit", _A, 5 * _MINUTE, _CALLS, slows=True),
    130429: _BUSY,
    130472: _fail(
        "recipient_in_experiment",
        "Meta leaves this person out of marketing messages as a part of an experiment.",
        _R,
    ),
    130497: _fail("country_restricted", "Meta does not deliver to this country.", _R),
    131000: _SERVER,
    131005: _TOKEN,
    131008: _INVALID,
    131009: _INVALID,
    131016: _SERVER,
    131021: _fail("sender_is_recipient", "A number cannot write to itself."),
    131026: _fail(
        "undeliverable",
        "The number is not on WhatsApp, or its app is too old or its terms not accepted.",
        _R,
        # Resellers advise a month; but an app is updated, and terms are accepted, sooner.
        known_seconds=7 * _DAY,
    ),
    131030: _fail(
        "not_in_test_list", "The app is in test mode, and this recipient is not on its list.", _R
    ),
    131031: _LOCKED,
    131037: _NOT_REGISTERED,
    131042: _pause("payment_problem", _A, "Meta reports a payment problem of the account."),
    131045: _NOT_REGISTERED,
    OUTSIDE_WINDOW: _fail(
        "outside_window",
        "The person has not written for 24 hours: only an approved template may be sent.",
    ),
    131048: _hold(
        "spam_limit",
        _D,
        4 * _HOUR,
        "Too many people blocked or reported the number; Meta restricts it for now.",
    ),
    # Meta's support pages: the same again within 24 hours is refused as well, and held against
    # whoever sends it.
    131049: _no_marketing(
        "marketing_withheld",
        _DAY,
        "Meta withholds marketing from this person for now, so as not to weary them.",
    ),
    131050: _no_marketing(
        "marketing_stopped", 30 * _DAY, "The person has stopped marketing of this business."
    ),
    131051: _fail("unsupported_type", "Meta does not take this type of message."),
    131052: _retry("media_not_fetched", "Meta could not fetch the media of a message."),
    131053: _retry("media_not_taken", "Meta could not fetch or take the media of the message."),
    131056: _hold(
        "pair_limit", _R, 6.0, "Too many messages to this person within a short time; it waits."
    ),
    131057: _hold(
        "maintenance", _D, 90.0, "The number is in maintenance at Meta, usually for a minute."
    ),
    131062: _fail("recipient_id_type", "Meta does not take this way to name the recipient."),
    131063: _fail("marketing_off", "Marketing is switched off for this account at Meta.", _A),
    131064: _pause(
        "category_violations", _A, "Meta cut the account's limit for wrong template categories."
    ),
    132000: _VARIABLES,
    132001: _fail(
        "template_missing", "There is no approved template of this name and language.", _T
    ),
    132005: _VARIABLES,
    132007: _fail("template_policy", "The template breaks a policy of Meta.", _T),
    132012: _VARIABLES,
    132015: _hold(
        "template_paused", _T, _HOUR, "Meta has paused the template for its quality; it waits."
    ),
    132016: _fail("template_disabled", "Meta has disabled the template.", _T),
    132018: _VARIABLES,
    132068: _fail("flow_blocked", "Meta has blocked the flow of the template.", _T),
    132069: _hold("flow_throttled", _T, _HOUR, "The flow of the template is throttled; it waits."),
    133010: _NOT_REGISTERED,
    133016: _pause(
        "registration_limit", _D, "The number was registered too often; Meta blocks it for now."
    ),
    135000: _retry("generic_error", "Meta had a fault without a reason; tried a few times."),
    137000: _retry("identity_mismatch", "The person's identity key has changed; tried again."),
}


#: By their names the codes whose refusals are remembered.
_REMEMBERED = {rule.name: code for code, rule in RULES.items() if rule.known_seconds is not None}


def code_of(name: str) -> int | None:
    """The code by the name of its rule, where a recipient who met it is remembered."""
    return _REMEMBERED.get(name)


def rule_of(code: int) -> Rule:
    """The rule for a code of Meta's."""
    return RULES.get(code, UNKNOWN)


def rule_of_status(http_status: int) -> Rule | None:
    """The rule for an answer that holds no code; None when the message may have been accepted."""
    if http_status == 429:
        return _BUSY
    if http_status in (401, 403):
        return _TOKEN
    return _INVALID if 400 <= http_status < 500 else None

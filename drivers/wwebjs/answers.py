"""From the bridge's answer to a send, to its outcome."""

from __future__ import annotations

from drivers.driver import Action, Failed, Outcome, Retry, Rule, Scope, Sent, Unconfirmed
from drivers.wwebjs.calls import Answer

NO_ANSWER = Unconfirmed("no_answer")

_MESSAGE, _DEVICE = Scope.MESSAGE, Scope.DEVICE
_FAIL, _HOLD = Action.FAIL, Action.HOLD

#: The bridge's codes; each says that this call has sent nothing. Any other answer is in doubt.
RULES = {
    "not_on_whatsapp": Rule("not_on_whatsapp", _MESSAGE, _FAIL, "The phone is not on WhatsApp."),
    "bad_recipient": Rule("bad_recipient", _MESSAGE, _FAIL, "WhatsApp takes no such recipient."),
    "bad_media": Rule("bad_media", _MESSAGE, _FAIL, "WhatsApp takes no such file."),
    "failed": Rule("refused", _MESSAGE, _FAIL, "WhatsApp refused the message."),
    "bad_request": Rule("bad_request", _MESSAGE, _FAIL, "The bridge takes no such message."),
    "payload_too_large": Rule("too_large", _MESSAGE, _FAIL, "The message is too large."),
    "stale_epoch": Rule("stale_epoch", _MESSAGE, _HOLD, "Another dispatcher has the device.", 0.0),
    "busy": Rule("busy", _DEVICE, _HOLD, "Enough messages wait at the device.", 1.0, slows=True),
    "device_not_ready": Rule("device_not_ready", _DEVICE, _HOLD, "The device is not ready.", 5.0),
    "unknown_device": Rule(
        "unknown_device", _DEVICE, _HOLD, "The bridge has no such device.", 30.0
    ),
    "unavailable": Rule("bridge_stopping", _DEVICE, _HOLD, "The bridge is stopping.", 2.0),
    "unauthorized": Rule("token_refused", _DEVICE, _HOLD, "The bridge refuses the token.", 30.0),
    "forbidden": Rule("bridge_refuses", _DEVICE, _HOLD, "The bridge refuses the caller.", 30.0),
    # Its own fault: repeated under the same id it is still one message.
    "internal": Rule(
        "bridge_error", _MESSAGE, Action.RETRY, "The bridge met an error.", counts=True
    ),
}

NO_NEW_CHATS = Failed(
    "no_new_chats",
    "WhatsApp lets this device open no new chats for now: it has refused several in a row. "
    "Only persons who wrote to it are written to.",
)
MEDIA_NOT_SENT = Failed("media_not_supported", "A linked device sends texts only.")


def outcome_of(answer: Answer, wa_id: str) -> Outcome:
    """What an answer says of the message with this id."""
    if answer.status == 200 and answer.body.get("wa_id") == wa_id:
        # What is pending goes out by itself; an event tells.
        return Sent(wa_id) if answer.body.get("status") == "sent" else Unconfirmed("pending")
    rule = RULES.get(answer.code)
    if rule is None or answer.status < 400:
        return NO_ANSWER
    outcome = rule.outcome()
    return outcome if isinstance(outcome, Failed | Retry) else NO_ANSWER

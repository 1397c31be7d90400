"""One of everything that an account can have."""

from __future__ import annotations

from typing import Any

from tests.integration.api.described import Described
from tests.system import Account, Hantar

CANARY = "canary-of-the-other-account"
PHONE = "0123456789"
CSV = {"Content-Type": "text/csv"}


async def own(hantar: Hantar, account: Account) -> dict[str, int]:
    """One of everything that has an id, by the first part of its path; all hold the canary."""
    made: dict[str, int] = {"devices": account.device_id}
    contact = {"phone": PHONE, "name": CANARY}
    bodies: dict[str, dict[str, Any]] = {
        "messages": {"phone": PHONE, "body": CANARY, "reference": CANARY},
        "contacts": contact,
        "contact-groups": {"name": CANARY},
        "templates": {"name": CANARY, "body": CANARY},
        "campaigns": {"name": CANARY, "body": CANARY, "recipients": [contact]},
        "webhook-endpoints": {"url": f"http://127.0.0.1/{CANARY}", "events": ["*"]},
    }
    for name, body in bodies.items():
        path = "/messages/send" if name == "messages" else f"/{name}"
        answer = await hantar.post(path, account, body)
        assert answer.status in (201, 202), answer.json
        made[name] = answer.json["data"]["id"]
    path = f"/contact-groups/{made['contact-groups']}/contacts"
    assert (await hantar.post(path, account, {"contact_ids": [made["contacts"]]})).status == 200
    csv = f"phone,name\n{PHONE},{CANARY}\n"
    answer = await hantar.call("POST", "/api/v1/contacts/import", account, data=csv, headers=CSV)
    made["contacts/imports"] = answer.json["data"]["id"]
    return made


def theirs(made: dict[str, int], operation: Described) -> int:
    """The other account's id of the kind that the path begins with."""
    first, second = operation.path.strip("/").split("/")[:2]
    return made[first if second.startswith("{") else f"{first}/{second}"]

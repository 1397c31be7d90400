"""The devices of the WhatsApp Business Cloud API: numbers of a business, reached by a token."""

from __future__ import annotations

from typing import Annotated

import msgspec

from drivers.driver import Kind
from drivers.meta.errors import RULES, UNKNOWN

#: Meta's ids are decimal numbers, given as text. A bare $ would let a line feed pass.
Id = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,32}(?!\n)$")]
Secret = Annotated[str, msgspec.Meta(pattern=r"^[!-~]{1,1024}(?!\n)$")]
Unset = msgspec.UnsetType
UNSET = msgspec.UNSET


class Settings(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """How Meta knows the number, and the secrets shared with it."""

    phone_number_id: Id | Unset | None = UNSET
    business_account_id: Id | Unset | None = UNSET
    #: numbers of one portfolio share their budgets
    portfolio: Id | Unset | None = UNSET
    access_token: Secret | Unset | None = UNSET
    app_secret: Secret | Unset | None = UNSET
    verify_token: Secret | Unset | None = UNSET


#: 80 messages a second, and one in six seconds to one person (errors 130429 and 131056).
KIND = Kind(
    Settings,
    secrets=frozenset({"access_token", "app_secret", "verify_token"}),
    credential="access_token",
    limits={"per_second": 80.0, "pair_seconds": 6.0},
    needs=frozenset({"phone_number_id", "access_token"}),
    rules=(*RULES.values(), UNKNOWN),
)

"""The devices of the bridge around whatsapp-web.js: phones linked by a code."""

from __future__ import annotations

import msgspec

from drivers.driver import Kind
from drivers.wwebjs.answers import RULES


class Settings(msgspec.Struct, forbid_unknown_fields=True):
    """There are none."""


#: A number that sends like a machine is banned: about twenty a minute, and not by the clock.
KIND = Kind(Settings, limits={"per_minute": 20, "jitter_seconds": 2.0}, rules=RULES.values())

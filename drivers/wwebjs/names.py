"""How the bridge knows devices and messages of this installation."""

from __future__ import annotations

import hashlib
import hmac


class Names:
    """Every name begins with the installation's own mark: an id is never that of another message
    from before its database was made anew."""

    def __init__(self, secret: bytes) -> None:
        self._mark = hmac.digest(secret, b"wwebjs names", "sha256")[:6].hex()

    def device(self, device_id: int) -> str:
        """The device's name."""
        return f"{self._mark}-{device_id}"

    def device_id(self, device: str) -> int | None:
        """The device of this name; None when it is not ours."""
        mark, _, number = device.partition("-")
        return int(number) if mark == self._mark and number.isdecimal() else None

    def message(self, message_id: int) -> str:
        """What a message is called in a send."""
        return f"{self._mark}.{message_id}"

    def wa_id(self, device_id: int, message_id: int) -> str:
        """The id under which WhatsApp knows it."""
        return wa_id_of(self.device(device_id), self.message(message_id))


def wa_id_of(device: str, message: str) -> str:
    """The id under which WhatsApp knows a message of a device, by the bridge's own rule."""
    return "3EB0" + hashlib.sha256(f"{device}/{message}".encode()).hexdigest()[:18].upper()

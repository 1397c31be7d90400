"""What persons wrote, at rest: sealed in the database, open only on its way to who may read it."""

from __future__ import annotations

import base64
import re
import unicodedata
from collections.abc import Iterable

import orjson

from service.core.sealing import CannotUnseal, NoKey, Seal

_PURPOSE = "inbound"
#: An opt-out is not looked for in what is longer.
_LONGEST_WORD_CHARS = 100
#: Words that always opt a person out.
OPT_OUT_WORDS = ("STOP", "UNSUBSCRIBE", "BERHENTI", "HENTI")
_AROUND = re.compile(r"^[\W_]+|[\W_]+$")


class Words:
    """Seals texts, and the one text in an event; a text that does not open any more is None."""

    def __init__(self, seal: Seal) -> None:
        self._seal = seal

    def close(self, text: str) -> bytes | None:
        """The text, sealed; None when there is no key to seal it with."""
        try:
            return self._seal.seal(text, _PURPOSE)
        except NoKey:
            return None

    def open(self, sealed: bytes | None) -> str | None:
        """The text; None when there is none, or none of the keys opens it."""
        try:
            return None if sealed is None else self._seal.unseal(sealed, _PURPOSE)
        except CannotUnseal:
            return None

    def close_event(self, body: bytes) -> bytes:
        """The event with its text sealed."""
        event = orjson.loads(body)
        sealed = None if event["text"] is None else self.close(event["text"])
        event["text"] = None if sealed is None else base64.b64encode(sealed).decode()
        return orjson.dumps(event)

    def open_event(self, body: bytes) -> bytes:
        """The event as it was before `close_event`."""
        event = orjson.loads(body)
        event["text"] = (
            None if event["text"] is None else self.open(base64.b64decode(event["text"]))
        )
        return orjson.dumps(event)


class OptOutWords:
    """The words by which a person asks to be left alone."""

    def __init__(self, words: Iterable[str]) -> None:
        self._words = frozenset(map(bare, words))

    def match(self, text: str) -> bool:
        """Whether the whole text is one of them; case, spaces and signs around it do not matter."""
        return len(text) <= _LONGEST_WORD_CHARS and bare(text) in self._words


def bare(text: str) -> str:
    """A text as it is compared with opt-out words; empty when it has no letter and no digit."""
    folded = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return _AROUND.sub("", folded)

"""What goes with the words of a message."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

ShortText = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
Url = Annotated[str, msgspec.Meta(pattern=r"^https?://[^\s\x00]+(?!\n)$", max_length=2048)]


class Media(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A picture, document, film or recording, fetched from its URL when the message is sent.

    The words of the message stand below it, or instead of them the caption; a recording has none.
    """

    type: Literal["image", "document", "video", "audio"]
    url: Url
    filename: ShortText | None = None
    caption: Annotated[str, msgspec.Meta(max_length=1024)] | None = None

from __future__ import annotations

import orjson
import pytest

from service.core.sealing import Seal, new_key, read_keys
from service.core.words import OPT_OUT_WORDS, OptOutWords, Words

EVENT = {"account": 7, "text": "Apa khabar? 🙂", "kind": "text"}


def seal() -> Seal:
    return Seal(read_keys(new_key()))


@pytest.mark.parametrize(
    "text",
    [
        "STOP",
        "stop",
        " Stop! ",
        "*STOP*",
        "“stop.”",
        "ＳＴＯＰ",
        "STOP 🙏",
        "Unsubscribe\n",
        "berhenti",
        "HENTI..",
        "tak  Mahu lagi",
        "停止",
    ],
)
def test_a_word_is_known_however_it_is_written(text: str) -> None:
    assert OptOutWords([*OPT_OUT_WORDS, "Tak mahu lagi", "停止"]).match(text)


@pytest.mark.parametrize(
    "text", ["", "!", "please stop by at nine", "stopp", "non-stop", "henti esok", "stop" * 30]
)
def test_other_texts_opt_nobody_out(text: str) -> None:
    assert not OptOutWords(OPT_OUT_WORDS).match(text)


def test_a_text_rests_sealed_and_opens_again() -> None:
    words = Words(seal())
    closed = words.close_event(orjson.dumps(EVENT))
    assert "khabar" not in closed.decode()
    assert orjson.loads(closed) | {"text": EVENT["text"]} == EVENT
    assert orjson.loads(words.open_event(closed)) == EVENT
    assert words.open(words.close("Salam")) == "Salam"


def test_what_no_key_opens_any_more_is_left_out_and_the_event_stays() -> None:
    closed = Words(seal()).close_event(orjson.dumps(EVENT))
    assert orjson.loads(Words(seal()).open_event(closed)) == EVENT | {"text": None}
    assert Words(seal()).open(Words(seal()).close("Salam")) is None


def test_without_a_key_no_text_is_kept() -> None:
    words = Words(Seal([]))
    assert words.close("Salam") is None
    assert orjson.loads(words.close_event(orjson.dumps(EVENT)))["text"] is None

"""E-mail addresses, SMTP URLs, and tokens."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.email_token import GOOD_SECONDS, make_token, read_token
from service.core.mail import SmtpServer, address_error, read_smtp_url


@pytest.mark.parametrize(
    "address",
    ["a@example.com", "siti.aminah+shop@mail.example.my", "o'neil@example.com", "A_1@x-y.example",
     "a" * 64 + "@example.com", "a@" + "b" * 63 + ".example"],
)  # fmt: skip
def test_an_address_is_taken(address: str) -> None:
    assert address_error(address) is None


@pytest.mark.parametrize(
    "address",
    ["", "a", "@example.com", "a@", "a@localhost", "a@@example.com", "a b@example.com",
     ".a@example.com", "a.@example.com", "a..b@example.com", "a@-x.example", "a@x-.example",
     "a@example..com", "a@.example.com", "a@example.com.", "a@example.com\n",
     "a@example.com,b@c.de", "<a@example.com>", "a@[127.0.0.1]",
     "a@exämple.com", "ä@example.com", "a@example.com\0",
     "a" * 65 + "@example.com", "a@" + "b" * 64 + ".example", "a@" + "b." * 130 + "example"],
)  # fmt: skip
def test_what_is_no_address_is_refused(address: str) -> None:
    assert address_error(address)


def test_an_smtp_url_is_read() -> None:
    assert read_smtp_url("smtp://u%40x:p%3Aw@mail:25") == SmtpServer(
        "mail", 25, "u@x", "p:w", tls=False
    )
    assert read_smtp_url("smtps://mail") == SmtpServer("mail", 465, None, None, tls=True)
    assert read_smtp_url("smtp://[::1]/").port == 587
    for url in ("mail:25", "http://mail", "smtp://", "smtp://mail/x", "smtp://mail:port"):
        with pytest.raises(ValueError, match=r"smtp|[Pp]ort"):
            read_smtp_url(url)


@given(
    st.binary(min_size=16, max_size=64),
    st.integers(1, 2**63 - 1),
    st.emails(),
    st.integers(0, 2**40),
)
def test_a_token_says_what_was_put_in(secret: bytes, account: int, address: str, now: int) -> None:
    text = make_token(secret, account, address, now)
    token = read_token(secret, text)
    assert token is not None
    assert (token.account_id, token.expires_at) == (account, now + GOOD_SECONDS)
    assert token.is_for(address)
    assert not token.is_for("x" + address)
    assert read_token(secret + b"x", text) is None


@given(st.integers(0, 63), st.text(max_size=3))
def test_a_token_that_was_altered_is_none(place: int, put: str) -> None:
    text = make_token(b"secret", 1, "a@example.com", 1)
    altered = text[:place] + put + text[place + 1 :]
    assert altered == text or read_token(b"secret", altered) is None

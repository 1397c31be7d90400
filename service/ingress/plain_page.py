"""Pages of one thought each: no assets, nothing from elsewhere, in nobody's frame."""

from __future__ import annotations

import base64
import hashlib
from html import escape

from aiohttp import web

_STYLE = (
    "body{font:1.125rem/1.6 system-ui,sans-serif;max-width:34rem;margin:4rem auto;padding:0 1rem;"
    "color:#1b1b1b;background:#fff}"
    "button{font:inherit;padding:.6rem 1.4rem;border:0;border-radius:.4rem;"
    "color:#fff;background:#0b5c46}"
    "button:focus-visible{outline:3px solid #1b1b1b;outline-offset:3px}"
    "img{display:block;max-width:100%;height:auto}"
    "[hidden]{display:none}"
)


def plain_page(status: int, title: str, body: str, *, script: str = "") -> web.Response:
    """A page with this heading; its address is a secret, so it is told to nobody."""
    heading = escape(title)
    code = f"<script>{script}</script>" if script else ""
    return web.Response(
        status=status,
        text=f'<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
        f'content="width=device-width"><title>{heading} – Hantar</title><style>{_STYLE}</style>'
        f"</head><body><main><h1>{heading}</h1>{body}</main>{code}</body></html>",
        content_type="text/html",
        headers={
            "Cache-Control": "no-store",
            "Content-Security-Policy": _policy(script),
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
            "X-Robots-Tag": "noindex",
        },
    )


def _policy(script: str) -> str:
    allowed = ["default-src 'none'", f"style-src '{_hash(_STYLE)}'"]
    if script:
        allowed += [f"script-src '{_hash(script)}'", "connect-src 'self'", "img-src data:"]
    return "; ".join([*allowed, "form-action 'self'", "base-uri 'none'", "frame-ancestors 'none'"])


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"

"""A real Chromium for tests of pages: the machine's, or Debian's unpacked into a cache."""

from __future__ import annotations

import platform
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from playwright.async_api import Browser, async_playwright

from tests.servers.packages import Program, cache_folder, unpack

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
CHROMIUM = Program(
    "Chromium",
    # Without a font a page has no text that could be seen.
    ["chromium-headless-shell", "fontconfig-config", "fonts-dejavu-core"],
    "install it with `apt-get install chromium` (macOS: `brew install chromium`)",
)
START_LIMIT_SECONDS = 60
#: Nothing but the page under test may reach for the network, and root may run it.
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


def find_chromium() -> tuple[Path, dict[str, str]]:
    """The program and the environment it needs; fetched now if need be."""
    for name in NAMES:
        if found := shutil.which(name):
            return Path(found), {}
    root = unpack(CHROMIUM, cache_folder())
    libraries = [root / "usr/lib", root / f"usr/lib/{platform.machine()}-linux-gnu"]
    for inner in ("pulseaudio", "nss"):
        libraries.append(libraries[1] / inner)
    environment = {
        "LD_LIBRARY_PATH": ":".join(str(folder) for folder in libraries),
        "FONTCONFIG_FILE": str(_fonts(root)),
    }
    return root / "usr/lib/chromium/chromium-headless-shell", environment


def _fonts(root: Path) -> Path:
    """A configuration that names the unpacked fonts beside the machine's own."""
    file = root / "fonts.conf"
    fonts = root / "usr/share/fonts"
    file.write_text(
        '<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd"><fontconfig>'
        f"<dir>{fonts}</dir><dir>/usr/share/fonts</dir>"
        '<cachedir prefix="xdg">fontconfig</cachedir></fontconfig>'
    )
    return file


@asynccontextmanager
async def running_chromium(home: Path) -> AsyncIterator[Browser]:
    """A browser with nothing in it, its files in `home`; at the end it is gone."""
    program, environment = find_chromium()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=program,
            args=FLAGS,
            env={"PATH": "/usr/bin:/bin", "HOME": str(home), "TZ": "UTC", **environment},
            timeout=START_LIMIT_SECONDS * 1000,
        )
        try:
            yield browser
        finally:
            await browser.close()

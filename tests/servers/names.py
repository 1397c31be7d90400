"""Names that point where a test wants them to, for a process of its own: the C library's resolver
with a file of hosts that is read anew whenever it changes."""

from __future__ import annotations

from pathlib import Path

from tests.servers.packages import Program, cache_folder, unpack

NSS_WRAPPER = Program(
    "nss_wrapper", ["libnss-wrapper"], "install it with `apt-get install libnss-wrapper`"
)
_LIBRARY = "lib/*/libnss_wrapper.so"


class Names:
    """Where names point; nothing else on the machine sees them."""

    def __init__(self, folder: Path) -> None:
        installed = next(Path("/usr").glob(_LIBRARY), None)
        library = installed or next(unpack(NSS_WRAPPER, cache_folder()).glob(f"usr/{_LIBRARY}"))
        self._hosts = folder / "hosts"
        #: for the process that is to see them
        self.environment = {"LD_PRELOAD": str(library), "NSS_WRAPPER_HOSTS": str(self._hosts)}

    def point(self, name: str, *addresses: str) -> None:
        """From now on the name has these addresses alone."""
        new = self._hosts.with_suffix(".new")
        new.write_text("".join(f"{address} {name}\n" for address in addresses))
        new.replace(self._hosts)

"""A real nginx that answers as the Cloud API does: the machine's, or Debian's unpacked."""

from __future__ import annotations

import platform
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from service.embedded.bound import bound
from tests.servers.node_folder import HOST, free_ports
from tests.servers.packages import Program, cache_folder, unpack

NGINX = Program(
    "nginx",
    ["nginx"],
    "install it with `apt-get install nginx` (macOS: `brew install nginx`)",
)
START_LIMIT_SECONDS = 10.0
END_LIMIT_SECONDS = 5.0
#: One worker, as the machine belongs to what is measured; a message id as long as Meta's.
CONFIG = """\
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error;
{user}
events {{ worker_connections 1024; }}
http {{
    access_log off;
    keepalive_requests 100000000;
    keepalive_timeout 60s;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    default_type application/json;
    server {{
        listen {host}:{port} backlog=1024;
        location ~ /messages$ {{
            return 200 '{{"messaging_product":"whatsapp","contacts":[{{"input":"60120000000",\
"wa_id":"60120000000"}}],"messages":[{{"id":"wamid.$request_id"}}]}}';
        }}
        location / {{
            return 200 '{{"id":"1","quality_rating":"GREEN","display_phone_number":"60120000000"}}';
        }}
    }}
}}
"""


def find_nginx() -> tuple[Path, dict[str, str]]:
    """The program and the environment it needs; fetched now if need be."""
    if found := shutil.which("nginx", path="/usr/sbin:/usr/local/bin:/opt/homebrew/bin"):
        return Path(found), {}
    root = unpack(NGINX, cache_folder())
    libraries = root / f"usr/lib/{platform.machine()}-linux-gnu"
    return root / "usr/sbin/nginx", {"LD_LIBRARY_PATH": str(libraries)}


class Nginx:
    """The server; takes every message and every question, by whomever.

    Start it on a thread that lives as long as it is needed: Linux ends it with that thread.
    """

    def __init__(self) -> None:
        self._program, self._environment = find_nginx()
        # Its configuration breaks on spaces, which any other place may have.
        self._folder = Path(tempfile.mkdtemp(prefix="hantar-nginx-", dir="/tmp"))
        [self._port] = free_ports(1)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The base of the API."""
        return f"http://{HOST}:{self._port}"

    @property
    def pid(self) -> int:
        """The process that starts the worker."""
        return self._process.pid if self._process else 0

    def start(self) -> None:
        """Listen."""
        config = self._folder / "conf"
        # Started by root its worker would run as an account that may not be there.
        user = "user root;" if Path(self._folder).stat().st_uid == 0 else ""
        config.write_text(CONFIG.format(folder=self._folder, host=HOST, port=self._port, user=user))
        command = [str(self._program), "-p", str(self._folder), "-c", str(config)]
        self._process = subprocess.Popen(
            bound([*command, "-e", str(self._folder / "error")], on_parent_death=signal.SIGTERM),
            cwd=self._folder,
            env={"PATH": "/usr/bin:/bin", **self._environment},
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + START_LIMIT_SECONDS
        while not self._accepts():
            if self._process.poll() is not None or time.monotonic() > deadline:
                error = self._folder / "error"
                raise RuntimeError(f"nginx did not start: {error.read_text()[-2000:]}")
            time.sleep(0.02)

    def close(self) -> None:
        """End it and remove its files."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(END_LIMIT_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(END_LIMIT_SECONDS)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _accepts(self) -> bool:
        try:
            socket.create_connection((HOST, self._port), 1).close()
        except OSError:
            return False
        return True

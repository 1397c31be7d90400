"""What a private RabbitMQ node finds on disk and in its environment."""

from __future__ import annotations

import os
import random
import shutil
import socket
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.servers.rabbitmq_program import Installation

HOST: Final = "127.0.0.1"
# Below the range from which the kernel gives ports to clients: the node binds seconds later.
PORTS = range(20_000, 32_000)
# Erlang's own format, not rabbitmq.conf: checking that one takes half a second.
CONFIG = """\
[{{rabbit, [{{tcp_listeners, [{{"{host}", {amqp}}}]}},
           {{vm_memory_high_watermark, {{absolute, 1073741824}}}},
           {{disk_free_limit, 50000000}},
           {cluster}{{collect_statistics_interval, 1000}}]}},
 {{rabbitmq_management, [{{tcp_config, [{{ip, "{host}"}}, {{port, {management}}}]}}]}},
 {{rabbitmq_prometheus, [{{tcp_config, [{{ip, "{host}"}}, {{port, {metrics}}}]}}]}}].
"""
#: Members of a cluster stop when they see no majority of it; leaders are spread over them.
CLUSTER = """\
{{cluster_nodes, {{[{members}], disc}}}}, {{cluster_partition_handling, pause_minority}},
           {{queue_leader_locator, <<"balanced">>}}, """
COOKIE = "HANTARTESTS"
# One scheduler that sleeps when idle: the machine belongs to the tests.
ERLANG_ARGUMENTS = (
    "-kernel inet_dist_use_interface {127,0,0,1} +S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none"
)
ERL_SCRIPT = """\
#!/bin/sh
export ROOTDIR='{root}' BINDIR='{binaries}' EMU=beam PROGNAME=erl
exec "$BINDIR/erlexec" "$@"
"""


@dataclass(frozen=True, slots=True)
class Cluster:
    """Nodes that find each other by one epmd."""

    members: tuple[str, ...]
    epmd_port: int


class NodeFolder:
    """Folder, ports and environment of one node, on RabbitMQ as it was found."""

    def __init__(
        self, installation: Installation, place: int = 0, cluster: Cluster | None = None
    ) -> None:
        # RabbitMQ's scripts break on spaces, which any other place may have.
        self.path = Path(tempfile.mkdtemp(prefix="hantar-rabbitmq-", dir="/tmp"))
        self.output = self.path / "output"
        ports = free_ports(5)
        self.amqp_port, self.management_port, self.metrics_port = ports[:3]
        self._distribution_port, epmd_port = ports[3:]
        self.epmd_port = cluster.epmd_port if cluster else epmd_port
        self.name = cluster.members[place] if cluster else "hantar@localhost"
        self._cluster = cluster
        self._search = [str(self.path / "bin"), os.environ.get("PATH", "/usr/bin:/bin")]
        self._libraries: list[str] = []
        self.server = str(installation.scripts / "rabbitmq-server")
        if installation.unpacked:
            self._link(installation.unpacked, installation.scripts)
        self.epmd = shutil.which("epmd", path=":".join(self._search)) or "epmd"
        self._write()

    @property
    def environment(self) -> dict[str, str]:
        """What both RabbitMQ's scripts and epmd are started with; nothing else is inherited."""
        path = self.path
        files = {
            "RABBITMQ_MNESIA_BASE": path / "mnesia",
            "RABBITMQ_LOG_BASE": path / "log",
            "RABBITMQ_PID_FILE": path / "pid",
            "RABBITMQ_ENABLED_PLUGINS_FILE": path / "enabled_plugins",
            "RABBITMQ_ADVANCED_CONFIG_FILE": path / "advanced.config",
            "RABBITMQ_CONFIG_FILE": path / "absent.conf",
            "RABBITMQ_CONF_ENV_FILE": path / "absent.env",
            "RABBITMQ_GENERATED_CONFIG_DIR": path / "config",
            "RABBITMQ_PLUGINS_EXPAND_DIR": path / "plugins-expand",
            "HOME": path,
        }
        return {name: str(value) for name, value in files.items()} | {
            "PATH": ":".join(self._search),
            "LD_LIBRARY_PATH": ":".join(self._libraries),
            "LC_ALL": "C.UTF-8",
            "RABBITMQ_NODENAME": self.name,
            "RABBITMQ_NODE_IP_ADDRESS": HOST,
            "RABBITMQ_NODE_PORT": str(self.amqp_port),
            "RABBITMQ_DIST_PORT": str(self._distribution_port),
            "ERL_EPMD_ADDRESS": HOST,
            "ERL_EPMD_PORT": str(self.epmd_port),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": ERLANG_ARGUMENTS,
            # Makes the script become Erlang instead of waiting for it: one process to signal.
            "detached": "true",
        }

    def _link(self, unpacked: Path, scripts: Path) -> None:
        """Reaches the unpacked packages by a path without spaces, and starts Erlang from there."""
        link = self.path / "packages"
        link.symlink_to(unpacked)
        self.server = str(link / scripts.relative_to(unpacked) / "rabbitmq-server")
        root = link / "usr/lib/erlang"
        [binaries] = root.glob("erts-*/bin")
        # Debian's own script knows /usr/lib/erlang only.
        erl = self.path / "bin" / "erl"
        erl.parent.mkdir()
        erl.write_text(ERL_SCRIPT.format(root=root, binaries=binaries))
        erl.chmod(0o755)
        self._search.insert(1, str(binaries))
        folders = (*link.glob("lib/*-linux-*"), *link.glob("usr/lib/*-linux-*"))
        self._libraries = [str(folder) for folder in folders]

    def _write(self) -> None:
        cookie = self.path / ".erlang.cookie"
        cookie.write_text(COOKIE)
        cookie.chmod(0o400)
        (self.path / "enabled_plugins").write_text("[rabbitmq_management,rabbitmq_prometheus].\n")
        ports = {
            "amqp": self.amqp_port,
            "management": self.management_port,
            "metrics": self.metrics_port,
        }
        members = ", ".join(f"'{name}'" for name in self._cluster.members) if self._cluster else ""
        cluster = CLUSTER.format(members=members) if members else ""
        config = CONFIG.format(host=HOST, cluster=cluster, **ports)
        (self.path / "advanced.config").write_text(config)


def free_ports(count: int) -> list[int]:
    """Ports that nothing uses at this moment."""
    free: list[int] = []
    for port in random.sample(PORTS, len(PORTS)):
        with socket.socket() as probe:
            # As servers do: what only waits out an old connection counts as free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            free.append(port)
        if len(free) == count:
            return free
    raise RuntimeError("no free ports")

"""The drivers there are; a new one is a folder and its lines here."""

from __future__ import annotations

from collections.abc import Callable

from drivers.driver import Driver, Kind, Receiver
from drivers.linking import LinkHost, Linking
from drivers.meta.kind import KIND as META
from drivers.meta.meta import Meta
from drivers.meta.receiver import MetaReceiver
from drivers.simulator.kind import KIND as SIMULATOR
from drivers.simulator.linking import SimulatorLinking
from drivers.simulator.simulator import Simulator
from drivers.wwebjs.kind import KIND as WWEBJS
from drivers.wwebjs.linking import WwebjsLinking
from drivers.wwebjs.wwebjs import Wwebjs

DRIVERS: dict[str, Callable[[], Driver]] = {
    "meta": Meta,
    "simulator": Simulator,
    "wwebjs": Wwebjs,
}
#: Their devices, as far as they are known while no driver runs.
KINDS: dict[str, Kind] = {
    "meta": META,
    "simulator": SIMULATOR,
    "wwebjs": WWEBJS,
}
#: Those whose providers call back over HTTP, made with the installation's secret.
RECEIVERS: dict[str, Callable[[bytes], Receiver]] = {
    "meta": MetaReceiver,
}
#: How those of them that are linked by a code come to their phones.
LINKINGS: dict[str, Callable[[LinkHost], Linking]] = {
    "simulator": SimulatorLinking,
    "wwebjs": WwebjsLinking,
}

"""What the first page shows: this daemon, both servers, and a row for each contract of it and of its peers."""

from __future__ import annotations

import socket
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from syncd import __version__
from syncd.contract.model.contract import Contract
from syncd.contract.several import OF
from syncd.daemon.supervisor import Runner
from syncd.daemon.trends import NO_POINTS, RESOLUTIONS, SPARK_S
from syncd.ops.console.contract_page import details
from syncd.ops.console.counts import Counts
from syncd.ops.console.peers import Peers
from syncd.ops.console.rows import Said, row, with_waiting
from syncd.ops.console.servers import Servers
from syncd.settings import Settings

RATE_S = 60.0
"""Over how long the speed of a copy is taken."""

Json: TypeAlias = dict[str, Any]


class Overview:
    """Thread-safe."""

    def __init__(self, runner: Runner, settings: Settings, servers: Servers) -> None:
        self._runner, self._settings, self._servers = runner, settings, servers
        self._peers, self._counts = Peers(servers), Counts(lambda: servers.mongo)
        self._host = socket.gethostname()

    def as_dict(self) -> Json:
        """For JSON."""
        said = self._runner.as_dict()
        rows = self._rows(said)
        return {
            "version": __version__,
            "host": self._host,
            "site": self._settings.site,
            "at": time.time(),
            "ready": said["ready"],
            "actions": self._settings.token is not None,
            "values": self._settings.console_values and self._settings.token is not None,
            "problems": said["contracts"]["problems"],
            "unknown": said["unknown"],
            "left": self._peers.left(list(lanes_by_contract(said))),
            "servers": self._servers.health(),
            "totals": totals(rows),
            "contracts": rows,
        }

    def _rows(self, said: Json) -> list[Json]:
        lanes = lanes_by_contract(said)
        parts = self._peers.parts(list(lanes))
        names = {*lanes, *parts}
        names |= self._runner.waiting.keys() - {name.partition(OF)[0] for name in names}
        return [self._row(name, lanes.get(name, []), parts.get(name, [])) for name in sorted(names)]

    def one(self, name: str) -> Json | None:
        """Everything that is known of one contract; None where there is no such contract."""
        lanes = lanes_by_contract(self._runner.as_dict())
        own = lanes.get(name, [])
        parts = self._peers.parts(list(lanes)).get(name, [])
        if not own and not parts and name not in self._runner.waiting:
            return None
        contract = self._contract(name, parts)
        count = self._counts.of(self._runner.plans.get(name))
        said: Json = {"row": self._row(name, own, parts), "documents": count and count._asdict()}
        said["waits"] = self._runner.waiting.get(name.partition(OF)[0])
        return said | details(name, contract, own, self._servers)

    def trend(self, name: str, resolution: str) -> Json:
        """Lag and changes of a contract over the last time; no points where it does not run here, or has just begun."""
        points = self._runner.trend(name, resolution) or NO_POINTS
        return {"step_seconds": RESOLUTIONS[resolution].step_s, **points}

    def sparks(self) -> Json:
        """The lag of all contracts over the last minutes, in few points."""
        return {"step_seconds": SPARK_S, "contracts": self._runner.sparks()}

    def _row(self, name: str, lanes: Sequence[Said], parts: Sequence[Said]) -> Json:
        """One contract."""
        found = row(name, self._contract(name, parts), lanes, parts, self._host, time.time())
        copied = found.pop("copied")
        if plan := self._runner.waiting.get(name.partition(OF)[0]):
            found = with_waiting(found, plan)
        return found | {"copy": None if copied is None else self._copy(name, copied)}

    def _contract(self, name: str, parts: Sequence[Said]) -> Contract | None:
        plan = self._runner.plans.get(name)
        if plan is not None:
            return plan.contract
        return self._peers.contract(name, parts[0]["epoch"]) if parts else None

    def _copy(self, name: str, copied: int) -> Json:
        """How far a copy is, and how long it takes still, as far as that can be known."""
        count = self._counts.of(self._runner.plans.get(name))
        speed = self._speed(name)
        left = None
        if count is not None and not count.at_most and speed:
            left = max(0, count.documents - copied) / speed
        return {
            "documents": copied,
            "of": count and count.documents,
            "at_most": bool(count and count.at_most),
            "per_second": round(speed, 1),
            "seconds_left": left and round(left),
        }

    def _speed(self, name: str) -> float:
        """Documents a second."""
        step_s = RESOLUTIONS["minutes"].step_s
        points = self._runner.trend(name, "minutes")
        copied = points["copied"][-round(RATE_S / step_s) :] if points else []
        begun = next((at for at, count in enumerate(copied) if count), len(copied))
        since = copied[begun:]
        return sum(filter(None, since)) / (len(since) * step_s) if since else 0.0


def lanes_by_contract(said: Mapping[str, Any]) -> dict[str, list[Said]]:
    """What `/status` says, by contract."""
    found: dict[str, list[Said]] = defaultdict(list)
    for lane in said["lanes"]:
        found[lane["contract"]].append(lane)
    return dict(found)


def totals(rows: Sequence[Json]) -> Json:
    """How many contracts there are of each kind; one may be of several."""
    return {
        "contracts": len(rows),
        "live": sum(one["state"] == "live" for one in rows),
        "copying": sum(one["copy"] is not None for one in rows),
        "need_a_person": sum(one["level"] in ("problem", "attention") for one in rows),
        "dead_letters": sum(one["dead_letters"] or 0 for one in rows),
    }

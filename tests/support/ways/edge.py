"""Sites: each a Redis and a daemon of its own behind a link that can be cut, all on the same contracts."""

from __future__ import annotations

from typing import Any

import psutil

from tests.faults.conftest import Rig
from tests.support.contracts import projection
from tests.support.scene import Document, Flow, Scene

TEXT = "what a document of three hundred bytes has to say beside its number and its site; " * 3


def films(site: str, numbers: range, n: int = 0) -> list[Document]:
    return [{"_id": number, "site": site, "n": n, "text": f"{number} {TEXT}"} for number in numbers]


def add_films(scene: Scene, documents: list[Document] | None = None, **more: Any) -> Flow:
    """What the daemon's site is to have of a collection that has more."""
    said = projection(["n", "text"])
    return scene.add("film", said, documents=documents or [], filter={"site": "${SYNCD_SITE}"}, **more)


def sockets(rig: Rig) -> int:
    """Connections of the daemon to whatever, open or about to be."""
    return len(psutil.Process(rig.scene.daemon.process.pid).net_connections())

"""What goes wrong with contracts that go both ways."""

from __future__ import annotations

from tests.simulation import faults as every
from tests.simulation.faults import Faults

FAULTS: Faults = {
    "kill": (every.kill, 6), "stop": (every.stop, 2), "overlap": (every.overlap, 3), "pause": (every.pause, 4),
    "cut_redis": (every.cut_redis, 2), "cut_mongo": (every.cut_mongo, 2), "loss": (every.loss, 2),
    "elect": (every.elect, 3), "cut_off": (every.cut_off, 1), "fill": (every.fill, 1),
    "shift_clock": (every.shift_clock, 1),
}  # fmt: skip

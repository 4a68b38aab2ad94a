"""One run: every system on the same servers, round by round, and then what is measured of syncd alone."""

from __future__ import annotations

import dataclasses
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path

from benchmarks import many
from benchmarks.back import caught_up, limit
from benchmarks.compared import compared
from benchmarks.measured.check import Mismatch
from benchmarks.measured.limits import measure
from benchmarks.measured.observe import Foreign
from benchmarks.measured.phases import BACKLOG, Trial
from benchmarks.measured.resp import ReplyError
from benchmarks.measured.servers import Servers, with_modules
from benchmarks.measured.ways import WAYS, Way
from benchmarks.measured.workload import PLAIN, Shape
from benchmarks.options import Options
from benchmarks.results.report import LIMITS, Figures, Results
from benchmarks.shapes import SHAPES
from benchmarks.systems.base import SYSTEMS, Site, Syncd, System, SystemFailed
from benchmarks.systems.install import NotInstalled
from benchmarks.systems.products import PRODUCTS, BridgeBack, Product

MOST_PEER_ENTRIES = 20_000
"""Of the product of others that appends: it takes a second for a few thousand."""
FAILURES = (Mismatch, SystemFailed, TimeoutError, ReplyError)


@dataclasses.dataclass
class Run:
    """What the options ask for, on these servers. Everything found goes into the results."""

    options: Options
    running: Servers
    load: Executor
    results: Results

    def all(self) -> None:
        """Everything, one after the other: two cores carry it."""
        peers = [name for name in self.options.peers if self._installed(PRODUCTS[name])]
        for number in range(self.options.rounds):
            names = [*self.options.systems, *(peers if number < self.options.peer_rounds else [])]
            for name in _rotated(names, number):
                if name not in self.results.failures and name not in self.results.left_out:
                    say(f"round {number + 1} of {self.options.rounds}: {name}")
                    self._system(name)
        for part in self.options.parts:
            if part in WAYS:
                self._back(WAYS[part])
            elif part != "peers":
                getattr(self, part)()

    def idle(self) -> None:
        """Many contracts without work: once, for it hardly varies."""
        self._part("many", "idle", lambda: many.idle(self.running, self.load))

    def hot(self) -> None:
        """A hot contract beside quiet ones, once a round."""
        for _ in range(self.options.rounds):
            self._part(
                "many",
                "hot",
                lambda: many.hot(
                    self.running, self.load, self.options.documents, self.options.latency_seconds
                ),
            )

    def variants(self) -> None:
        """Every shape of a contract, on a Redis that has modules."""
        with with_modules(self.running) as running:
            for shape in SHAPES:
                self._part("variants", shape.name, self._trial(running, self.options.documents, shape))

    def compared(self) -> None:
        """Both kinds of a check, once a round."""
        for _ in range(self.options.rounds):
            self._part(
                "compared", "checks", lambda: compared(self.running, self.load, self.options.documents)
            )

    def growth(self) -> None:
        """Snapshot and backlog at each size."""
        for size in self.options.sizes:
            self._part("growth", str(size), self._trial(self.running, size, PLAIN))

    def _back(self, way: Way) -> None:
        """From Redis to MongoDB, beside the limit; of streams, a product of others takes part as elsewhere."""
        options = self.options
        for _ in range(options.rounds):
            self._part(way.name, "alone", lambda: self._limit(way))
            self._part(way.name, "syncd", lambda: self._caught_up(way, None, options.documents))
        if way.name == "append" and options.products and self._installed(BridgeBack):
            entries = min(options.documents, MOST_PEER_ENTRIES)
            self._part(way.name, BridgeBack.name, lambda: self._caught_up(way, BridgeBack, entries))

    def _limit(self, way: Way) -> Figures:
        running = self.running
        return {"per_s": self.load.submit(limit, running.mongo_uri, self.options.documents, way).result()}

    def _caught_up(self, way: Way, make: type[System] | None, changes: int) -> Figures:
        # Nothing finds a document of a time series by its _id.
        seconds = 0.0 if way.timeseries else self.options.latency_seconds
        return caught_up(self.running, self.load, make, way, changes, seconds)

    def _trial(self, running: Servers, documents: int, shape: Shape) -> Callable[[], Figures]:
        """syncd through snapshot and backlog."""

        def run() -> Figures:
            running.reset()
            with tempfile.TemporaryDirectory(prefix="syncd-benchmark-") as folder:
                system = Syncd(Site(running.mongo_uri, running.redis_url, Path(folder)), [shape])
                return Trial(system, documents, 0.0, self.load, (BACKLOG,), shape).run()

        return run

    def _installed(self, product: type[Product]) -> bool:
        """Whether a product is there, or could be installed; where not, the results say why."""
        name = product.name
        say(f"installing {name}, unless it is there")
        try:
            product.prepare()
        except NotInstalled as error:
            self.results.left_out[name] = f"cannot be installed: {error}"
            say(f"left out: {name}: {self.results.left_out[name]}")
            return False
        return True

    def _system(self, name: str) -> None:
        """One system, one round. One that failed runs no more; a product of others is then left out."""
        failures = self.results.left_out if name in PRODUCTS else self.results.failures
        figures = self._measured(name, lambda: self._measure(name), failures)
        if figures is not None:
            self.results.rounds.setdefault(name, []).append(figures)
        elif name in PRODUCTS:
            self.results.rounds.pop(name, None)

    def _part(self, part: str, name: str, action: Callable[[], Figures]) -> None:
        """One measurement of syncd alone."""
        say(f"{part}: {name}")
        failures = self.results.left_out if name == BridgeBack.name else self.results.failures
        figures = self._measured(f"{part}: {name}", action, failures)
        if figures is not None:
            self.results.parts.setdefault(part, {}).setdefault(name, []).append(figures)

    def _measured(self, name: str, action: Callable[[], Figures], failures: dict[str, str]) -> Figures | None:
        try:
            self.running.reset()
            foreign = Foreign()
            figures = action()
            figures["other_load"] = foreign.share()
        except FAILURES as error:
            failures[name] = f"{type(error).__name__}: {error}"
            say(f"FAILED: {name}: {failures[name]}")
            return None
        say(", ".join(f"{key}={value:,.2f}" for key, value in figures.items()))
        return figures

    def _measure(self, name: str) -> Figures:
        options, running = self.options, self.running
        if name == LIMITS:
            return self.load.submit(measure, running.mongo_uri, running.redis_url, options.documents).result()
        kinds: dict[str, type[System]] = {**SYSTEMS, **PRODUCTS}
        with tempfile.TemporaryDirectory(prefix="syncd-benchmark-") as folder:
            system = kinds[name](Site(running.mongo_uri, running.redis_url, Path(folder)))
            return Trial(system, options.documents, options.latency_seconds, self.load, options.phases).run()


def say(text: str) -> None:
    """Progress, on stderr."""
    print(text, file=sys.stderr, flush=True)


def _rotated(systems: list[str], by: int) -> list[str]:
    """Every round begins with another system, so that none always runs first."""
    if not systems:
        return []
    at = by % len(systems)
    return systems[at:] + systems[:at]

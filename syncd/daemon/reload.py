"""Watches the contract directory: a set without problems replaces the old one as a whole, any other is refused."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path
from typing import TypeAlias

from watchfiles import watch

from syncd import telemetry
from syncd.contract.model.contract import Contract
from syncd.contract.read.load import load_contract_set
from syncd.contract.read.loaded import ContractSet
from syncd.daemon.approvals import Allowed, Approvals
from syncd.daemon.discovery import Discovery
from syncd.daemon.supervisor import Runner
from syncd.errors import ContractError, SettingsError, SyncdError
from syncd.plan.base import ContractPlan
from syncd.settings import contract_environment

DEBOUNCE_MS = 300
"""An editor writes a file in several steps; wait until it is done."""
GONE_S = 1.0
"""So long a file may be gone before its contract has left: some tools move or delete a file and then write it again,
and a contract that left copies everything when it comes back."""
APPROVED_S = 1.0
"""How often it is asked whether an edit that waits is approved, or Redis answers again."""
AGAIN_S = 1.0
"""Pause between searches for a directory that is not there."""
_UNEXPECTED = "an unexpected error, whose traceback is in the log of the daemon; please report it"


Stamp: TypeAlias = dict[str, tuple[int, int]]


def stamp(directory: Path) -> Stamp:
    """Size and time of change of every entry; empty where there is nothing to read."""
    try:
        found = {entry.name: _stat(entry) for entry in os.scandir(directory)}
    except OSError:
        return {}
    return {name: (stat.st_size, stat.st_mtime_ns) for name, stat in found.items()}


def _stat(entry: os.DirEntry[str]) -> os.stat_result:
    """Of a link: what it leads to; the link itself where it leads nowhere."""
    try:
        return entry.stat()
    except FileNotFoundError:
        return entry.stat(follow_symlinks=False)


def _identity(directory: Path) -> tuple[int, int] | None:
    """Device and inode of the directory, through links; None where there is none."""
    try:
        stat = directory.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino


class Reloader(threading.Thread):
    """Applies edits of the directory to the lanes that run."""

    def __init__(
        self,
        directory: Path,
        runner: Runner,
        discovery: Discovery,
        stop: threading.Event,
        seen: Stamp,
        approvals: Approvals,
        pause_s: float = 5.0,
    ) -> None:
        """`seen`: the stamp from before the first set was loaded. `pause_s`: between two looks for collections."""
        super().__init__(name="reload", daemon=True)
        self._directory, self._runner, self._halt, self._seen = directory, runner, stop, seen
        self._discovery, self._approvals, self._pause_s = discovery, approvals, pause_s
        self._files = ContractSet(())
        self._allowed = Allowed(self._files)
        self._contracts: list[Contract] = []
        self._names: list[str] | None = None
        """Of the contracts that run, one for each collection."""
        self._lock = threading.Lock()

    def take(self, contracts: ContractSet) -> list[ContractPlan]:
        """The first set, compiled. Raises SettingsError, and ContractError."""
        self._files, self._allowed = contracts, self._approvals.allow(contracts)
        self._contracts = [loaded.contract for loaded in self._allowed.contracts.contracts]
        return self._runner.compile(self._discovery.expand(self._contracts).contracts)

    def begin(self) -> None:
        """Apply the set of `take`, and whatever changes from now on."""
        with self._lock:
            self._apply(self._contracts)
        self.start()
        threading.Thread(target=self._follow, name="discovery", daemon=True).start()

    def _apply(self, contracts: list[Contract]) -> None:
        found = self._discovery.expand(contracts)
        names = [contract.name for contract in found.contracts]
        is_edit = contracts is not self._contracts or self._names is None
        if is_edit or names != self._names:
            plans = self._runner.compile(found.contracts)
            # A contract that may not run has not left.
            is_whole = found.is_whole and not self._allowed.unknown
            self._runner.apply(plans, is_whole=is_whole, is_edit=is_edit)
        self._runner.unknown = {**found.unknown, **self._allowed.unknown}
        self._runner.waiting = self._allowed.waiting
        self._contracts, self._names = contracts, names

    def _follow(self) -> None:
        """Look for collections that came and went, of contracts over several, and for approvals."""
        while not self._halt.is_set():
            contracts = self._contracts
            if any(contract.patterns for contract in contracts):
                self._discover(contracts)
            waits = self._allowed.waiting or self._allowed.unknown or self._allowed.asks_again
            if waits:
                self._ask_again()
            self._halt.wait(min(APPROVED_S, self._pause_s) if waits else self._pause_s)

    def _ask_again(self) -> None:
        """Whether what waits is approved by now. Where the files that run and the new ones do not go together, a reload
        has said so."""
        with self._lock, contextlib.suppress(ContractError, SettingsError):
            before, self._allowed = self._allowed, self._approvals.allow(self._files)
            if self._allowed.texts != before.texts:
                self._apply([loaded.contract for loaded in self._allowed.contracts.contracts])
            others = {name: why for name, why in self._runner.unknown.items() if name not in before.unknown}
            self._runner.unknown, self._runner.waiting = others | self._allowed.unknown, self._allowed.waiting

    def _discover(self, contracts: list[Contract]) -> None:
        try:
            self._discovery.ask(contracts)
            with self._lock:
                if contracts is self._contracts:
                    self._apply(contracts)
            self._discovery.forget(contracts)
        except SyncdError as error:
            telemetry.discovery_failed(str(error))
        except Exception:  # noqa: BLE001 - a dead thread would ignore every later collection silently
            telemetry.reload_failed()

    def run(self) -> None:
        """Apply edits until `stop` is set."""
        while not self._halt.is_set():
            try:
                self._watch()
            except OSError:  # there is no directory to watch
                self._halt.wait(AGAIN_S)

    def _watch(self) -> None:
        """Ends when another directory takes the place of this one: a watch would stay with the one that is gone."""
        place, watching = _identity(self._directory), False
        for edits in watch(
            self._directory,
            stop_event=self._halt,
            debounce=DEBOUNCE_MS,
            rust_timeout=1000,
            yield_on_timeout=True,
        ):
            # The watch does not see an edit between the last load and its own beginning.
            if edits or (not watching and stamp(self._directory) != self._seen):
                if self._seen.keys() - stamp(self._directory).keys() and self._halt.wait(GONE_S):
                    return
                self.reload()
            watching = True
            if _identity(self._directory) != place:
                return

    def reload(self) -> None:
        """Check the whole set, and apply or refuse it. An edit and a SIGHUP may come together."""
        with self._lock:
            self._reload()

    def _reload(self) -> None:
        self._seen = stamp(self._directory)
        try:
            files = load_contract_set(self._directory, contract_environment())
            self._allowed = self._approvals.allow(files)
            self._files = files
            self._apply([loaded.contract for loaded in self._allowed.contracts.contracts])
        except ContractError as error:
            self._runner.refuse([str(problem) for problem in error.problems])
        except SettingsError as error:
            self._runner.refuse([str(error)])
        except Exception:  # noqa: BLE001 - a dead thread would ignore every later edit silently
            telemetry.reload_failed()
            self._runner.refuse([_UNEXPECTED])

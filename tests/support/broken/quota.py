"""Runs a command as on a slower machine: `python -m tests.support.broken.quota --rounds 3 -- make test`.

A CPU quota for the command and all that it starts: by a control group of its own (version 1 or 2), or by systemd-run.
Where none is to be had (no rights, no Linux control groups) busy loops run beside it, which slows it only about so
much; the first line says which it is. Every round prints its wall-clock and CPU seconds; the first that fails ends it.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

PERIOD_US = 20_000
"""Short, so that nothing stands still for long, as nothing does on a machine that is slow."""
LEAVE_S = 10.0
CPUS = len(os.sched_getaffinity(0))


@dataclass(frozen=True)
class Slowed:
    """How a command is slowed: what is put before it, and how to say so."""

    prefix: tuple[str, ...]
    how: str


def _enter(group: Path) -> tuple[str, ...]:
    """Runs what follows, and its children, in this control group."""
    return ("/bin/sh", "-c", 'echo $$ > "$0" && exec "$@"', str(group / "cgroup.procs"))


@contextmanager
def _group(parent: Path) -> Iterator[Path]:
    group = parent / f"syncd-slow-{os.getpid()}"
    group.mkdir()
    try:
        yield group
    finally:
        deadline = time.monotonic() + LEAVE_S
        while group.exists() and time.monotonic() < deadline:
            try:
                group.rmdir()
            except OSError:  # a process is still on its way out
                time.sleep(0.1)


def _mounted(kind: str, option: str = "") -> Path:
    """Where control groups of this kind are; OSError where they are not."""
    for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines():
        _, where, found, options, *_ = line.split()
        if found == kind and (not option or option in options.split(",")):
            return Path(where)
    raise OSError(f"no {kind}")


@contextmanager
def _version_1(cpus: float) -> Iterator[Slowed]:
    with _group(_mounted("cgroup", "cpu")) as group:
        (group / "cpu.cfs_period_us").write_text(str(PERIOD_US))
        (group / "cpu.cfs_quota_us").write_text(str(round(cpus * PERIOD_US)))
        yield Slowed(_enter(group), "a control group (version 1)")


@contextmanager
def _version_2(cpus: float) -> Iterator[Slowed]:
    root = _mounted("cgroup2")
    (root / "cgroup.subtree_control").write_text("+cpu")
    with _group(root) as group:
        (group / "cpu.max").write_text(f"{round(cpus * PERIOD_US)} {PERIOD_US}")
        yield Slowed(_enter(group), "a control group (version 2)")


@contextmanager
def _systemd(cpus: float) -> Iterator[Slowed]:
    program = shutil.which("systemd-run") or ""
    whose = () if os.geteuid() == 0 else ("--user",)
    limits = ("-p", f"CPUQuota={cpus:.0%}", "-p", f"CPUQuotaPeriodSec={PERIOD_US // 1000}ms")
    prefix = (program, *whose, "--quiet", "--scope", *limits, "--")
    if not program or subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode:
        raise OSError("no systemd-run")
    yield Slowed(prefix, "systemd-run")


@contextmanager
def _busy(cpus: float) -> Iterator[Slowed]:
    count = max(1, round(CPUS * (CPUS / cpus - 1)))
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield Slowed((), f"{count} busy loops beside it: about half the speed, no quota is to be had")
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


@contextmanager
def slowed(cpus: float) -> Iterator[Slowed]:
    """The first way of these that works here."""
    with ExitStack() as stack:
        for way in (_version_1, _version_2, _systemd):
            try:
                found = stack.enter_context(way(cpus))
            except OSError:
                continue
            yield found
            return
        yield stack.enter_context(_busy(cpus))


def _round(command: Sequence[str]) -> int:
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    code = subprocess.run(command, check=False).returncode
    after, took = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic() - began
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"slow: exit code {code}, {took:.0f} s, CPU {used:.0f} s", flush=True)
    return code


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--speed", type=float, default=0.5, help="of all this machine's cores (default: 0.5)")
    parser.add_argument("--rounds", type=int, default=1, help="how often, one after another (default: once)")
    parser.add_argument("command", nargs="+")
    said = parser.parse_args()
    cpus = said.speed * CPUS
    with slowed(cpus) as way:
        print(f"slow: {cpus:g} of {CPUS} CPUs by {way.how}", flush=True)
        return next((code for _ in range(said.rounds) if (code := _round([*way.prefix, *said.command]))), 0)


if __name__ == "__main__":
    sys.exit(main())

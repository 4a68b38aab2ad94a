"""The live view of the demonstration: lanes, rate, lag, position, dead letters, and three things to try."""

from __future__ import annotations

import shlex
import sys
import time
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from syncd.demo.stage import Daemon, Servers


def watch(daemon: Daemon, where: Servers, console: Console) -> None:
    """Show the daemon until Ctrl-C, or until it ends."""
    before: tuple[float, int] | None = None
    with Live(console=console, refresh_per_second=4, screen=False) as live:
        while daemon.running:
            said = daemon.status()
            now = time.monotonic()
            changes = sum(lane["changes"] for lane in said["lanes"]) if said else 0
            rate = (changes - before[1]) / (now - before[0]) if before else 0.0
            before = (now, changes)
            live.update(Group(_lanes(said, rate), _hints(daemon, where)))
            time.sleep(0.5)


def _lanes(said: dict[str, Any] | None, rate: float) -> Table:
    table = Table(title=f"lanes · {rate:,.0f} changes a second", title_justify="left", expand=True)
    for name in ("contract", "state", "changes", "copied", "lag s", "position", "dead letters"):
        table.add_column(name)
    for lane in said["lanes"] if said else []:
        table.add_row(
            lane["contract"], lane["state"].replace("_", " "), f"{lane['changes']:,}",
            shown(lane["snapshot"]["copied"], ","), shown(lane["lag_seconds"], ".2f"), shown(lane["position"]),
            shown(lane["dead_letters"]),
        )  # fmt: skip
    if said:
        table.caption = "\n".join(said["contracts"]["problems"]) or None
    return table


def shown(value: Any, form: str = "") -> str:
    """A figure of a lane; what is not known is a question mark."""
    return "?" if value is None else format(value, form)


def _hints(daemon: Daemon, where: Servers) -> Panel:
    python = shlex.quote(sys.executable)
    try_it = f"{python} -m syncd.demo.touch {shlex.quote(where.mongo_uri)} {shlex.quote(where.redis_url)}"
    contract = shlex.quote(str(daemon.contracts / "movies.yaml"))
    lines = Text(no_wrap=False, overflow="fold")
    lines.append("1. change a film in MongoDB and see how long Redis takes:\n", "bold")
    lines.append(f"{try_it} title 372 'We Live in Redis'\n")
    lines.append("2. search by meaning, through the vector index:\n", "bold")
    lines.append(f"{try_it} search 'space adventure with robots'\n")
    lines.append("3. add a field to the contract; the running daemon takes it up:\n", "bold")
    lines.append(f"sed -i 's/^      minutes: minutes$/&\\n      languages: languages/' {contract}\n")
    lines.append("4. see in a browser what it does:\n", "bold")
    lines.append(f"http://{daemon.address}/\n")
    lines.append(f"\nlog: {daemon.log}   Ctrl-C ends it all", "dim")
    return Panel(lines, title="four things to try; paste a line into another terminal", title_align="left")

"""Pages of metrics of several processes as one."""

from __future__ import annotations

from collections.abc import Iterable

OPLOG = "syncd_oplog_window_seconds"
"""The one family without a contract that workers know and their parent does not."""


def merged(own: str, pages: Iterable[tuple[str, str]]) -> str:
    """The parent's page with the series of contracts from its workers' pages.

    `pages`: text, and the labels that its series get beside their own ("" or `partition="1/2"`). Each contract, or each
    partition of it, is in one worker alone, so no series comes twice.
    """
    families = _families(own)
    oplog = families[OPLOG][1]
    for page, labels in pages:
        for name, (head, samples) in _families(page).items():
            kept = families.setdefault(name, (head, []))[1]
            kept += [_labelled(line, labels) for line in samples if 'contract="' in line]
            oplog += samples if name == OPLOG else []
    oplog[:] = [max(oplog, key=lambda line: float(line.rpartition(" ")[2]))]
    return "".join(f"{line}\n" for head, samples in families.values() for line in (*head, *samples))


def _families(page: str) -> dict[str, tuple[list[str], list[str]]]:
    """Name of a family -> its comments, its samples."""
    found: dict[str, tuple[list[str], list[str]]] = {}
    name = ""
    for line in page.splitlines():
        if line.startswith("# "):
            name = line.split(" ", 3)[2]
            found.setdefault(name, ([], []))[0].append(line)
        elif line:
            found[name][1].append(line)
    return found


def _labelled(line: str, labels: str) -> str:
    return line.replace("{", f"{{{labels},", 1) if labels else line

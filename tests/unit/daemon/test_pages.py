"""Pages of metrics of several processes as one."""

from __future__ import annotations

from syncd.daemon.processes.pages import OPLOG, merged

HEAD = f"# HELP {OPLOG} Help\n# TYPE {OPLOG} gauge\n{OPLOG}"
OWN = f"{HEAD} 0.0\n# HELP syncd_x A word # more\n# TYPE syncd_x gauge\nsyncd_x 1.0\n# HELP lag Lag\n# TYPE lag gauge\n"


def page(contract: str, oplog: float) -> str:
    return (
        f"{HEAD} {oplog}\n# HELP syncd_x A word # more\n# TYPE syncd_x gauge\nsyncd_x 7.0\n"
        f'# HELP lag Lag\n# TYPE lag gauge\nlag{{contract="{contract}"}} 2.0\n'
        f'# HELP new New\n# TYPE new gauge\nnew{{contract="{contract}"}} 3.0\n'
    )


def test_each_family_once_with_the_series_of_all() -> None:
    """Series of contracts come from the workers, all others from the parent, and the oplog from who saw it."""
    said = merged(OWN, [(page("a", 5.0), ""), (page("b", 9.0), "")])
    assert said == (
        f"{HEAD} 9.0\n# HELP syncd_x A word # more\n# TYPE syncd_x gauge\nsyncd_x 1.0\n"
        '# HELP lag Lag\n# TYPE lag gauge\nlag{contract="a"} 2.0\nlag{contract="b"} 2.0\n'
        '# HELP new New\n# TYPE new gauge\nnew{contract="a"} 3.0\nnew{contract="b"} 3.0\n'
    )


def test_further_labels() -> None:
    """What tells parts of one contract apart goes into their series."""
    said = merged(OWN, [(page("a", 0.0), 'partition="1/2"'), (page("a", 0.0), 'partition="2/2"')])
    assert 'lag{partition="1/2",contract="a"} 2.0\nlag{partition="2/2",contract="a"} 2.0\n' in said


def test_without_workers() -> None:
    """While no worker answers there is the parent's page."""
    assert merged(OWN, []) == OWN

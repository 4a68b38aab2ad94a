"""Which worker gets which contract."""

from __future__ import annotations

from syncd.daemon.processes.workers import place


def test_contracts_are_spread_evenly() -> None:
    """No worker has more than one contract more than another."""
    assert place(["c", "a", "b", "d", "e"], {}, 2) == {"a": 0, "b": 1, "c": 0, "d": 1, "e": 0}


def test_a_contract_keeps_its_worker() -> None:
    """What comes and goes moves no contract; what is new goes where there is the least."""
    before = place(["a", "b", "c", "d"], {}, 2)
    assert place(["b", "d", "e", "f"], before, 2) == {"b": 1, "d": 1, "e": 0, "f": 0}

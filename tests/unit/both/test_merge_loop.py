"""The merger's thread, with a merger that says what the test wants."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from syncd.both import merge_loop
from syncd.both.capture import CapturedKeys
from syncd.both.merge_loop import WAIT_S, MergeLoop
from syncd.both.merger import MergeOutcome
from syncd.lanes.events import AllMerged


def nothing(*_: object) -> None:
    return None


class Halt:
    """Told to stop in the third pause; a loop that makes none ends as well."""

    def __init__(self) -> None:
        self.turns, self.pauses = 0, list[float]()

    def is_set(self) -> bool:
        self.turns += 1
        return len(self.pauses) == 3 or self.turns == 10

    def wait(self, timeout: float) -> None:
        self.pauses.append(timeout)


@pytest.mark.parametrize("why", ["waiting", "held"])
def test_a_key_that_has_to_wait(monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    """Behind each turn that leaves a key for later there is a pause, however long that takes; one that waits for a word
    does not keep the lane from being live."""
    merger = SimpleNamespace(merge_requests_left=1, apply=lambda words: MergeOutcome(**{why: set(words)}))
    monkeypatch.setattr(merge_loop, "Merger", lambda _: merger)
    told: list[object] = []
    merge: Any = SimpleNamespace(
        plan=SimpleNamespace(name="c", keep_dead_letters=0),
        store=SimpleNamespace(
            oldest_merge_requests=lambda _: [b"key"], done=lambda *_: 0, count_merge_requests=lambda: (1, 0.0),
            count_dead_letters=lambda: 0,
        ),
        writer=SimpleNamespace(keep=nothing),
        capture=SimpleNamespace(
            behind=False, keep_from="", take=lambda _: CapturedKeys({}, {}), put_back=nothing, forget=nothing,
            keep=nothing, backlog=nothing,
        ),
    )  # fmt: skip
    status: Any = SimpleNamespace(noted=nothing, dead_letters_counted=nothing, counted=nothing, conflicts=0)
    state: Any = SimpleNamespace(awaits_merge=True, progressed=nothing, tell=told.append)
    lease: Any = SimpleNamespace(hold=nothing)
    loop = MergeLoop(merge, status, state, lease)
    halt: Any = Halt()
    loop.halt = halt
    assert list(loop.items()) == []
    assert (halt.turns, halt.pauses) == (4, [WAIT_S] * 3)
    assert told == ([AllMerged()] * 3 if why == "waiting" else [])

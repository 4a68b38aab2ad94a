"""When all keys are compared, whatever is lost or asked for meanwhile."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.to_mongo.state import comparison
from syncd.to_mongo.state.comparison import Comparison


class Listener:
    """What was heard."""

    detail = ""

    def __init__(self) -> None:
        self.lost = ""
        self.is_owed = False

    def gap(self) -> str:
        why, self.lost = self.lost, ""
        self.is_owed |= bool(why)
        return why

    def caught_up(self) -> None:
        self.is_owed = False


class Pages:
    """A comparison of two pages."""

    seconds = 0.0

    def __init__(self, *_: object, everything: bool) -> None:
        self.everything, self.compared = everything, 0

    def page(self) -> list[bytes]:
        self.compared += 1
        return [b"key"]

    @property
    def is_done(self) -> bool:
        return self.compared == 2


@given(st.lists(st.sampled_from(["gap", "ask", "look", "page"]), max_size=30))
def test_whatever_is_lost_or_asked_for_is_compared(events: list[str]) -> None:
    """nothing_lost: what was lost is owed until two pages that begin behind it are done, and what was asked for until
    two pages with everything are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comparison, "CatchUp", Pages)
        listening, unused = Listener(), SimpleNamespace(name="films")
        compared = Comparison(unused, unused, listening, unused)  # type: ignore[arg-type]
        lost = asked = 0
        for event in [*events, "look", *["page"] * 6]:
            if event == "gap":
                listening.lost = "subscription"
            elif event == "ask":
                compared.ask_for_everything()
                asked, lost = 2, min(lost, 2)
            elif event == "look":
                if listening.lost:  # behind what is left of one that has begun
                    lost = 2 + (2 - compared.compared if compared.is_under_way else 0)
                compared.begin_if_due()
            elif compared.page():
                lost, asked = max(0, lost - 1), asked - compared.everything
                compared.page_is_done()
                assert lost == 0 or listening.is_owed
        assert (asked, listening.is_owed, compared.is_under_way) == (0, False, False)

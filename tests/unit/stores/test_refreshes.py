"""Refreshes: how far the documents that show a joined one are read again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from syncd.stores.redis.records.refreshes import JoinedPosition, Refresh, earliest_joined

ONE = ("customer", "1")
COUNT = 6


def time(number: int) -> str:
    return f"{number:016X}"


@given(st.lists(st.integers(0, 3), max_size=60))
def test_every_document_shows_the_last_change_in_the_end(steps: list[int]) -> None:
    """A joined document changes at any time while pages of those that show it are read; when nothing is pending, all
    show its last state, and `since` is never later than the first change that one of them does not show."""
    now, joined = 1, JoinedPosition({"a.b": {"_data": ""}}).changed([(ONE, time(1))])
    shown = [0] * COUNT
    for step in [*steps, *[1] * 4 * COUNT]:
        joined = JoinedPosition.read(joined.text)
        if step == 0:
            now += 1
            joined = joined.changed([(ONE, time(now))])
        elif (refresh := joined.pending.get(ONE)) is not None:
            joined = joined.refreshed({ONE: read(refresh, step, shown, now)})
        if min(shown) < now:
            assert joined.since is not None
            assert joined.since <= time(min(shown) + 1)
    assert not joined.pending
    assert shown == [now] * COUNT


def read(refresh: Refresh, size: int, shown: list[int], now: int) -> Refresh | None:
    """One page."""
    names = ["", *(str(number) for number in range(1, COUNT))]  # one `_id` is the empty text
    after, upto = refresh.after, refresh.upto
    left = [one for one in names if (after is None or one > after) and (upto is None or one <= upto)]
    for one in left[:size]:
        shown[int(one or 0)] = now
    return refresh.ended() if len(left) < size else refresh.moved(left[size - 1])


def test_the_next_one_goes_first() -> None:
    """One that has more pages lets the others go first."""
    other = ("customer", "2")
    joined = JoinedPosition().changed([(ONE, time(1)), (other, time(2))])
    moved = joined.refreshed({ONE: joined.pending[ONE].moved("5")})
    assert list(moved.pending) == [other, ONE]
    assert moved.since == time(1)


def test_what_the_nodes_of_a_cluster_say_together() -> None:
    """nothing_lost: the earliest token of each collection, and a refresh of which the nodes do not say the same begins
    from the start, since its first change."""
    one, other, both = ("customer", "1"), ("customer", "2"), ("region", "3")
    early = JoinedPosition(
        {"a": {"_data": "1"}}, time(3), {one: Refresh(time(1), "5"), both: Refresh(time(2), "7")}
    )
    late = JoinedPosition(
        {"a": {"_data": "2"}}, time(4), {other: Refresh(time(4)), both: Refresh(time(2), "7")}
    )
    assert earliest_joined([early, early]) == early
    found = earliest_joined([late, early, late])
    assert (found.tokens, found.time) == ({"a": {"_data": "1"}}, time(4))
    assert found.pending == {one: Refresh(time(1)), other: Refresh(time(4)), both: Refresh(time(2), "7")}
    assert earliest_joined([JoinedPosition(), early]).tokens == {}, (
        "a collection that some do not know is lost"
    )

"""The set of changed keys: when a key is due, what is known of it, and that the set is bounded."""

from __future__ import annotations

from itertools import pairwise

import pytest

from syncd.plan.to_mongo.gone import CERTAIN, Gone
from syncd.to_mongo.state.keys.changed_keys import AGAIN_S, DEBOUNCE_S, SLACK_S, ChangedKey, ChangedKeys


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def changed(clock: Clock) -> ChangedKeys:
    return ChangedKeys(5, clock)


def keys(taken: list[ChangedKey]) -> list[bytes]:
    return [one.key for one in taken]


def test_a_change_waits_for_more(changed: ChangedKeys, clock: Clock) -> None:
    """A key is handed out once, after the window, however often it changes; later changes do not move the window."""
    for _ in range(4):
        changed.note(b"a", b"hset")
        clock.now += DEBOUNCE_S / 4
        assert len(changed) == 1
    assert changed.oldest() == pytest.approx(DEBOUNCE_S)
    clock.now += 0.001
    assert keys(changed.take(10)) == [b"a"]
    assert len(changed) == 0
    assert changed.oldest() == 0


def test_a_key_that_changes_on_and_on(changed: ChangedKeys, clock: Clock) -> None:
    """It is read soon after its first change, then every AGAIN_S, not at every window; and its last change is read."""
    read, start = [], clock.now
    while clock.now < start + 3 * AGAIN_S:
        changed.note(b"a", b"hset")
        clock.now += 0.01
        read += [clock.now - start for _ in changed.take(10)]
    assert read[0] <= DEBOUNCE_S + 0.02
    assert all(AGAIN_S - SLACK_S <= after - before < AGAIN_S + 0.03 for before, after in pairwise(read))
    assert len(read) == 3
    clock.now += AGAIN_S
    assert keys(changed.take(10)) == [b"a"]


@pytest.mark.parametrize(
    ("events", "gone", "is_other"),
    [
        (["hset"], Gone.NO_WORD, False),
        (["hdel", "del"], Gone.DELETED, True),
        (["rename_from"], Gone.DELETED, True),
        (["hset", "rename_to", "hset"], Gone.NO_WORD, True),
        (["copy_to"], Gone.NO_WORD, True),
        (["restore"], Gone.NO_WORD, True),
        (["move_to"], Gone.NO_WORD, True),
        (["del", "hset", "expire", "expired"], Gone.EXPIRED, True),
        (["expired", "set"], Gone.NO_WORD, True),
        (["evicted"], Gone.EVICTED, True),
    ],
)
def test_the_last_word_counts(
    changed: ChangedKeys, clock: Clock, events: list[str], gone: Gone, is_other: bool
) -> None:
    """Why a key is not there is what the last event says; that it is another one, any of them."""
    for event in events:
        changed.note(b"a", event.encode())
    clock.now += 1
    assert changed.words([b"a", b"b"]) == {b"a": gone}
    assert [(found.gone, found.is_other) for found in changed.take(1)] == [(gone, is_other)]


def test_what_was_put_back_keeps_its_age_and_no_old_word(changed: ChangedKeys, clock: Clock) -> None:
    """A key that could not be written is as old as its first change; what was heard meanwhile is newer."""
    changed.note(b"a", b"expired")
    changed.note(b"b", b"expired")
    clock.now += 1
    taken = changed.take(10)
    changed.note(b"b", b"hset")
    changed.put_back(taken)
    assert changed.oldest() == pytest.approx(1)
    assert changed.words([b"a", b"b"]) == {b"a": Gone.EXPIRED, b"b": Gone.NO_WORD}
    clock.now += 1
    assert all(one.is_other for one in changed.take(10))


def test_what_is_certain_stays(changed: ChangedKeys, clock: Clock) -> None:
    """Keys that went as no key goes whose slot moves are not forgotten."""
    for key, event in ((b"a", b"expired"), (b"b", b"del"), (b"c", b"evicted"), (b"d", b"hset")):
        changed.note(key, event)
    changed.clear(but=CERTAIN)
    clock.now += 1
    assert [(one.key, one.gone) for one in changed.take(9)] == [(b"a", Gone.EXPIRED), (b"c", Gone.EVICTED)]
    changed.clear()
    assert not len(changed)


def test_above_its_bound_it_forgets_all_and_says_so(changed: ChangedKeys, clock: Clock) -> None:
    """bounded, nothing_silent: the sixth of five keys makes it forget all; it tells how many, once, and goes on."""
    for number in range(6):
        changed.note(b"%d" % number, b"set")
    clock.now += 1
    assert len(changed) == 0
    assert changed.oldest() == pytest.approx(1)
    assert changed.collapsed() == 6
    assert changed.collapsed() == 0
    assert changed.oldest() == 0
    changed.note(b"7", b"set")
    clock.now += 1
    assert keys(changed.take(10)) == [b"7"]

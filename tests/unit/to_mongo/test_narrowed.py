"""One input that raises an error costs only itself."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.errors import InvariantError, ProjectionError, TransientError
from syncd.to_mongo.narrowed import narrowed


@given(st.lists(st.booleans(), min_size=1, max_size=50))
def test_all_others_are_worked_on(fits: list[bool]) -> None:
    """Each once in what is told, in their order, and of those that do not fit each by itself."""

    def work(some: Sequence[int]) -> list[int]:
        if not all(fits[at] for at in some):
            raise KeyError
        return [10 * at for at in some]

    made, refused = [], []
    for part, said in narrowed(work, range(len(fits))):
        if isinstance(said, ProjectionError):
            refused += part
            assert said.reason == "unexpected"
        else:
            made += said
    assert made == [10 * at for at, fit in enumerate(fits) if fit]
    assert refused == [at for at, fit in enumerate(fits) if not fit]


@pytest.mark.parametrize("error", [TransientError("redis", "gone"), InvariantError("two and two is five")])
def test_what_is_no_input_s_is_raised(error: Exception) -> None:
    """At once: a store that does not answer, or a bug, is nothing to look for among the inputs."""
    seen = []

    def work(some: Sequence[int]) -> None:
        seen.append(some)
        raise error

    with pytest.raises(type(error)):
        list(narrowed(work, range(8)))
    assert seen == [range(8)]


def test_an_error_about_nothing_is_raised() -> None:
    """Where there is no input there is none to blame."""

    def work(some: Sequence[int]) -> None:
        raise KeyError

    with pytest.raises(KeyError):
        list(narrowed(work, []))

"""An input that raises an error costs only itself: the error is narrowed down to it, by halves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from syncd.errors import ProjectionError, is_about_input, why_unfit

Input = TypeVar("Input")
Made = TypeVar("Made")


def narrowed(
    work: Callable[[Sequence[Input]], Made], inputs: Sequence[Input]
) -> Iterator[tuple[Sequence[Input], Made | ProjectionError]]:
    """What `work` makes of the inputs, as a rule of all at once; of a single one that raises an error, why it cannot be
    used. `work` may see an input several times. Raises what is no input's: errors of a store, a setting, or syncd."""
    try:
        made = work(inputs)
    except Exception as error:
        if not inputs or not is_about_input(error):
            raise
        if len(inputs) == 1:
            yield inputs, why_unfit(error)
            return
    else:
        yield inputs, made
        return
    middle = len(inputs) // 2
    yield from narrowed(work, inputs[:middle])
    yield from narrowed(work, inputs[middle:])

"""Waiting for facts instead of sleeping."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")
POLL = 0.02  # seconds


def wait_until(
    predicate: Callable[[], Value], timeout: float = 10, message: str | Callable[[], object] = ""
) -> Value:
    """Returns the first truthy answer of `predicate`; fails after `timeout` seconds.

    `message` may be a function, called only on failure, to say what was there instead.
    """
    deadline = time.monotonic() + timeout
    while True:
        answer = predicate()
        if answer:
            return answer
        if time.monotonic() > deadline:
            said = message() if callable(message) else message
            raise AssertionError(
                f"not within {timeout:g} s: {said or 'the condition'}; last answer: {answer!r}"
            )
        time.sleep(POLL)

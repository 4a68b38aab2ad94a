"""Waiting for facts instead of sleeping, and what goes on meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

Value = TypeVar("Value")
POLL = 0.03  # seconds
LONGEST_POLL, SLOWER = 0.25, 1.2
"""A long wait asks less and less often: each question costs CPU here and in the server that is asked (3 ms where a
daemon is asked for its status), and other tests wait."""
SHARE = 5
"""A wait pauses so many times as long as this thread worked on its question: a comparison of many documents again and
again takes a sixth of a core at most."""
LONGEST_PAUSE = 1.0
PATIENCE_S = 60.0
"""No wait gives up earlier: on a slow machine, or one that does other work too, everything takes longer. A test that
passes waits for nothing longer than it takes."""
SOON_S = 20.0
"""What happens at once has happened by then, on a machine that does other work too. Less than any time-out, and than
the 25 s that a daemon which is told to stop waits for its lanes."""


def wait_until(
    predicate: Callable[[], Value], timeout: float = PATIENCE_S, message: str | Callable[[], object] = ""
) -> Value:
    """Returns the first truthy answer of `predicate`; fails after `timeout` seconds, and not before PATIENCE_S.

    `message` may be a function, called only on failure, to say what was there instead.
    """
    timeout = max(timeout, PATIENCE_S)
    deadline, pause = time.monotonic() + timeout, POLL
    while True:
        began = time.thread_time()
        answer = predicate()
        if answer:
            return answer
        if time.monotonic() > deadline:
            said = message() if callable(message) else message
            raise AssertionError(
                f"not within {timeout:g} s: {said or 'the condition'}; last answer: {answer!r}"
            )
        worked = time.thread_time() - began
        time.sleep(max(pause, min(LONGEST_PAUSE, SHARE * worked)))
        pause = min(LONGEST_POLL, pause * SLOWER)


@contextmanager
def meanwhile(step: Callable[[], object], pause: float) -> Iterator[None]:
    """While the block runs, a thread takes one step after another, with a pause in seconds before each. An error ends
    the steps, and is raised behind the block."""
    stop, errors = threading.Event(), list[Exception]()

    def go_on() -> None:
        try:
            while not stop.wait(pause):
                step()
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    if errors:
        raise errors[0]

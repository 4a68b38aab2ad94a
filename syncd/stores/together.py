"""One answer for all who ask at the same time: five hundred lanes that start need not each ask a server what it is."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

Answer = TypeVar("Answer")


class Together(Generic[Answer]):
    """Thread-safe. An answer is kept for `keep_s`; an error reaches only those who waited for it."""

    def __init__(self, keep_s: float) -> None:
        self._keep_s = keep_s
        self._lock = threading.Lock()
        self._ended = -keep_s
        self._answer: Answer | None = None
        self._error: Exception | None = None

    def ask(self, question: Callable[[], Answer]) -> Answer:
        """The answer to the question. A caller that comes while it is asked waits for the same answer, or error."""
        came = time.monotonic()
        with self._lock:
            waited = self._ended > came
            if not waited and (self._answer is None or came - self._ended > self._keep_s):
                self._put(question)
            if self._error is not None:
                raise self._error
            assert self._answer is not None
            return self._answer

    def _put(self, question: Callable[[], Answer]) -> None:
        self._answer = self._error = None
        try:
            self._answer = question()
        except Exception as error:  # noqa: BLE001 - every caller that waits raises it
            self._error = error
        finally:
            self._ended = time.monotonic()

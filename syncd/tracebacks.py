"""Tracebacks for a log: where it happened and what kind of error it was, without the values that errors quote."""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Iterator, MutableMapping
from types import TracebackType
from typing import Any

from syncd.errors import SyncdError
from syncd.text import clipped, escaped, without_secrets

_FRAMES = 30
_CHAIN = 5
_LONGEST = 600
_PLAIN = (AttributeError, NameError, ImportError, TypeError, NotImplementedError, RecursionError, MemoryError)
"""Their texts name code, not data."""


def described_traceback(error: BaseException) -> str:
    """A whole chain of errors, the cause first, as Python prints it."""
    return "\n\nwhich led to\n\n".join(_one(link) for link in reversed(list(_chain(error))))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen and len(seen) < _CHAIN:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _one(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    left_out = [f"  ... {len(frames) - _FRAMES} more ..."] if len(frames) > _FRAMES else []
    places = [
        f'  File "{frame.filename}", line {frame.lineno}, in {frame.name}' for frame in frames[-_FRAMES:]
    ]
    return "\n".join([*left_out, *places, _named(error)])


def _named(error: BaseException) -> str:
    kind = type(error)
    name = kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
    if not isinstance(error, (SyncdError, *_PLAIN)):
        return f"{name} (its text may hold values, and is left out)"
    return clipped(f"{name}: {escaped(without_secrets(str(error)))}", _LONGEST)


def render_exception(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """For structlog: `exc_info` as the text `exception`."""
    given = event.pop("exc_info", None)
    error = sys.exc_info()[1] if given is True else given[1] if isinstance(given, tuple) else given
    if isinstance(error, BaseException):
        event["exception"] = described_traceback(error)
    return event


def guard() -> None:
    """Print uncaught errors in this way, too."""
    sys.excepthook = _hook
    threading.excepthook = lambda said: _hook(said.exc_type, said.exc_value, said.exc_traceback)


def _hook(kind: type[BaseException], error: BaseException | None, _: TracebackType | None) -> None:
    if error is None or issubclass(kind, KeyboardInterrupt | SystemExit):
        return
    where = threading.current_thread().name
    what = f"syncd: unexpected error in {where}; please report it"
    sys.stderr.write(f"{what}\n{described_traceback(error)}\n")

"""What each key should show, state by state, as the oplog grew."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tests.simulation.contracts import Expectation
from tests.simulation.mongo.oplog import Change

BEGINNING = ""
"""The token before all others."""


class State(NamedTuple):
    """What a key may show from a change on."""

    token: str
    contents: tuple[Any, ...]
    """One for each version of the contract that has been at work."""
    may_lack: bool
    """Whether it may also not be there."""
    is_stuck: bool = False
    """Whether its document does not fit: then what was there before stays, whatever that was."""


@dataclass(slots=True)
class Line:
    """The states of one key."""

    states: list[State] = field(default_factory=list)

    def last_at(self, token: str) -> int:
        """Index of the last state up to a token."""
        return bisect_right(self.states, token, key=lambda state: state.token) - 1

    def find(self, content: Any, start: int) -> int | None:
        """The first state from there on that shows this."""
        for at in range(max(0, start), len(self.states)):
            state = self.states[at]
            if content in state.contents or (content is None and state.may_lack):
                return at
        return None


class Timeline:
    """Of one contract, in all of its versions so far."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._versions: list[Expectation] = []
        self.lines: dict[str, Line] = {}
        self.changes: list[tuple[str, str, int]] = []
        """Token, key and index of each state, in order."""
        self._documents: dict[Any, dict[str, Any] | None] = {}
        self.prefixes: set[str] = set()

    def deploy(self, version: int, token: str) -> None:
        """A version is at work from now on. Keys may be as before, and may be as it says."""
        self._versions.append(Expectation(self._kind, version))
        self.prefixes.update(self._versions[-1].prefixes)
        for document_id, document in self._documents.items():
            self._note(document_id, document, document, token)

    def had_before(self, key: str, content: Any) -> None:
        """An application has this key, and no document."""
        self.lines[key] = Line([State(BEGINNING, (content,), False)])

    def add(self, change: Change) -> None:
        """A majority has one more change."""
        if change.op == "drop":
            for document_id, before in list(self._documents.items()):
                self._note(document_id, before, None, change.token)
            self._documents.clear()
            return
        if change.op in ("noop", "invalidate"):
            return
        before = self._documents.get(change.document_id)
        self._documents[change.document_id] = change.after
        self._note(change.document_id, before, change.after, change.token)

    def _note(self, document_id: Any, before: Any, after: Any, token: str) -> None:
        shown = [(version.of(before), version.of(after)) for version in self._versions]
        keys = [key for pair in shown for one in pair for key in one.contents]
        stuck = {key for _, new in shown for key in new.letters}
        for key in dict.fromkeys([*keys, *stuck]):
            contents = tuple(
                self._last(key, at) if key in new.letters else new.contents.get(key)
                for at, (_, new) in enumerate(shown)
            )
            line = self.lines.setdefault(key, Line([State(BEGINNING, (None,), True)]))
            # What fitted last stays, or nothing is there.
            line.states.append(State(token, contents, None in contents or key in stuck, key in stuck))
            self.changes.append((token, key, len(line.states) - 1))

    def _last(self, key: str, version: int) -> Any:
        line = self.lines.get(key)
        if line is None:
            return None
        contents = line.states[-1].contents
        return contents[version] if version < len(contents) else None

    @property
    def letters(self) -> set[str]:
        """Keys that cannot show the present state of their document, by the latest version."""
        return {
            key for document in self._documents.values() for key in self._versions[-1].of(document).letters
        }

    def final(self, key: str) -> tuple[Any, ...]:
        """What a key may show in the end: what the latest version says, or was, of a document that does not fit."""
        line = self.lines.get(key)
        if line is None:
            return (None,)
        state = line.states[-1]
        if state.is_stuck:
            return (None, *(content for one in line.states for content in one.contents))
        return (
            (*state.contents, None)
            if state.may_lack and state.contents[-1] is not None
            else state.contents[-1:]
        )

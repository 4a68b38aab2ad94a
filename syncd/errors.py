"""Every exception that syncd raises on purpose. A message says the cause and then the remedy.

SyncdError
├── ContractError           a contract directory does not pass; carries every problem found
├── SettingsError           a setting is missing or cannot be used
├── RequestError            what a person asks for cannot be done
│   └── UnknownContractError    no contract of this name has run on this Redis
├── ProjectionError         one document cannot be projected: becomes a dead letter
├── PlatformError           no bundled server runs on this machine
├── UriError                a connection string cannot be read; never leaves `syncd.stores`
└── StoreError              a store answered, or failed to
    ├── TransientError      may pass by itself: the lane stops, waits and tries again
    │   ├── FencedError     the lease is lost: the lane stands by, or takes it again where no daemon holds it
    │   ├── LaterNumberError     MongoDB has seen a write of a later number: begin again above it
    │   └── SlotMovedError   a key of a cluster has another node, or its slot is on its way: ask who has which slot
    ├── UncertainError      it is not known any more whether a write was done
    ├── CapabilityError     the server lacks what the contract needs
    ├── PositionLostError   the stream cannot go on from the stored position: snapshot again
    │   ├── OplogTooShortError   the oplog no longer reaches back to it
    │   └── CollectionGoneError  the collection was dropped or renamed
    ├── DeadLettersFullError  the contract keeps no more dead letters: a person must replay or drop those that wait
    ├── PausedError         a person has paused the contract
    ├── SweepLimitError     a copy would remove more keys than `sync.sweep_limit`: a person must allow it
    ├── EventTooLargeError  a change does not fit one event: read the document instead
    └── FatalError          a person must act (wrong password, no rights, wrong server)
        ├── UnknownError         an answer that is not known: logged like a fatal one, tried again with growing pauses
        ├── RefusedError         a password or certificate is not taken: the same, for it may be renewed on either side
        └── UnusableUriError     the setting that says where the store is cannot be used: a SettingsError, too

InvariantError              a bug of syncd's, found before it breaks a promise. Not a SyncdError: no code handles it
"""

from __future__ import annotations

from dataclasses import dataclass

from syncd.text import clipped, escaped

MOST_PROBLEMS = 100
"""An error names at most these, so that a log line has an end; the rest shows once they are fixed."""
LONGEST_TEXT = 600
"""Characters of what a problem says: a contract may hold words of any length."""


class SyncdError(Exception):
    """Base of all errors of syncd."""


class InvariantError(Exception):
    """A condition that a promise needs does not hold, which is a bug: the lane stops, and begins again from what is
    stored. Not an `assert`, which `python -O` leaves out."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what}; this is a bug of syncd's, please report it")


@dataclass(frozen=True, order=True, slots=True)
class Problem:
    """One mistake in one contract file. `line` and `column` count from 1."""

    file: str
    line: int
    column: int
    what: str
    remedy: str

    def __str__(self) -> str:
        return escaped(f"{self.file}:{self.line}:{self.column}: {self.what}; {self.remedy}")

    def clipped(self) -> Problem:
        """The same with shortened texts."""
        what, remedy = clipped(self.what, LONGEST_TEXT), clipped(self.remedy, LONGEST_TEXT)
        return Problem(self.file, self.line, self.column, what, remedy)


class ContractError(SyncdError):
    """A set of contracts does not pass. `problems` holds all of them in file order; above MOST_PROBLEMS the last one
    says how many more there are. `count` and `files` are of all."""

    def __init__(self, problems: list[Problem]) -> None:
        self.count, self.files = len(problems), len({problem.file for problem in problems})
        self.problems = [problem.clipped() for problem in sorted(problems)[:MOST_PROBLEMS]]
        if (more := self.count - MOST_PROBLEMS) > 0:
            last = self.problems[-1]
            self.problems.append(
                Problem(
                    last.file,
                    last.line,
                    last.column,
                    f"and {more} more problems",
                    "fix those above first",
                )
            )
        super().__init__("\n".join(str(problem) for problem in self.problems))


class SettingsError(SyncdError):
    """A setting is missing or cannot be used."""


class RequestError(SyncdError):
    """What a person asks for cannot be done, as things are; nothing was done."""


class UnknownContractError(RequestError):
    """No contract of this name has run on this Redis."""

    def __init__(self, contract: str) -> None:
        super().__init__(f"no contract {contract} has run on this Redis; `syncd status` lists the names")


class ProjectionError(SyncdError):
    """One document cannot take the shape that the contract asks for.

    `reason` is a short word from a closed list (it labels a metric), `detail` names the field and what is wrong
    with it, never its value.
    """

    def __init__(self, reason: str, detail: str) -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(f"{reason}: {detail}")


def why_unfit(error: Exception) -> ProjectionError:
    """Reason and detail of a dead letter, for an error that an input raised; an error that none raised is raised again.
    The text of an unexpected error may hold values, so only its kind and place are kept."""
    if not is_about_input(error):
        raise error
    if isinstance(error, ProjectionError):
        return error
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    at = (
        f"{last.tb_frame.f_globals.get('__name__')}:{last.tb_lineno}"
        if last is not None
        else "an unknown place"
    )
    what = f"{type(error).__name__} in {at}: syncd did not expect this, please report it"
    return ProjectionError("unexpected", what)


def is_about_input(error: Exception) -> bool:
    """Whether the input caused it, not a store, a setting, or a bug that has nothing to do with the input."""
    return isinstance(error, ProjectionError) or not isinstance(error, SyncdError | InvariantError)


class PlatformError(SyncdError):
    """No bundled server runs on this machine."""


class UriError(SyncdError):
    """A connection string cannot be read. The text is `what; remedy` and repeats no part of the string."""


class StoreError(SyncdError):
    """A store refused, failed, or could not be reached. `store` is `mongo` or `redis`."""

    def __init__(self, store: str, message: str) -> None:
        self.store = store
        super().__init__(message)


class TransientError(StoreError):
    """May pass by itself; the lane waits and tries again from its stored position. `soon`: to ask often costs little,
    so the lane waits a short time only."""

    def __init__(self, store: str, message: str, *, soon: bool = False) -> None:
        self.soon = soon
        super().__init__(store, message)


class FencedError(TransientError):
    """The lease in Redis is lost; nothing was written. (MongoDB's fence is LaterNumberError.) `holder` has it now,
    or is empty. `contract`: the one of the lease, where that is another contract with the same keys."""

    def __init__(self, message: str, holder: str, contract: str = "") -> None:
        self.holder, self.contract = holder, contract
        super().__init__("redis", message)


class LaterNumberError(TransientError):
    """MongoDB has seen a write with a later number than ours; nothing was written. `seen` is that number."""

    def __init__(self, seen: int) -> None:
        self.seen = seen
        super().__init__(
            "mongo",
            "MongoDB has a write of this contract with a later number: of a daemon that took over, or from before the "
            "clock or the data of Redis went back; nothing was written, the lane begins again above it",
        )


class SlotMovedError(TransientError):
    """A slot of a Redis Cluster has another node than we think, or is on its way there; nothing was done."""

    def __init__(self) -> None:
        what = "a slot of the cluster has another node, or is on its way there; asking which"
        super().__init__("redis", what, soon=True)


class UncertainError(StoreError):
    """Whether a write was done is no longer known to the store; to make it again may do it twice."""


class CapabilityError(StoreError):
    """The server lacks what a contract needs."""


class PositionLostError(StoreError):
    """The change stream cannot go on from the stored position."""


class OplogTooShortError(PositionLostError):
    """The oplog no longer reaches back to the position."""


class CollectionGoneError(PositionLostError):
    """The collection was dropped or renamed; `operation` is the event that said so."""

    def __init__(self, operation: str) -> None:
        self.operation = operation
        super().__init__("mongo", f"the collection is gone or another one ({operation} event)")


class DeadLettersFullError(StoreError):
    """The contract keeps no more dead letters than wait already, and has `when_full: pause`."""

    def __init__(self, contract: str, keep: int) -> None:
        super().__init__(
            "redis",
            f"{keep} dead letters wait, and contract {contract} keeps no more (sync.dead_letters.keep): "
            f"`syncd deadletters list {contract}`, then replay or drop them, or raise `keep`",
        )


class PausedError(StoreError):
    """A person has paused the contract; nothing is done until one resumes it."""

    def __init__(self, why: str) -> None:
        super().__init__("redis", why)


class SweepLimitError(StoreError):
    """More keys have no document than a sweep may remove by itself; nothing was removed."""

    def __init__(self, contract: str, what: str) -> None:
        super().__init__(
            "redis",
            f"{what}; nothing was removed: fix the contract (sync.sweep_limit says how many keys may be removed), or "
            f"run `syncd snapshot {contract} --allow-removal`",
        )


FOREIGN_LOST = (
    "Redis has lost the record of the keys that were there before the contract (maxmemory-policy allkeys-* may evict "
    "it), so a key without a document may be an application's"
)
"""Why no copy or repair removes one, nor `syncd remove --keys`; `syncd doctor` says it too."""


class EventTooLargeError(StoreError):
    """A change with its fields is larger than one event may be."""


class FatalError(StoreError):
    """Only a person can fix this."""


class UnknownError(FatalError):
    """An answer that syncd does not know: logged as an error, but it may pass by itself."""


class RefusedError(FatalError):
    """A server does not take our login or certificate, or we do not take its certificate. A person must act, but both
    are renewed in files, and one side may be first."""


class UnusableUriError(FatalError, SettingsError):
    """SYNCD_MONGO_URI or SYNCD_REDIS_URL cannot be used with any server."""

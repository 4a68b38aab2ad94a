"""The right to write for one lane: a lease with an epoch in the target Redis."""

from __future__ import annotations

import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from syncd import telemetry
from syncd.contract.model.contract import FileStamp
from syncd.errors import FatalError, FencedError, PausedError, TransientError
from syncd.plan.claims import Claims
from syncd.stores.redis.functions import require_protocol
from syncd.stores.redis.records.claims import CLAIMS, read_claims, wish_of
from syncd.stores.redis.records.position import ControlKeys
from syncd.stores.redis.records.requests.pauses import pause_of
from syncd.stores.redis.store import RedisStore, translated
from syncd.text import shown_holder


def _kernel() -> str:
    """Names this boot of this machine and this process namespace: only within one can a process id be looked up."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        namespace = Path("/proc/self/ns/pid").readlink().name.strip("pid:[]")
    except OSError:
        return secrets.token_hex(8)
    return f"{boot}.{namespace}"


def new_owner() -> str:
    """A name for this process that no other one ever has."""
    return f"{socket.gethostname()}/{_kernel()}/{os.getpid()}/{secrets.token_hex(4)}"


def is_dead(lease: str) -> bool:
    """Whether the holder is known to be gone: a process of this kernel that no longer runs.

    Then its lease need not run out first, and a daemon that was killed goes on at once when it is started again.
    """
    owner, _, _ = lease.rpartition(":")
    parts = owner.rsplit("/", 3)
    if len(parts) != 4 or parts[1] != _kernel() or not parts[2].isdigit():
        return False
    process = int(parts[2])
    if process == os.getpid():
        return False
    try:
        os.kill(process, 0)  # signal 0 only asks; /proc may hide the processes of others
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


OLDER_WAITS = 4
"""Times the lease: so long a daemon with older contract files leaves a lease alone that one with newer files lost."""
NOTHING = ("call", 0)
LOST = "Redis lacks what it has confirmed: a failover or a restore has lost its last writes"
_CLAIMING = threading.Lock()
"""Lanes of one process ask one after the other, or each would have to read the claims again for all before it."""
SILENT_S = 300.0
"""A lane gives a sign of life before and after each call to a store, and no store is waited for as long as
this. One that gives none hangs, and its lease is not held for it any more."""


class Lease:
    """The right to write for one lane. The functions check it in every call (see lua/).

    Between `acquire` and `rest` or `release` it is renewed by a `Renewer`, also while its lane waits. Where it is
    lost meanwhile, the next sign of life of the lane raises that.
    """

    def __init__(
        self,
        store: RedisStore,
        keys: ControlKeys,
        owner: str,
        ttl_s: float,
        claims: Claims,
        renewer: Renewer | None = None,
    ) -> None:
        """Without a renewer it runs out."""
        self._store, self._keys, self._owner, self._claims = store, keys, owner, claims
        self._renewer = renewer
        self.keys = keys
        self.ttl_ms = round(ttl_s * 1000)
        self.value = ""
        self._signs: dict[threading.Thread, float] = {}
        self._lost: FencedError | FatalError | TransientError | None = None
        self.confirmed: tuple[str, int] = NOTHING
        """A field of the position, and the number there that Redis has confirmed: it only grows while this is held."""
        self._draw = 0
        """How new the contract is, see lua/claims.lua; 0 until Redis has said it."""
        self._waits_since: float | None = None

    @property
    def name(self) -> str:
        """Contract and partition."""
        return str(self._keys)

    @property
    def contract(self) -> str:
        """Whose it is."""
        return self._keys.contract

    @property
    def parts(self) -> Sequence[Lease]:
        """That on each node of the store; outside a cluster, this one."""
        return (self,)

    @property
    def store(self) -> RedisStore:
        """What a run works with that has this lease: of a cluster the nodes on which it is held, and no other map."""
        return self._store

    @property
    def nodes(self) -> Sequence[RedisStore]:
        """Of each of `parts` the server that it is on."""
        return self.store.nodes

    def require_still(self) -> None:
        """That no key has another node than when the lease was taken. Raises TransientError."""

    def require_placed(self, *, now: bool = False) -> None:
        """That every node has the keys that it had when the lease was taken, and its address; `now`: not only by what
        was heard lately. Raises TransientError."""

    def is_moving(self, key: bytes) -> bool:
        """Whether this key was on its way to another node when that was last required."""
        return False

    def acquire(self) -> int:
        """Take the lease with a new epoch, and what the contract claims. Returns how many partitions it had before.

        Raises FencedError while another daemon holds it, or a lease of another layout, or one of a contract that has
        the same keys; and while a daemon with newer contract files may come back. Raises PausedError.
        """
        dead: list[str] = []
        while True:
            reply = self._ask(dead)
            word, holder, self._draw = reply[0], reply[1].decode(), int(reply[2])
            if word == b"held":
                self._waits_since = None
                self._held(holder)
                self._tell_taken([part.decode() for part in reply[4:]])
                return int(reply[3])
            if word == b"again":
                continue
            if word == b"paused":
                raise PausedError(str(pause_of(self._store, self.contract) or "paused by a person"))
            if holder not in dead and is_dead(holder):
                dead.append(holder)
                continue
            if word == b"moving":
                what = f"{shown_holder(holder)} arranges the records of {self.contract} on the nodes of the cluster"
                raise TransientError("redis", what, soon=True)
            if word != b"newer" and not (word == b"claimed" and not holder):
                self._waits_since = None
            elif self._waits_since is None:
                self._waits_since = time.monotonic()
            other = reply[4].decode() if word == b"claimed" else ""
            raise FencedError(self._why_not(word, holder, reply), holder, other)

    def _ask(self, dead: list[str]) -> list[bytes]:
        part, ttl_s = self._keys.partition, self.ttl_ms / 1000
        waited = time.monotonic() - self._waits_since if self._waits_since is not None else 0.0
        with _CLAIMING:
            wish = wish_of(self._store, self._keys.contract, self._claims)
            said = wish.encoded(self._claims, self._draw, force=waited > OLDER_WAITS * ttl_s)
            args = [self._owner, self.ttl_ms, part.number, part.count, said, *dead]
            return self._call("syncd_lease", args)

    def _tell_taken(self, taken: list[str]) -> None:
        for name, contract in zip(taken[::2], taken[1::2], strict=True):
            telemetry.claim_handed_over(self._keys.contract, name, contract)

    def _why_not(self, word: bytes, holder: str, reply: list[bytes]) -> str:
        name, holder = self._keys.contract, shown_holder(holder)
        if word == b"layout":
            return (
                f"{holder} works on {name} in {reply[3].decode()} partition(s), not in "
                f"{self._keys.partition.count}; standing by until all daemons of the other kind have stopped"
            )
        then = f"this one takes over when that has not come back for {OLDER_WAITS * self.ttl_ms // 1000} s"
        if word == b"newer":
            return (
                f"a daemon with a newer version of contract {name} waits, or worked last and was not stopped in "
                f"order; {then}"
            )
        if word == b"claimed":
            what, other = reply[3].decode(), reply[4].decode()
            if holder:
                return f"`{what}` belongs to contract {other}, on which {holder} works; standing by until it lets go"
            return (
                f"`{what}` was taken over by contract {other} of a daemon with newer files, which was not stopped in "
                f"order; {then}"
            )
        return f"{holder} holds the lease of {self._keys}; standing by"

    def _held(self, value: str) -> None:
        self.confirmed = NOTHING  # before the value: what renews may be under way
        self.value, self._lost, self._signs = value, None, {}
        self.hold()
        if self._renewer is not None:
            self._renewer.add(self)

    def hold(self) -> None:
        """A sign of life of a thread of the lane, which gives one again and again from now on. Raises FencedError where
        the lease was lost meanwhile, TransientError where Redis has lost what it had confirmed."""
        self._signs[threading.current_thread()] = time.monotonic()
        if self._lost is not None:
            raise self._lost

    def touch(self) -> None:
        """The same of any thread that calls a function: only of one that `hold` has made known it means anything."""
        if (thread := threading.current_thread()) in self._signs:
            self._signs[thread] = time.monotonic()

    def silence(self) -> float:
        """Seconds since the last sign of life of the thread that has given none for longest."""
        # A thread that ends has told its lane why, unless it is the lane's own: then none is left.
        alive = [since for thread, since in self._signs.copy().items() if thread.is_alive()]
        return time.monotonic() - min(alive) if alive else float("inf")

    def renewal(self) -> list[Any]:
        """The command that renews it."""
        keys = [self._keys.lease, self._keys.position]
        return self._store.functions.command("syncd_renew", keys, self._renew)

    @property
    def _renew(self) -> list[Any]:
        return [self.value, self.ttl_ms, *self.confirmed, *(claim.name for claim in self._claims.claims)]

    def confirm(self) -> None:
        """Ask Redis whether it is still held, after a wait. Raises what `hold` does."""
        self.check(self._call("syncd_renew", self._renew))

    def renewed(self, value: str, reply: list[bytes]) -> bool:
        """Take the answer to the command made while the lease had this value. False where the lease is lost."""
        if reply[0] == b"ok" or value != self.value:
            return True
        try:
            self.check(reply)
        except (FencedError, FatalError, TransientError) as error:
            self.lose(error)
        return False

    def lose(self, error: FencedError | FatalError | TransientError) -> None:
        """The lane is to hear of it."""
        self._lost = error

    def rest(self) -> None:
        """Hold it no longer: it runs out, unless it is taken again before."""
        if self._renewer is not None:
            self._renewer.remove(self)

    def reword(self, text: str, file: FileStamp | None, *, held: bool) -> None:
        """Keep another file of the contract, which claims the same: now where the lease is held, else with it."""
        if not text or text == self._claims.text:
            return
        self._claims = replace(self._claims, text=text, file=file)
        if held:
            self.check(self._call("syncd_reword", [self.value, json.dumps(self._claims.written())]))

    def forget_position(self, then: str, *, resumes: bool = False) -> None:
        """Give up the position. `then` is what the next start does: `sweep`, `keep` or `pause` (see Position.next).
        `resumes`: the stream may go on from it all the same."""
        self.check(self._call("syncd_forget", [self.value, then, "1" if resumes else ""]))

    def note_foreign(self, template: str, word: str, keys: Sequence[bytes] = ()) -> str:
        """Keys of a template that were there before any contract had it, see `lua/foreign.lua`. Returns its word."""
        reply = self.check(self._call("syncd_foreign", [self.value, self.ttl_ms, template, word, *keys]))
        return str(reply[0].decode())

    def forget_removed(self, entries: list[list[str]]) -> None:
        """A copy that ends has removed all keys of these entries of `owned`: an application may have such keys now."""
        self.check(self._call("syncd_forget_removed", [self.value, json.dumps(entries)]))

    def allow_removal(self) -> None:
        """A person said that keys without a document may go, also where it is not known any more whose they are."""
        self.note_foreign("", "allow")

    def release(self) -> None:
        """Give the lease back, so that a standby need not wait for it to run out."""
        self.rest()
        self._call("syncd_release", [self.value])

    def call(self, name: str, keys: Sequence[Any], args: Sequence[Any]) -> list[Any]:
        """Call a function that checks the lease first. `keys` and `args` are those behind the lease, the position and
        the lease's value. Raises FencedError where the lease is lost; nothing was done then."""
        self.touch()
        named = [self._keys.lease, self._keys.position, *keys]
        with self._naming_keys():
            return self.check(self._store.call(name, named, [self.value, *args]))

    def check(self, reply: list[Any]) -> list[Any]:
        """The reply of a function that checks the lease. Raises as `hold`, and FatalError as `RedisStore.call`."""
        if require_protocol(reply)[0] == b"fenced":
            raise _fenced(self.name, reply)
        if reply[0] == b"lost":
            raise TransientError("redis", LOST)
        return reply

    def _call(self, name: str, args: list[Any]) -> list[bytes]:
        self.touch()
        with self._naming_keys():
            return self._store.call(name, [self._keys.lease, self._keys.position], args)

    @contextmanager
    def _naming_keys(self) -> Iterator[None]:
        """Redis does not say which key is of another type than a function wants, nor which entry another client has
        changed."""
        try:
            yield
        except FatalError as error:
            if "a claim is not as syncd wrote it" in str(error):
                read_claims(self._store)
            if "WRONGTYPE" in str(error) and (wrong := self._wrong_key()):
                raise FatalError("redis", wrong) from error
            raise

    def _wrong_key(self) -> str:
        with translated():
            for key, wanted, then in (
                (self._keys.lease, "string", "the next daemon takes the lease"),
                (self._keys.position, "hash", "the contract begins again"),
                (self._keys.place + CLAIMS, "hash", "contracts take their claims again"),
            ):
                answer: Any = self._store.client.type(key)
                found = answer.decode()
                if found not in (wanted, "none"):
                    return f"{key} holds another Redis type ({found}); delete that key, and {then}"
        return ""


class Renewer(Protocol):
    """Renews leases while they are held."""

    def add(self, lease: Lease) -> None:
        """From now on."""

    def remove(self, lease: Lease) -> None:
        """Not any more."""


def _fenced(contract: str, reply: list[bytes]) -> FencedError:
    word, holder = reply[1].decode(), reply[2].decode()
    if word == "held":
        return FencedError(
            f"{shown_holder(holder)} took the lease of {contract}; nothing was written", holder
        )
    if word == "claims":
        return FencedError(
            f"claims of {contract} are gone from syncd:claims in Redis (evicted or deleted); the lane takes them again",
            "",
        )
    return FencedError(
        f"the {word} of {contract} is gone from Redis, and no other daemon works (it ran out, or was flushed, deleted "
        "or evicted); nothing was written, the lane takes up the lease again",
        "",
    )

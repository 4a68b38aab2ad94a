"""The MongoDB side: connect, find out what the server can do, translate its errors, and compare its times."""

from __future__ import annotations

import contextlib
import re
import ssl
import threading
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

from pymongo import MongoClient, timeout
from pymongo import errors as driver
from pymongo.common import VALIDATORS
from pymongo.read_preferences import _ServerMode, make_read_preference, read_pref_mode_from_name

from syncd import __version__, telemetry
from syncd.errors import (
    CapabilityError,
    EventTooLargeError,
    FatalError,
    OplogTooShortError,
    PositionLostError,
    RefusedError,
    SettingsError,
    StoreError,
    TransientError,
    UnknownError,
    UnusableUriError,
    UriError,
)
from syncd.settings import Settings
from syncd.stores import tls
from syncd.stores.access import Access, Given, access_of, fixed
from syncd.stores.messages import of_mongo, of_network
from syncd.stores.mongo import codes
from syncd.stores.mongo.certificates import as_options, check_certificates
from syncd.stores.mongo.idle_shards import IdleShards
from syncd.stores.together import Together
from syncd.stores.uri import read_mongo_uri

Document: TypeAlias = dict[str, Any]

HEARTBEAT_MS = 5_000
SOCKET_S, PATIENT_S = 60.0, 3600.0
"""How long a command may take; and the reply of a stream that has not come in that time before."""
COMPARED_S = 1.0
"""How often the files of password and certificates are read, where something is asked of MongoDB at all."""
IDLE_MS = 30_000
"""After which a connection is closed that only many lanes at once had needed."""
KNOWN_S = 1.0
"""How long it is known what a deployment is, for lanes that start together."""
OPLOG_CACHE_S = 5.0
OPLOG_TIMEOUT_S = 2.0
CLOSE_TIMEOUT_S = 2.0
DNS_AGAIN_S = 1.0
"""After which a name that was not found is looked up again: all lanes ask."""
_OF_DNS = re.compile(r"DNS |nameserver|[Rr]esol")
"""What the resolver's errors say, which the driver passes on as mistakes of the URI."""
_ENDED_AT_ONCE = {
    "SSL handshake failed": " Where it has no TLS, leave out tls=true and SYNCD_MONGO_TLS_*",
    "connection closed": " Where it wants TLS, or a certificate of syncd, set SYNCD_MONGO_TLS_CA_FILE and "
    "SYNCD_MONGO_TLS_CERT_FILE",
}
"""What to do where a server ends all connections without saying why."""
OLDEST = (6, 0)
_OPTIONS = frozenset(name.lower() for name in VALIDATORS)
OF_NO_STREAM = (
    "a view or time series has no change stream: name the collection behind the view, with its conditions as `filter`, "
    "or an ordinary collection into which you $merge what Redis is to show"
)
CAPPED = (
    "a capped collection drops documents without an event, so their keys would stay: name an ordinary collection, "
    "with a TTL index where documents have to go"
)


@dataclass(frozen=True, slots=True)
class MongoCapabilities:
    """What one deployment can do, as detected."""

    version: tuple[int, ...]
    sharded: bool = False

    def __str__(self) -> str:
        kind = "sharded; the window of its oplogs is unknown" if self.sharded else "replica set"
        return f"MongoDB {'.'.join(map(str, self.version))} ({kind})"


class MongoStore:
    """One deployment, shared by all lanes. Thread-safe."""

    def __init__(self, access: Access | str, *, server_selection_timeout_s: float = 10.0) -> None:
        """`access`: how it is reached, or a URI that stays."""
        self._access = fixed("mongo", access) if isinstance(access, str) else access
        self._given, self._timeout_s = self._access.now(), server_selection_timeout_s
        self._seen, self._compared = self._given, time.monotonic()
        try:
            self.address = read_mongo_uri(self._given.uri)
        except UriError as error:
            raise UnusableUriError("mongo", f"SYNCD_MONGO_URI is not usable: {error}") from None
        check_certificates(self._given)
        self._client_lock = threading.Lock()
        self._client: MongoClient[Document] | None = None
        self._patient: MongoClient[Document] | None = None
        self._unknown: tuple[float, TransientError] | None = None
        self._oplog_lock = threading.Lock()
        self._oplog_read = -OPLOG_CACHE_S
        self._oplog_window: tuple[int, int] | None = None
        self.is_sharded = False
        """Whether a mongos answers, as of the last `connect`."""
        self.idle_shards = IdleShards()
        self.replies_broken: Counter[tuple[str, str | int]] = Counter()
        """By collection, how often MongoDB has not replied with changes, for they were too large."""
        self._known: Together[MongoCapabilities] = Together(KNOWN_S)
        with contextlib.suppress(TransientError):  # a daemon that starts without a network waits for it
            self._open()

    @classmethod
    def of(cls, settings: Settings, *, server_selection_timeout_s: float = 10.0) -> MongoStore:
        """The MongoDB of these settings. All of syncd connects this way."""
        return cls(access_of("mongo", settings), server_selection_timeout_s=server_selection_timeout_s)

    @property
    def client(self) -> MongoClient[Document]:
        """The driver's; another one after password or certificates were renewed. Raises TransientError while the names
        of a `mongodb+srv` URI cannot be looked up."""
        if self._client is None:
            return self._open()
        if self._access.may_change and time.monotonic() - self._compared > COMPARED_S:
            self._renew()
        return self._client

    @property
    def stream_client(self) -> MongoClient[Document]:
        """The driver's, for change streams."""
        return self._patient or self.client

    def be_patient(self) -> None:
        """The reply of a stream took too long. MongoDB looks through its oplog for it, and would begin again: so the
        next one has more time, on connections of its own. Dead links are found by the driver's monitor all the same."""
        with self._client_lock:
            self._patient = self._patient or self._new_client(self._given, PATIENT_S)

    def _open(self) -> MongoClient[Document]:
        with self._client_lock:
            if self._unknown is not None and time.monotonic() - self._unknown[0] < DNS_AGAIN_S:
                raise self._unknown[1]
            try:
                self._client = self._client or self._new_client(self._given)
            except TransientError as error:
                self._unknown = time.monotonic(), error
                raise
            return self._client

    def _renew(self) -> None:
        """Take what the files hold now for a new client. What runs on the old one goes on, and ends when it cannot
        connect any more; what begins behind that gets the new one. The old one goes with the last that uses it."""
        with self._client_lock:
            self._compared = time.monotonic()
            try:
                given = self._access.now()
                if given == self._seen:
                    return
                self._seen = given
                check_certificates(given)
                self._client, self._patient = self._new_client(given), None
                self._given = given
            except (SettingsError, TransientError) as error:
                telemetry.renewal_failed("mongo", str(error))
                return
        telemetry.renewed("mongo")

    def _new_client(self, given: Given, socket_s: float = SOCKET_S) -> MongoClient[Document]:
        try:
            with warnings.catch_warnings():
                # An option that the driver does not know or cannot read is else left out, with its value in a warning.
                warnings.simplefilter("error", UserWarning)
                with as_options(given) as options:
                    return self._driver_client(given.uri, socket_s, options)
        except OSError as error:
            raise UnusableUriError("mongo", f"SYNCD_MONGO_URI is not usable: {_of_file(error)}") from None
        except (driver.PyMongoError, ValueError, TypeError, LookupError, UserWarning) as error:
            text = of_network(str(error))
            if given.uri.startswith("mongodb+srv:") and _OF_DNS.search(text):
                what = f"the name in SYNCD_MONGO_URI cannot be looked up: {text}; is the network up?"
                raise TransientError("mongo", what) from None
            raise UnusableUriError(
                "mongo", f"SYNCD_MONGO_URI is not usable: {unusable(text, given.uri)}"
            ) from None

    def _driver_client(self, uri: str, socket_s: float, options: Mapping[str, Any]) -> MongoClient[Document]:
        return MongoClient(
            uri,
            **options,
            appname=f"syncd {__version__}",
            serverSelectionTimeoutMS=round(self._timeout_s * 1000),
            connectTimeoutMS=5_000,
            # A link that is half open gives no error of its own. The driver's monitor finds a server that does not
            # answer after the sum of these two, and breaks what waits for it. No command has so short a limit:
            # to read a long oplog or a chunk under a filter may take its time.
            heartbeatFrequencyMS=HEARTBEAT_MS,
            socketTimeoutMS=round(socket_s * 1000),
            maxPoolSize=None,
            maxIdleTimeMS=IDLE_MS,
            tz_aware=True,
        )

    def connect(self) -> MongoCapabilities:
        """Ping, and refuse what is too old or has no change streams."""
        return self._known.ask(self._connect)

    def _connect(self) -> MongoCapabilities:
        with translated():
            hello = self.client.admin.command("hello")
            info = self.client.server_info()
        version = tuple(info["versionArray"][:3])
        if version < OLDEST:
            raise CapabilityError("mongo", f"MongoDB {info['version']} is too old; syncd needs 6.0 or later")
        sharded = self.is_sharded = hello.get("msg") == "isdbgrid"
        if not sharded and "setName" not in hello:
            raise CapabilityError(
                "mongo",
                "this MongoDB is a standalone server, which has no change streams; start it with --replSet "
                "and call rs.initiate() (a replica set of one is enough)",
            )
        return MongoCapabilities(version, sharded)

    def oplog_window(self) -> tuple[int, int] | None:
        """Epoch seconds of the oldest and the newest entry of the oplog; None where we may not or cannot read it.

        Asked for by every lane, so the answer is kept for a while.
        """
        with self._oplog_lock:
            if time.monotonic() - self._oplog_read > OPLOG_CACHE_S:
                self._oplog_read = time.monotonic()
                self._oplog_window = self._read_oplog_window()
            return self._oplog_window

    def _read_oplog_window(self) -> tuple[int, int] | None:
        if self.is_sharded:
            return None  # each shard has one, and a mongos shows none of them
        oplog = self.client["local"]["oplog.rs"]
        try:
            # A lane must not wait for this at a dead link, where it has a lease to renew and an error to report.
            with timeout(OPLOG_TIMEOUT_S):
                first, last = (oplog.find_one({}, {"ts": 1}, sort=[("$natural", way)]) for way in (1, -1))
        except driver.PyMongoError:  # no right to read `local`: the metric stays away
            return None
        return (first["ts"].time, last["ts"].time) if first and last else None

    def give_up(self) -> None:
        """For a caller that wants to stop: where no member can be reached, a thread would wait for one in vain."""
        if self._client is not None and not self._client.topology_description.has_known_servers:
            self.close()

    def close(self) -> None:
        """Close all connections."""
        for client in (self._client, self._patient):
            # It also ends its sessions, and would look for a MongoDB that is away as long as for any other call.
            if client is not None:
                with timeout(CLOSE_TIMEOUT_S):
                    client.close()


def read_preference(mode: str) -> _ServerMode | None:
    """`secondaryPreferred` and the like; None for the primary."""
    return None if mode == "primary" else make_read_preference(read_pref_mode_from_name(mode), None)


def _of_file(error: OSError) -> str:
    """A certificate that is named and cannot be had."""
    if isinstance(error, ssl.SSLError):
        return "the file of tlsCAFile, tlsCertificateKeyFile or tlsCRLFile holds no PEM; name another"
    return (
        f"a file that it names cannot be read ({error.strerror}); check tlsCAFile and tlsCertificateKeyFile"
    )


def took_too_long(error: StoreError) -> bool:
    """Whether MongoDB gave a command up after its `maxTimeMS`."""
    return getattr(error.__cause__, "code", None) == codes.TOO_LONG


def unusable(text: str, uri: str) -> str:
    """What the driver has against a URI: only the name of an option that it knows is repeated from what it says."""
    options = uri.lower().partition("?")[2]
    named = re.findall(r"[A-Za-z]{3,}", text)
    names = [name for name in named if name.lower() in _OPTIONS and f"{name.lower()}=" in options]
    about = f" (about the option {names[0]})" if names else ""
    return (
        f"the driver does not take it{about}; write mongodb://user:password@host:port/?option=value with options that "
        "it knows, and percent-encode user and password"
    )


def code_of(error: StoreError) -> int:
    """MongoDB's code of a translated error; 0 where it has none."""
    cause = error.__cause__
    return (cause.code or 0) if isinstance(cause, driver.OperationFailure) else 0


def is_transient_code(code: int) -> bool:
    """Whether an error of the server passes by itself."""
    return code in codes.TRANSIENT


@contextmanager
def translated() -> Iterator[None]:
    """Turn errors of the driver into errors of syncd."""
    try:
        yield
    except driver.PyMongoError as error:
        raise translate(error) from error
    except OSError as error:  # the driver has its own errors for the network; these are of a token of a cloud
        what = f"the token for SYNCD_MONGO_URI cannot be had: {of_network(str(error))}"
        raise RefusedError("mongo", f"{what}; see where its ENVIRONMENT has it") from error


def translate(error: driver.PyMongoError) -> StoreError:
    """One error of the driver as an error of syncd; what is unknown is reported as an error, and tried again soon."""
    text = of_mongo(error)
    code = error.code if isinstance(error, driver.OperationFailure) else None
    if code in codes.LOST:
        return PositionLostError("mongo", f"the stream cannot resume ({codes.LOST[code]}, {code}): {text}")
    if code == codes.OPLOG_TOO_SHORT:
        return OplogTooShortError("mongo", f"the stream cannot resume (ChangeStreamHistoryLost, 286): {text}")
    if code == codes.EVENT_TOO_LARGE:
        return EventTooLargeError(
            "mongo", f"a change is larger than the 16 MB that an event may have: {text}"
        )
    if refused := _of_the_collection(code, text):
        return refused
    if code in codes.AUTHENTICATION:
        kind = FatalError if code == codes.UNAUTHORIZED else RefusedError
        return kind("mongo", f"MongoDB refuses us: {text}; fix user, password or roles in SYNCD_MONGO_URI")
    if isinstance(error, driver.ConfigurationError):
        return RefusedError("mongo", f"the driver cannot do what SYNCD_MONGO_URI says: {text}")
    if isinstance(error, driver.InvalidOperation) and "after close" in text:
        return TransientError("mongo", "MongoDB cannot be reached, and the daemon stops")
    if isinstance(error, driver.ConnectionFailure) and (why := tls.explained(text, "mongo")):
        return RefusedError("mongo", why)
    if isinstance(error, driver.ConnectionFailure | driver.CursorNotFound | driver.ExecutionTimeout):
        hint = _ENDED_AT_ONCE if isinstance(error, driver.ServerSelectionTimeoutError) else {}
        also = next((what for words, what in hint.items() if words in text), "")
        what = f"no answer from MongoDB: {text}; is it up, and is SYNCD_MONGO_URI right?{also}"
        return TransientError("mongo", what)
    if code in codes.TRANSIENT or any(map(error.has_error_label, codes.TRANSIENT_LABELS)):
        return TransientError("mongo", f"MongoDB is between two states: {text}; waiting for it")
    return UnknownError("mongo", f"MongoDB answered: {text}; see its log")


def _of_the_collection(code: int | None, text: str) -> CapabilityError | None:
    """Errors of a collection that is of another kind than a synced one may be."""
    if code in codes.IS_A_VIEW or (code == codes.NOT_IN_AN_AGGREGATION and "in aggregation" in text):
        return CapabilityError("mongo", f"{text}; {OF_NO_STREAM}")
    if code == codes.SNAPSHOT_UNAVAILABLE and "capped" in text:
        return CapabilityError("mongo", f"{text}; {CAPPED}")
    if code == codes.INTERNAL_NAMESPACE:
        return CapabilityError("mongo", f"{text}; name a collection of an application")
    return None

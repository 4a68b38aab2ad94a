"""Loads and calls the Redis functions of `lua/`, as FUNCTION or, where that is forbidden, as EVALSHA."""

from __future__ import annotations

import hashlib
import re
from functools import cache
from importlib.resources import files
from typing import Any

from redis import Redis
from redis.exceptions import NoPermissionError, ResponseError

from syncd.errors import FatalError

PROTOCOL = "8"
"""Version of the agreement between this code and the Lua; both sides check it on every call."""

_PARTS = (
    "shared", "claims", "owned", "foreign", "heirs", "handover", "contracts", "operations", "operations/each",
    "operations/arrays", "operations/expiring", "operations/members", "operations/vectors",
    "operations/shared_hashes", "operations/boards", "operations/deadlines", "operations/samples",
    "operations/feeds", "operations/matched", "apply", "lease", "partial", "groups", "types", "state",
    "series", "merge", "nodes",
)  # fmt: skip
"""One library, in this order: each part may use those before it."""
_OOM_SAFE = (
    "syncd_lease",
    "syncd_renew",
    "syncd_release",
    "syncd_say",
    "syncd_reword",
    "syncd_took_up",
    "syncd_forget",
    "syncd_forget_removed",
    "syncd_drop",
    "syncd_foreign",
    "syncd_leave",
    "syncd_advance",
    "syncd_advance_on_node",
    "syncd_written",
    "syncd_written_on_node",
    "syncd_trimmed",
    "syncd_differs",
    "syncd_vanished",
    "syncd_synced",
    "syncd_read_state",
    "syncd_new_samples",
    "syncd_look_state",
    "syncd_new_samples_on_node",
    "syncd_read_samples_on_node",
    "syncd_look_samples_on_node",
    "syncd_read_state_on_node",
    "syncd_look_state_on_node",
    "syncd_bring_synced",
    "syncd_done_state",
    "syncd_lost_entries",
    "syncd_raise_floor",
    "syncd_roster",
    "syncd_remove_keys",
    "syncd_remove_members",
    "syncd_remove_records",
    "syncd_number",
    "syncd_number_above",
    "syncd_board",
    "syncd_ask_partial",
    "syncd_partial",
    "syncd_take_due",
    "syncd_alone",
)


@cache
def library_source() -> str:
    """The library as FUNCTION LOAD takes it."""
    folder = files("syncd.stores.redis").joinpath("lua")
    return "\n".join(folder.joinpath(f"{part}.lua").read_text(encoding="utf-8") for part in _PARTS)


@cache
def _script(allow_oom: bool) -> tuple[str, str]:
    """The same Lua as a script whose first argument names the function, and its SHA-1 digest."""
    body = library_source().split("\n", 1)[1]
    flags = "#!lua flags=allow-cross-slot-keys" + ",allow-oom" * allow_oom
    shim = (
        "local registered, server = {}, redis\n"
        "local redis = setmetatable({register_function = function(name, callback)\n"
        "  if type(name) == 'table' then name, callback = name.function_name, name.callback end\n"
        "  registered[name] = callback end}, {__index = server})\n"
    )
    call = "\nlocal name = table.remove(ARGV, 1)\nreturn registered[name](KEYS, ARGV)\n"
    source = f"{flags}\n{shim}{body}{call}"
    return source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()


class Functions:
    """How this server is to be called: FCALL, or EVALSHA where functions are not to be had.

    `prepare` is called after every (re)connect and after an answer `is_missing`; it is cheap when all is in place.
    """

    def __init__(self) -> None:
        self.by_script: bool | None = None
        """None before the server was asked."""

    def prepare(self, client: Redis) -> None:
        """Bring the library onto the server, unless it is there. Raises FatalError where a newer one is."""
        if not self.by_script:
            try:
                self._load_library(client)
                self.by_script = False
                return
            except NoPermissionError:
                self.by_script = True
            except ResponseError as error:
                if "unknown" not in str(error).lower():
                    raise
                self.by_script = True
        for allow_oom in (False, True):
            client.execute_command("SCRIPT LOAD", _script(allow_oom)[0])

    @staticmethod
    def _load_library(client: Redis) -> None:
        listed: Any = client.execute_command("FUNCTION LIST", "LIBRARYNAME", "syncd", "WITHCODE")
        present = _code_of(listed)
        if present == library_source():
            return
        theirs = re.search(r"^local PROTOCOL = '(\d+)'", present, re.MULTILINE)
        if theirs and int(theirs[1]) > int(PROTOCOL):
            raise FatalError(
                "redis",
                f"a newer syncd (protocol {theirs[1]}) uses this Redis; upgrade this daemon (protocol {PROTOCOL})",
            )
        client.execute_command("FUNCTION LOAD", "REPLACE", library_source())

    def command(self, name: str, keys: list[Any], args: list[Any]) -> list[Any]:
        """The command line that calls function `name`."""
        if self.by_script:
            digest = _script(name in _OOM_SAFE)[1]
            return ["EVALSHA", digest, len(keys), *keys, name, PROTOCOL, *args]
        return ["FCALL", name, len(keys), *keys, PROTOCOL, *args]

    @staticmethod
    def is_missing(error: ResponseError) -> bool:
        """Whether the server forgot the library (restarted without its data, FUNCTION FLUSH, SCRIPT FLUSH)."""
        text = str(error)
        return "Function not found" in text or "NOSCRIPT" in text or "No matching script" in text


def require_protocol(reply: list[Any]) -> list[Any]:
    """The reply of a function. Raises FatalError where the functions are another syncd's, and did nothing."""
    if reply[0] == b"version":
        raise FatalError(
            "redis", f"another syncd loaded functions of protocol {reply[1].decode()}; upgrade this daemon"
        )
    return reply


def _code_of(listed: Any) -> str:
    """The source in a FUNCTION LIST reply of RESP2 (flat pairs) or RESP3 (a map); empty when there is none."""
    if not listed:
        return ""
    library = listed[0]
    pairs = library.items() if isinstance(library, dict) else zip(library[::2], library[1::2], strict=True)
    for name, value in pairs:
        if name in (b"library_code", "library_code"):
            return value.decode() if isinstance(value, bytes) else str(value)
    return ""

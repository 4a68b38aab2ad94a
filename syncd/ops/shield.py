"""Protects the HTTP server: requests by its own names only, none from foreign pages; headers that forbid frames."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_PRIVATE = (".localhost", ".local", ".internal", ".svc", ".cluster.local")
"""No public name ends so: no foreign page can be served under one, and then send requests to this machine."""
_PORT = re.compile(r":[0-9]{1,5}$")
_FOREIGN = {"cross-site", "same-site"}
_SAFE = {"GET", "HEAD", "OPTIONS"}


POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
"""The Content-Security-Policy: files of the daemon alone, and nothing that stands in a page."""


class Shield:
    """Wraps an application. `names` are hosts beside those that need no list; `*` for any."""

    def __init__(self, app: ASGIApp, names: Iterable[str]) -> None:
        self._app = app
        self._names = {name.strip().lower().rstrip(".") for name in names} | {socket.gethostname().lower()}
        self._headers = {
            "content-security-policy": POLICY,
            "x-content-type-options": "nosniff",
            "x-frame-options": "DENY",
            "referrer-policy": "no-referrer",
            "cross-origin-resource-policy": "same-origin",
            "cross-origin-opener-policy": "same-origin",
            "cache-control": "no-store",
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or have the application answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self._headers)
            await send(message)

        refused = self._refused(scope["method"], Headers(scope=scope))
        await (refused or self._app)(scope, receive, send_with_headers)

    def _refused(self, method: str, headers: Headers) -> JSONResponse | None:
        host = headers.get("host", "")
        if not self._is_ours(host):
            error = "this name is not one of the daemon's; call it by its address, or list the name in SYNCD_HTTP_HOSTS"
            return JSONResponse({"error": error}, 421)
        if method not in _SAFE and _is_foreign(headers, host):
            return JSONResponse({"error": "not from a page of another origin"}, 403)
        return None

    def _is_ours(self, host: str) -> bool:
        """Whether a host is the daemon's. Names of the public DNS only if listed: their owner may point them here."""
        name = _PORT.sub("", host.strip().lower()).rstrip(".")
        if not name or "*" in self._names or name in self._names or name.endswith(_PRIVATE):
            return True
        return _is_address(name) or re.fullmatch(r"[a-z0-9_-]+", name) is not None


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _is_foreign(headers: Headers, host: str) -> bool:
    origin = headers.get("origin")
    if headers.get("sec-fetch-site") in _FOREIGN:
        return True
    return origin is not None and urlsplit(origin).netloc.lower() != host.strip().lower()

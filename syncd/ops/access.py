"""Who may have something done over HTTP: those who send the token."""

from __future__ import annotations

import hmac

from starlette.requests import Request
from starlette.responses import JSONResponse, Response


def refused(request: Request, token: str) -> Response | None:
    """The answer to a caller without the token; None for one with it."""
    if not token:
        return JSONResponse({"error": "set SYNCD_TOKEN to allow this"}, 403)
    said = request.headers.get("authorization", "").encode("latin-1")  # the bytes that were sent
    if hmac.compare_digest(said, f"Bearer {token}".encode()):
        return None
    return JSONResponse({"error": "Authorization: Bearer SYNCD_TOKEN"}, 401, {"WWW-Authenticate": "Bearer"})

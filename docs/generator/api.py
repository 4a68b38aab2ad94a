"""`openapi.json`: from the table of endpoints."""

from __future__ import annotations

from typing import Any

from syncd import __version__
from syncd.ops.api import ENDPOINTS, OF_CONTRACT, PREFIX, Endpoint

_INTRO = (
    "What changes something, and what costs the servers much, needs SYNCD_TOKEN. Any daemon can be asked about any "
    "contract of its Redis. Within a version paths and members stay; further ones may come. Written by "
    "`python docs/generate.py`."
)
_PAGES = {
    "/livez": ("Whether the process works.", ("200", "500")),
    "/readyz": ("Whether every contract is served as it promises.", ("200", "503")),
    "/metrics": ("Metrics in the text format of Prometheus.", ("200",)),
    PREFIX + "/status": ("The state of every lane of this daemon.", ("200",)),
}
_ANSWERS = {
    "200": "Done, or found.", "202": "Noted; the daemon that works on the contract does it.",
    "400": "The request cannot be read: `error` says why.", "401": "Without the token, or with another one.",
    "403": "The daemon has no SYNCD_TOKEN.", "404": "No contract of this name has run on this Redis.",
    "409": "It cannot be done, as things are: `error` says why.", "413": "The request is too long.",
    "500": "It failed: `error` says why.", "503": "Not ready, or Redis does not answer.",
}  # fmt: skip
_OF_ACTIONS = ("400", "401", "403", "404", "409", "413", "500", "503")


def openapi() -> dict[str, Any]:
    """The description of the HTTP interface."""
    paths: dict[str, Any] = {
        path: {"get": {"summary": summary, "responses": _responses(answers)}}
        for path, (summary, answers) in _PAGES.items()
    }
    for endpoint in ENDPOINTS:
        paths[endpoint.path] = {endpoint.method.lower(): _operation(endpoint)}
    return {
        "openapi": "3.1.0",
        "info": {"title": "syncd", "version": f"v1 of {__version__}", "description": _INTRO},
        "paths": paths,
        "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
    }


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    said: dict[str, Any] = {
        "summary": endpoint.summary,
        "security": [] if endpoint.is_open else [{"token": []}],
        "responses": _responses(("200", "202", *_OF_ACTIONS)),
    }
    if endpoint.path.startswith(OF_CONTRACT):
        said["parameters"] = [
            {"name": "contract", "in": "path", "required": True, "schema": {"type": "string"}}
        ]
    if endpoint.body is not None:
        schema = endpoint.body.model_json_schema()
        said["requestBody"] = {"required": False, "content": {"application/json": {"schema": _plain(schema)}}}
    return said


def _plain(schema: Any) -> Any:
    """Without titles, which say nothing that names do not."""
    if isinstance(schema, dict):
        return {
            name: _plain(part)
            for name, part in schema.items()
            if not (name == "title" and isinstance(part, str))
        }
    return [_plain(part) for part in schema] if isinstance(schema, list) else schema


def _responses(answers: tuple[str, ...]) -> dict[str, Any]:
    return {code: {"description": _ANSWERS[code]} for code in answers}

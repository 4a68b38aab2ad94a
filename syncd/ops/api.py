"""The versioned part of the HTTP interface: what people, the console and scripts ask of contracts.

Each endpoint is a value, and the description of the interface (OpenAPI) is made of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import anyio.to_thread
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from syncd import telemetry
from syncd.daemon.supervisor import Runner
from syncd.errors import RequestError, StoreError, SyncdError, UnknownContractError
from syncd.ops.actions import Actions
from syncd.stores.redis.records.dead_letters import Kind
from syncd.stores.redis.store import RedisStore

PREFIX = "/api/v1"
OF_CONTRACT = PREFIX + "/contracts/{contract}"
LARGEST_BODY = 64 * 1024

Answer: TypeAlias = tuple[int, dict[str, Any]]


class Body(BaseModel):
    """What a request says."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Nothing(Body):
    """No body, or an empty object."""


class Pause(Body):
    """See `pause`."""

    why: str = Field("", max_length=200, description="Shown in the status.")


class Snapshot(Body):
    """See `snapshot`."""

    allow: Literal["", "removal", "adopt"] = Field(
        "",
        description="`removal`: remove any number of keys, see sync.sweep_limit. `adopt`: keys that were there before "
        "the contract become its own.",
    )
    where: dict[str, Any] | None = Field(
        None,
        description="A MongoDB query in Extended JSON: only documents that match are copied, and no key is removed but "
        "theirs.",
    )

    @model_validator(mode="after")
    def _is_one(self) -> Snapshot:
        if self.where is not None and self.allow:
            raise ValueError("with `where` nothing is swept; leave out `allow`")
        return self


class Check(Body):
    """See `reconcile`."""

    mode: Literal["report", "repair"] | None = Field(None, description="Without it as the contract says.")


class Approve(Body):
    """See `approve`."""

    plan: str = Field(max_length=100, description="As the status names it under `contracts.waiting`.")


class Remove(Body):
    """See `remove`."""

    keys: bool = Field(False, description="Also its keys and search indexes.")
    allow_removal: bool = Field(
        False, description="Also where Redis has lost which keys were there before the contract."
    )


class Chosen(Body):
    """Some dead letters: by entry, of a kind, or all."""

    entries: list[str] | None = Field(
        None, min_length=1, max_length=1000, description="As the list names them."
    )
    reason: str | None = Field(None, description="Those with this reason.")
    field: str | None = Field(None, description="Those about this field; empty: about none.")
    projection: str | None = Field(None, description="Those of this projection.")
    all: bool = Field(False, description="All of the contract.")

    @property
    def kind(self) -> Kind:
        """What they have in common, where no entries are named."""
        return Kind(self.reason, self.field, self.projection)

    @model_validator(mode="after")
    def _is_one(self) -> Chosen:
        if [self.entries is not None, self.kind != Kind(), self.all].count(True) != 1:
            raise ValueError("name `entries`, or a `reason`, `field` or `projection`, or say `all`")
        return self


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asks, of what."""

    runner: Runner
    actions: Actions
    contract: str
    body: Any


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One request."""

    path: str
    body: type[Body] | None
    """None of a GET, which changes nothing."""
    summary: str
    do: Callable[[Asked], Answer]
    is_open: bool = False
    """Whether it needs no token."""
    asks: bool = False
    """Whether a POST changes nothing."""

    @property
    def method(self) -> str:
        """GET or POST."""
        return "GET" if self.body is None else "POST"

    @property
    def name(self) -> str:
        """What it does, for the log."""
        return self.path.removeprefix(OF_CONTRACT + "/")


def _pause(asked: Asked) -> Answer:
    return 202, {"accepted": asked.actions.pause(asked.contract, asked.body.why)}


def _resume(asked: Asked) -> Answer:
    return 202, {"accepted": asked.actions.resume(asked.contract)}


def _snapshot(asked: Asked) -> Answer:
    if asked.body.where is not None:
        return 202, {"accepted": asked.actions.snapshot_where(asked.contract, json.dumps(asked.body.where))}
    return 202, {"accepted": asked.actions.snapshot(asked.contract, asked.body.allow)}


def _reconcile(asked: Asked) -> Answer:
    return check(asked.runner, asked.contract, asked.body.mode)


def _replay(asked: Asked) -> Answer:
    return 202, {"requested": asked.actions.replay(asked.contract, asked.body.entries, asked.body.kind)}


def _drop(asked: Asked) -> Answer:
    return 200, {"dropped": asked.actions.drop(asked.contract, asked.body.entries, asked.body.kind)}


def _approve(asked: Asked) -> Answer:
    asked.actions.approve(asked.contract, asked.body.plan)
    return 202, {"accepted": asked.body.plan}


def _lines(asked: Asked) -> Answer:
    lines = asked.runner.lines(asked.contract)
    if not lines:
        return 404, {"error": f"no contract {asked.contract} runs here"}
    return 200, {"lines": json.loads(json.dumps(lines, default=str))}


def _orphans(asked: Asked) -> Answer:
    return 200, {"orphans": asked.actions.orphans()}


def _orphan(asked: Asked) -> Answer:
    return 200, {"orphans": asked.actions.orphan(asked.contract)}


def _remove(asked: Asked) -> Answer:
    body = asked.body
    names = asked.actions.remove(asked.contract, keys=body.keys, allow_removal=body.allow_removal)
    return 202, {"accepted": names}


def check(runner: Runner, contract: str, mode: str | None) -> Answer:
    """Have both sides of a contract compared."""
    why = runner.check(contract, None if mode is None else mode == "repair")
    if why is None:
        return 404, {"error": f"no contract {contract} that could be compared runs here"}
    return (409, {"error": why}) if why else (202, {"accepted": contract})


ENDPOINTS = (
    Endpoint(
        OF_CONTRACT + "/pause", Pause,
        "Have every daemon stop working on the contract, until it is resumed. Its position is kept.", _pause,
    ),
    Endpoint(OF_CONTRACT + "/resume", Nothing, "Go on with a contract that was paused.", _resume),
    Endpoint(
        OF_CONTRACT + "/snapshot", Snapshot,
        "Copy all documents again, and remove keys without one. Or copy only some.", _snapshot,
    ),
    Endpoint(OF_CONTRACT + "/reconcile", Check, "Compare every document with its keys.", _reconcile),
    Endpoint(
        OF_CONTRACT + "/deadletters/replay", Chosen, "Read the documents of dead letters again.", _replay
    ),
    Endpoint(
        OF_CONTRACT + "/deadletters/drop", Chosen,
        "Remove dead letters permanently. The keys of their documents stay as they are.", _drop,
    ),
    Endpoint(
        OF_CONTRACT + "/approve", Approve,
        "Have daemons take up an edit of a contract with `apply: planned`. `plan` has to be the one that waits.",
        _approve,
    ),
    Endpoint(
        OF_CONTRACT + "/logs", None, "The last lines of this daemon's log about the contract, oldest first.", _lines,
        is_open=True,
    ),
    Endpoint(
        PREFIX + "/orphans", None,
        "What contracts that are gone have left in Redis. Each template is counted for a second at most.", _orphans,
    ),
    Endpoint(OF_CONTRACT + "/orphan", None, "The same of one contract that is gone.", _orphan),
    Endpoint(
        OF_CONTRACT + "/remove", Remove,
        "Remove what a contract that is no longer among the files has left. The log says what went.", _remove,
    ),
)  # fmt: skip


def routes(
    runner: Runner,
    store: Callable[[], RedisStore],
    refused: Callable[[Request], Response | None],
    endpoints: Iterable[Endpoint] = ENDPOINTS,
) -> list[Route]:
    """Of all endpoints. `refused`: the answer to a caller without the token."""

    def route(endpoint: Endpoint) -> Route:
        async def handle(request: Request) -> Response:
            if not endpoint.is_open and (answer := refused(request)) is not None:
                return answer
            text = await _text_of(request)
            by = f"HTTP from {request.client.host if request.client else 'an unknown address'}"
            status, said = await anyio.to_thread.run_sync(_answer, endpoint, runner, store, request, text, by)
            return JSONResponse(said, status)

        return Route(endpoint.path, handle, methods=[endpoint.method])

    return [route(endpoint) for endpoint in endpoints]


async def _text_of(request: Request) -> bytes | None:
    """None where it is too long."""
    text = b""
    async for part in request.stream():
        text += part
        if len(text) > LARGEST_BODY:
            return None
    return text


def _answer(
    endpoint: Endpoint,
    runner: Runner,
    store: Callable[[], RedisStore],
    request: Request,
    text: bytes | None,
    by: str,
) -> Answer:
    if text is None:
        return 413, {"error": f"more than {LARGEST_BODY} bytes"}
    contract = request.path_params.get("contract", "")
    try:
        body = None if endpoint.body is None else endpoint.body.model_validate_json(text or b"{}")
        status, said = endpoint.do(Asked(runner, Actions(store(), by), contract, body))
    except ValidationError as error:
        return 400, {"error": _mistakes(error)}
    except UnknownContractError as error:
        return 404, {"error": str(error)}
    except RequestError as error:
        return 409, {"error": str(error)}
    except SyncdError as error:
        return 503 if isinstance(error, StoreError) else 500, {"error": str(error)}
    if status < 300 and endpoint.body is not None and not endpoint.asks:
        telemetry.asked_for(endpoint.name, contract, by)
    return status, said


def _mistakes(error: ValidationError) -> str:
    """What is wrong with a body, without what it holds."""
    return "; ".join(
        ": ".join(filter(None, (".".join(map(str, one["loc"])), one["msg"].removeprefix("Value error, "))))
        for one in error.errors(include_input=False, include_url=False)
    )

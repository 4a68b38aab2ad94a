"""What an action would do, asked by a page before it is done: changes nothing, and needs the token."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

from pymongo.errors import ExecutionTimeout, OperationFailure

from syncd.contract.read.load import load_contract_set
from syncd.contract.several import OF
from syncd.daemon.supervisor import Runner
from syncd.errors import ContractError, RequestError, SyncdError, UnknownContractError
from syncd.ops.actions import query_of
from syncd.ops.api import OF_CONTRACT, Answer, Asked, Body, Endpoint
from syncd.ops.console.servers import Servers
from syncd.ops.planning.plan import plan_edit
from syncd.ops.planning.step import Step
from syncd.plan.stream_plan import StreamPlan
from syncd.settings import Settings, contract_environment
from syncd.stores.messages import of_mongo
from syncd.stores.mongo.store import translated

LONGEST_MS = 5_000
"""A person waits."""
WAIT_S = 5.0
"""A plan may take longer than a request may: then the page asks again."""
KEEP_S = 10.0


class Where(Body):
    """See `Questions.count`."""

    where: dict[str, Any]


class _Planning(threading.Thread):
    """What a daemon would do that takes up the files as they are now."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(name="plan", daemon=True)
        self._settings = settings
        self.done = threading.Event()
        self.ended = float("inf")
        self.steps: list[Step] = []
        self.error: SyncdError | None = None

    def run(self) -> None:
        """Make the plan."""
        contracts, env = self._settings.contracts, contract_environment()
        try:
            files = load_contract_set(contracts, env)
            self.steps = plan_edit(files, self._settings, env, is_whole=contracts.is_dir()).steps
        except ContractError as error:
            self.error = RequestError(f"the files of this daemon are refused: {error.problems[0]}")
        except SyncdError as error:
            self.error = error
        finally:
            self.ended = time.monotonic()
            self.done.set()


class Questions:
    """Of one daemon."""

    def __init__(self, runner: Runner, settings: Settings, servers: Servers) -> None:
        self._runner, self._settings, self._servers = runner, settings, servers
        self._lock = threading.Lock()
        self._planning: _Planning | None = None

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """All of them."""
        return (
            Endpoint(
                OF_CONTRACT + "/plan", None,
                "What a daemon would do that takes up its files now. Without `steps` it takes longer: ask again.",
                self._plan,
            ),
            Endpoint(
                OF_CONTRACT + "/snapshot/count", Where,
                "How many documents match a filter; refused where MongoDB refuses it.", self._count, asks=True,
            ),
        )  # fmt: skip

    def _plan(self, asked: Asked) -> Answer:
        with self._lock:
            plan = self._planning
            if plan is None or plan.ended + KEEP_S < time.monotonic():
                plan = self._planning = _Planning(self._settings)
                plan.start()
        if not plan.done.wait(WAIT_S):
            return 202, {"steps": None}
        if plan.error is not None:
            raise plan.error
        steps = [one for one in plan.steps if one.contract.partition(OF)[0] == asked.contract]
        if not steps:
            raise UnknownContractError(f"contract {asked.contract} is not among the files of this daemon")
        return 200, {"steps": [self._said(one) for one in steps]}

    def _said(self, step: Step) -> dict[str, Any]:
        """Without keys, unless a setting allows them."""
        said = step.as_dict()
        if not self._settings.console_values:
            said["findings"] = [one for one in said["findings"] if one["level"] != "data"]
            said["keys_that_go"] = [{**one, "samples": []} for one in said["keys_that_go"]]
        return said

    def _count(self, asked: Asked) -> Answer:
        plan = self._runner.plans.get(asked.contract)
        if not isinstance(plan, StreamPlan):
            raise UnknownContractError(f"contract {asked.contract} does not copy documents in this daemon")
        query = query_of(json.dumps(asked.body.where))
        wanted = query if plan.filter is None else {"$and": [dict(plan.filter), query]}
        database, name = plan.namespace
        collection = self._servers.mongo.client[database][name]
        with translated():
            try:
                collection.find_one({"$and": [{"_id": {"$in": []}}, wanted]}, max_time_ms=LONGEST_MS)
            except OperationFailure as error:
                raise RequestError(f"MongoDB refuses the filter: {of_mongo(error)}") from None
            try:
                return 200, {"documents": collection.count_documents(wanted, maxTimeMS=LONGEST_MS)}
            except ExecutionTimeout:
                return 200, {"documents": None, "why": "MongoDB did not count them in time"}
            except OperationFailure:
                return 200, {
                    "documents": None,
                    "why": "the filter fails on some documents, which are left out",
                }

"""From keys and entries to documents, by the plan and the statements of a lane. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import bson
from bson.datetime_ms import DatetimeMS
from bson.raw_bson import RawBSONDocument

from syncd.errors import ProjectionError, why_unfit
from syncd.plan.both.plan import TwoWayPlan
from syncd.plan.to_mongo.append import AppendPlan
from syncd.plan.to_mongo.state import FoundKey, StatePlan, StateUpdate
from syncd.plan.values.bson_values import CODEC
from syncd.preview.outcome import DeadShown, Outcome
from syncd.to_mongo.state.positions import NEVER
from syncd.to_mongo.state.statements import Change, document

_OWN = "_syncd"
"""What syncd notes in a document for itself; no application needs it."""


def outcome_of_key(plan: StatePlan | TwoWayPlan, key: bytes, found: FoundKey) -> Outcome:
    """The document that a key becomes, where there is none yet, or why it does not."""
    state = plan.state if isinstance(plan, TwoWayPlan) else plan
    outcome = Outcome(key.decode(errors="backslashreplace"))
    if why := state.why_not(key):
        outcome.notes.append(f"left out: {why}")
        return outcome
    if not found.is_there:
        outcome.missing = True
        return outcome
    try:
        update = _of_both(plan, found) if isinstance(plan, TwoWayPlan) else state.update_of(key, found)
        whole = document(Change(key, state.document_id(key), NEVER, update), "")
    except Exception as error:  # noqa: BLE001 - as a lane: any error is that of this key
        outcome.dead_letters.append(_dead(state.projection, error))
        return outcome
    outcome.document, outcome.unset = _decoded(whole), update.unset
    return outcome


def _of_both(plan: TwoWayPlan, found: FoundKey) -> StateUpdate:
    """Of a key and no document: nothing is merged."""
    values = plan.of_key(found) or {}
    update = StateUpdate({}, [])
    for field in plan.fields:
        if field.name in values:
            update.set[field.path] = values[field.name].content
        else:
            update.unset.append(field.path)
    return update


def outcome_of_entry(plan: AppendPlan, entry: str, said: Mapping[bytes, bytes] | None) -> Outcome:
    """The document that an entry of a stream becomes, or why it does not. None: it is not there."""
    outcome = Outcome(entry, missing=said is None)
    try:
        if said is not None:
            outcome.document = _decoded(plan.document(entry, said))
            _check_time(plan, outcome.document)
    except Exception as error:  # noqa: BLE001 - as a lane: any error is that of this entry
        outcome.document = None
        outcome.dead_letters.append(_dead(plan.projection, error))
    return outcome


def _check_time(plan: AppendPlan, made: Mapping[str, Any]) -> None:
    """What MongoDB would say to a document of a time series."""
    series = plan.contract.mongo.timeseries
    if series is not None and not isinstance(made.get(series.time_field), DatetimeMS):
        what = f"a time series takes no document without a date at `{series.time_field}`"
        raise ProjectionError("document_refused", what)


def _decoded(raw: RawBSONDocument) -> dict[str, Any]:
    found = bson.decode(raw.raw, CODEC)
    found.pop(_OWN, None)
    return found


def _dead(projection: str, error: Exception) -> DeadShown:
    why = why_unfit(error)
    return DeadShown(projection, why.reason, why.detail)

"""What an edit of each key of a contract means for those who read the keys in Redis: for every key, one rule.

Readers are applications that read the keys, or search them; where data goes to MongoDB also those that read the
documents, and those that write the keys. A rule decides in their favour where it cannot know.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, get_args

from syncd.contract.diff.filters import is_wider
from syncd.contract.diff.verdict import Verdict
from syncd.contract.model.redis.projection import ChangeOp

MAJOR, MINOR, PATCH = Verdict.MAJOR, Verdict.MINOR, Verdict.PATCH
_EVERY = get_args(ChangeOp)


@dataclass(frozen=True, slots=True)
class Edit:
    """One key with another value than before; None: it is not there."""

    old: Any
    new: Any
    old_in: Any = None
    """What holds the key: a part of the model."""
    new_in: Any = None


Judgement: TypeAlias = tuple[Verdict, str]
"""And what follows for readers, in words."""
Rule: TypeAlias = Callable[[Edit], Judgement | None]
"""None: another key of the same edit says it already, or it is no edit."""


def always(verdict: Verdict, why: str) -> Rule:
    """Whatever it was and is."""
    return lambda _: (verdict, why)


def _gained_lost(gained: Judgement, lost: Judgement, other: Judgement | None = None) -> Rule:
    """By whether it was not there before, or is not any more."""

    def rule(edit: Edit) -> Judgement:
        if not edit.old:
            return gained
        return (other or lost) if edit.new else lost

    return rule


def _limit(less: str, more: str) -> Rule:
    """A number, of which none means no limit: less of it takes something away."""

    def rule(edit: Edit) -> Judgement:
        old, new = (float("inf") if value is None else value for value in (edit.old, edit.new))
        return (MAJOR, less) if new < old else (MINOR, more)

    return rule


def _names(gained: Judgement, lost: Judgement) -> Rule:
    """A list of names."""

    def rule(edit: Edit) -> Judgement:
        old, new = set(edit.old or ()), set(edit.new or ())
        return max(
            ([gained] if new - old else []) + ([lost] if old - new else []),
            default=(PATCH, "it names the same"),
        )

    return rule


def _flag(gained: Judgement, lost: Judgement) -> Rule:
    return lambda edit: gained if edit.new else lost


def _filter(edit: Edit) -> Judgement:
    if is_wider(edit.old, edit.new):
        return MINOR, "more documents have keys"
    what = (
        "documents that had keys lose them"
        if is_wider(edit.new, edit.old)
        else "some documents may lose their keys"
    )
    return MAJOR, what


def _collection(edit: Edit) -> Judgement:
    old, new = ({one} if isinstance(one, str) else set(one) for one in (edit.old, edit.new))
    return (MINOR, "documents of more collections have keys") if old <= new else (
        MAJOR, "the keys show other documents"
    )  # fmt: skip


def _source(edit: Edit) -> Judgement | None:
    """`from` and `expr`: one of them is there."""
    old, new = edit.old_in, edit.new_in
    if (old.from_ is None) != (new.from_ is None) and edit.new is None:
        return None
    if new.type == "vector":
        return MAJOR, "vectors of another source are not near the old ones"
    if new.type is None or new.type != old.type:
        return MAJOR, "what readers get may be of another type; state its `type`, and it is not"
    return MINOR, "the value comes from another place, of the same type"


def _round(edit: Edit) -> Judgement | None:
    if (edit.old is False) is (edit.new is False):
        return None
    return (MAJOR, "documents with a finer moment become dead letters") if edit.new is False else (
        MINOR, "documents with a finer moment have keys"
    )  # fmt: skip


def _ttl(edit: Edit) -> Judgement:
    old, new = edit.old, edit.new
    if new is None:
        return MINOR, "keys do not expire any more"
    if old is None:
        return MAJOR, "keys expire"
    if not (isinstance(old, int) and isinstance(new, int)):
        return MAJOR, "keys expire at another time"
    return (MAJOR, "keys expire sooner") if new < old else (MINOR, "keys stay longer")


def _fields(edit: Edit) -> Judgement:
    """From some fields to the whole document or back."""
    if edit.old is None or edit.new is None:
        return MAJOR, "the key holds something else"
    if edit.new_in.whole and not edit.old_in.whole:
        same = all(spec.from_ == name for name, spec in (edit.old or {}).items())
        return (MINOR, "all fields of the document are there") if same else (
            MAJOR, "fields that had a name of their own are called as in the document"
        )  # fmt: skip
    return MAJOR, "only the fields that are named are left"


def _authority(edit: Edit) -> Judgement | None:
    return _MONGO_DECIDES(Edit(*(one.mongo if one else () for one in (edit.old, edit.new))))


def _direction(edit: Edit) -> Judgement:
    if (edit.old, edit.new) == ("mongo_to_redis", "both"):
        return MINOR, "what applications write to the keys goes to MongoDB"
    return MAJOR, "other changes count than before: those of one side are not seen any more, or overwritten"


def _capture(edit: Edit) -> Judgement:
    if edit.new == "outbox":
        return MAJOR, "who writes a key has to note it in the outbox"
    return PATCH, "changes are found in another way"


def _algorithm(edit: Edit) -> Judgement:
    if edit.new == "flat":
        return MAJOR, "queries with EF_RUNTIME or EPSILON fail"
    return MINOR, "searches are approximate"


NO_EDIT = always(PATCH, "nothing changes for readers")
OPERATIONS = always(PATCH, "nothing changes for readers")
_OTHER_TYPE = always(MAJOR, "readers get another type")
_OTHER_KEYS = always(MAJOR, "readers find nothing under the old keys")
_OTHER_PLACE = always(MINOR, "the value comes from another place, of the same type")
_RANKED = always(MINOR, "searches may find and rank otherwise")
_TUNED = always(PATCH, "searches are faster, slower, or a little more or less exact")
_SEARCHABLE = _flag((MINOR, "searches can do more"), (MAJOR, "searches can do less"))
_MONGO_DECIDES = _names(
    (MAJOR, "what applications write to these fields is undone"),
    (MINOR, "applications may change more fields"),
)
_EVENTS = _names(
    (MINOR, "more changes have entries"), (MAJOR, "changes of some kinds have no entries any more")
)
ENTRIES = _gained_lost(
    (MINOR, "readers may use it"),
    (MAJOR, "readers do not find it any more"),
    (MAJOR, "it comes from another place"),
)

_OF_A_FIELD: Mapping[str, Rule] = {
    "from": _source,
    "expr": _source,
    "type": _OTHER_TYPE,
    "dims": always(MAJOR, "vectors have another length"),
    "datatype": always(MAJOR, "vectors are other bytes"),
    "round": _round,
    "on_error": always(MAJOR, "values that do not fit become something else, or their documents have no key"),
    "mask": _gained_lost(
        (MAJOR, "readers get a masked value"), (MAJOR, "readers get the value itself, which was masked"),
        (MAJOR, "readers get another masked value"),
    ),
    "null": always(MAJOR, "readers get something else for a null"),
}  # fmt: skip

_OF_AN_INDEX: Mapping[str, Rule] = {
    "name": always(MAJOR, "searches by the old name fail"),
    "fields": ENTRIES,
    "stopwords": _RANKED,
    "language": _RANKED,
    "generations": always(MINOR, "clients that list indexes see another real name"),
    "keep_old": OPERATIONS,
    "fields.*.name": ENTRIES,
    "fields.*.path": always(MAJOR, "searches read another value"),
    "fields.*.type": always(MAJOR, "queries on it have to be written in another way"),
    "fields.*.attrs": NO_EDIT,  # each of them is a key of its own
    "fields.*.attrs.weight": _RANKED,
    "fields.*.attrs.no_stem": _RANKED,
    "fields.*.attrs.withsuffixtrie": _TUNED,
    "fields.*.attrs.phonetic_matcher": _gained_lost((MINOR, "searches find more"), (MAJOR, "searches find less")),
    "fields.*.attrs.sortable": _SEARCHABLE,
    "fields.*.attrs.unf": _RANKED,
    "fields.*.attrs.no_index": _flag((MAJOR, "searches can do less"), (MINOR, "searches can do more")),
    "fields.*.attrs.index_missing": _SEARCHABLE,
    "fields.*.attrs.index_empty": _SEARCHABLE,
    "fields.*.attrs.separator": always(MAJOR, "labels are cut in another way"),
    "fields.*.attrs.case_sensitive": always(MAJOR, "other queries match"),
    "fields.*.attrs.dims": always(MAJOR, "vectors of queries need another length"),
    "fields.*.attrs.algorithm": _algorithm,
    "fields.*.attrs.distance_metric": always(MAJOR, "distances mean something else"),
    "fields.*.attrs.datatype": always(MAJOR, "vectors of queries are other bytes"),
    "fields.*.attrs.initial_cap": _TUNED,
    "fields.*.attrs.block_size": _TUNED,
    "fields.*.attrs.m": _TUNED,
    "fields.*.attrs.ef_construction": _TUNED,
    "fields.*.attrs.ef_runtime": _TUNED,
    "fields.*.attrs.epsilon": _TUNED,
}  # fmt: skip

_OF_A_PROJECTION: Mapping[str, Rule] = {
    "projection": always(PATCH, "the keys are the same; metrics, dead letters and consumers use the new name"),
    "type": always(MAJOR, "readers need other commands"),
    "each": always(MAJOR, "other elements have keys"),
    "key": _OTHER_KEYS,
    "key_values": _OTHER_KEYS,
    "key_types": _OTHER_KEYS,
    "ttl": _ttl,
    "ttl.field": always(MAJOR, "keys expire at another time"),
    "fields": _fields,
    **{f"fields.*.{name}": rule for name, rule in _OF_A_FIELD.items()},
    "fields.*.ttl": _ttl,
    "fields.*.ttl.field": always(MAJOR, "the field expires at another time"),
    "value": always(MAJOR, "the key holds something else"),
    **{f"value.{name}": rule for name, rule in _OF_A_FIELD.items()},
    "keep": _gained_lost((MAJOR, "less is kept"), (MINOR, "all is kept"), (MAJOR, "something else is kept")),
    "keep.first": _limit("less is kept", "more is kept"),
    "keep.last": _limit("less is kept", "more is kept"),
    "keep.highest": _limit("less is kept", "more is kept"),
    "keep.lowest": _limit("less is kept", "more is kept"),
    "keep.entries": _limit("less is kept", "more is kept"),
    "keep.age": _limit("less is kept", "more is kept"),
    "events": lambda edit: _EVENTS(Edit(edit.old or _EVERY, edit.new or _EVERY)),
    "copy": _flag((MINOR, "a copy writes entries too"), (MAJOR, "a copy writes no entries")),
    "member": always(MAJOR, "members have other names"),
    "score": _OTHER_PLACE,
    "expire": _gained_lost(
        (MAJOR, "members expire"), (MINOR, "members do not expire any more"), (MAJOR, "members expire at another time")
    ),
    "expire.field": always(MAJOR, "members expire at another time"),
    "position": _OTHER_PLACE,
    "vector": always(MAJOR, "vectors are not near the old ones"),
    "vector.from": always(MAJOR, "vectors of another source are not near the old ones"),
    "vector.dims": always(MAJOR, "vectors have another length"),
    "quantisation": _RANKED,
    "share": _flag(
        (MINOR, "the hash may hold fields of others as well"), (MAJOR, "the fields that others have in the hash go")
    ),
    "attributes": ENTRIES,
    "time": _OTHER_PLACE,
    "labels": ENTRIES,
    "retention": _limit("samples go sooner", "samples stay longer"),
    "index": _gained_lost((MINOR, "the keys can be searched"), (MAJOR, "searches fail")),
    **{f"index.{name}": rule for name, rule in _OF_AN_INDEX.items()},
}  # fmt: skip

RULES: Mapping[str, Rule] = {
    "apiVersion": NO_EDIT,
    "kind": NO_EDIT,
    "metadata": NO_EDIT,
    "metadata.name": always(PATCH, "metrics, records and commands use the new name"),
    "metadata.version": always(PATCH, "only the number changes"),
    "metadata.owner": OPERATIONS,
    "metadata.description": OPERATIONS,
    "mongo": NO_EDIT,
    "mongo.collection": _collection,
    "mongo.filter": _filter,
    "mongo.unique": OPERATIONS,
    "mongo.with": _gained_lost(
        (MINOR, "fields may show what it joins"), (MAJOR, "paths through it are of the document itself")
    ),
    "mongo.with.*.collection": always(MAJOR, "fields show other documents"),
    "mongo.with.*.on": always(MAJOR, "fields show other documents"),
    "mongo.with.*.fields": _names(
        (MINOR, "more of it can be shown"), (MAJOR, "fields that showed it go")
    ),
    "mongo.timeseries": always(MAJOR, "documents are in another kind of collection"),
    "mongo.timeseries.time_field": always(MAJOR, "documents have their time in another field"),
    "mongo.timeseries.meta_field": always(MAJOR, "documents belong to other series"),
    "mongo.timeseries.granularity": OPERATIONS,
    "mongo.timeseries.expire_after": _limit("documents go sooner", "documents stay longer"),
    "redis": ENTRIES,
    **{f"redis.*.{name}": rule for name, rule in _OF_A_PROJECTION.items()},
    "sync": NO_EDIT,
    "sync.direction": _direction,
    "sync.capture": _capture,
    "sync.on_delete": always(MAJOR, "what was deleted shows in another way"),
    "sync.on_expire": always(MAJOR, "what expired shows in another way"),
    "sync.on_conflict": always(MINOR, "another side may win a conflict"),
    "sync.authority": _authority,
    "sync.authority.mongo": _MONGO_DECIDES,
    "sync.authority.redis": always(MINOR, "changes in MongoDB count for other fields"),
    "sync.conflicts": OPERATIONS,
    "sync.outbox_max": OPERATIONS,
    "sync.on_drop": OPERATIONS,
    "sync.adopt": OPERATIONS,
    "sync.sweep_limit": OPERATIONS,
    "sync.apply": OPERATIONS,
    "sync.dead_letters": OPERATIONS,
    "sync.dead_letters.keep": OPERATIONS,
    "sync.dead_letters.when_full": OPERATIONS,
    "sync.on_unresumable_position": OPERATIONS,
    "slo": _gained_lost((MINOR, "a freshness is promised"), (MAJOR, "no freshness is promised any more")),
    "slo.freshness": lambda edit: (
        (MAJOR, "keys may be older than promised before") if edit.new > edit.old else (MINOR, "keys are fresher")
    ),
    "reconcile": OPERATIONS,
    **{
        f"reconcile.{name}": OPERATIONS
        for name in (
            "schedule", "every", "jitter", "check", "mode", "max_documents_per_second", "quiet_hours",
            "read_preference",
        )
    },
    "consumers": OPERATIONS,
    "consumers.*.team": OPERATIONS,
    "consumers.*.reads": OPERATIONS,
}  # fmt: skip

"""The Redis types that syncd knows: a module each, and the one list of them.

CONTRIBUTING.md says what belongs to a new one.
"""

from __future__ import annotations

from syncd.contract.model.redis.projection import Projection
from syncd.plan.types.base import Captured, CapturedMembers, DataType, Form, Merged, Need, Written
from syncd.plan.types.expiring_hash import EXPIRING_HASH
from syncd.plan.types.geo import GEO_SET
from syncd.plan.types.hash import HASH
from syncd.plan.types.json import JSON
from syncd.plan.types.list import LIST
from syncd.plan.types.members.base import SHARED, MemberForm, Memberships, unpacked
from syncd.plan.types.members.captured_samples import CapturedSamples
from syncd.plan.types.members.shared_hash import SharedFields
from syncd.plan.types.set import SET
from syncd.plan.types.size import Size, size_of
from syncd.plan.types.stream import STREAM
from syncd.plan.types.string import STRING
from syncd.plan.types.timeseries import TIME_SERIES
from syncd.plan.types.vectorset import VECTOR_SET
from syncd.plan.types.zset import ZSET

__all__ = [
    "NEEDS", "SHARED", "TYPES", "Captured", "CapturedMembers", "CapturedSamples", "DataType", "Form", "MemberForm",
    "Memberships", "Merged", "Need", "SharedFields", "Size", "Written", "captured", "expiring_fields", "merged",
    "redis_type", "shared", "size_of", "type_of", "unpacked", "written",
]  # fmt: skip

SHARED_FIELDS = SharedFields()
"""The form of a hash that several projections share, with fields of its own each."""
TYPES = {
    one.name: one for one in (HASH, JSON, STRING, LIST, SET, ZSET, STREAM, GEO_SET, VECTOR_SET, TIME_SERIES)
}
NEEDS = [one.need for one in (*TYPES.values(), EXPIRING_HASH) if one.need is not None]
"""What some contracts need of a server."""


def type_of(projection: Projection) -> DataType:
    """The type of a projection's keys, by all that the contract says of them."""
    return EXPIRING_HASH if expiring_fields(projection) else TYPES[projection.type]


def expiring_fields(projection: Projection) -> dict[str, str]:
    """The fields that expire by themselves, and the path of the date."""
    return {name: spec.ttl.field for name, spec in (projection.fields or {}).items() if spec.ttl}


def redis_type(name: str) -> str:
    """What `TYPE` says of keys of this type, by its name in contracts. Records of another version of syncd may hold a
    name that this one does not know: then that."""
    known = TYPES.get(name.removesuffix(SHARED))
    return known.redis if known else name


def written(projection: Projection) -> Written:
    """The form of keys that syncd writes, of a projection that passed its checks."""
    form = _form(projection)
    assert isinstance(form, Written), f"{projection.type} is not written"
    return form


def shared(projection: Projection) -> MemberForm:
    """The form of members of keys that documents share."""
    form = _form(projection)
    assert isinstance(form, MemberForm), f"{projection.type} has no members"
    return form


def captured(projection: Projection) -> Captured:
    """The same of keys that go to MongoDB."""
    form = _form(projection) if projection.time is None else type_of(projection).each_member
    assert isinstance(form, Captured), f"{projection.type} is not captured"
    return form


def merged(projection: Projection) -> Merged:
    """The same of keys that go both ways."""
    form = _form(projection)
    assert isinstance(form, Merged), f"{projection.type} is not merged"
    return form


def _form(projection: Projection) -> Form | None:
    if projection.share:
        return SHARED_FIELDS
    one = type_of(projection)
    if projection.each_member:
        return one.each_member
    if projection.is_shared:
        return one.member
    return one.fields if projection.value is None else one.value

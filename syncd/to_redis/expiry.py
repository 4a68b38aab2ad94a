"""Removes members whose deadline has passed from keys that documents share."""

from __future__ import annotations

from syncd import telemetry
from syncd.plan.to_redis.member_shape import MemberShape
from syncd.to_redis.context import RunContext

MOST_AT_ONCE = 500
"""Documents."""


class MemberExpiry:
    """Of one lane."""

    def __init__(self, run: RunContext) -> None:
        lane = run.lane
        self._contract, self._lease = lane.plan.name, lane.lease
        shapes = [shape for shape in lane.plan.shapes if isinstance(shape, MemberShape) and shape.expires]
        self._shapes = shapes if lane.control.partition.leads else []

    def remove(self) -> bool:
        """Some of those that are due. Returns whether there may be more."""
        is_more = False
        for shape in self._shapes:
            for lease in self._lease.parts:
                names = lease.keys.members, lease.keys.deadlines
                args = [name(shape.name, shape.template.text) for name in names]
                _, documents, members = lease.call("syncd_take_due", [], [*args, MOST_AT_ONCE])
                telemetry.members_expired(self._contract, shape.name, int(members))
                is_more = is_more or int(documents) > 0
        return is_more

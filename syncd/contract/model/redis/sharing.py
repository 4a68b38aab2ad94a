"""What a projection says that writes fields of hashes which others write too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from syncd.contract.model.redis.redis_types import TYPE_RULES

if TYPE_CHECKING:
    from syncd.contract.model.redis.projection import Projection

_REMEDIES = {
    "ttl": "write `ttl` of the single fields, such as {name: {from: name, ttl: {field: until}}}",
    "whole": "name the fields, for no other projection may have one of them",
    "each": "write one projection without `share` for the elements",
    "index": "leave it out",
}
"""What would be about the whole hash."""


def check_share(projection: Projection) -> None:
    """That what stands beside `share` is about single fields. Raises ValueError."""
    if not projection.share:
        return
    kind = projection.type
    if not TYPE_RULES[kind].field_ttl:
        known = ", ".join(f"type: {name}" for name, rules in TYPE_RULES.items() if rules.field_ttl)
        raise ValueError(f"a {kind} has no fields that projections could share|write {known}")
    for key, remedy in _REMEDIES.items():
        if getattr(projection, key):
            shown = "fields: all" if key == "whole" else key
            raise ValueError(f"`{shown}` beside `share`: the hash is not this projection's alone|{remedy}")

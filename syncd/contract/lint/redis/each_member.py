"""Rules about contracts that make a document of each member of a key."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from syncd.contract.lint.keys import Keys, cannot_be_taken_apart, keys_of
from syncd.contract.lint.sync.state import parts_can_be_fields
from syncd.contract.model.redis.redis_types import TYPE_RULES
from syncd.contract.model.redis.template import TemplateError, source_template_of
from syncd.contract.read.loaded import LoadedContract
from syncd.errors import Problem


def _each_member(contracts: Sequence[LoadedContract]) -> Iterator[Keys]:
    """With the template of what becomes a document."""
    for keys in keys_of(contracts):
        if keys.projection.each_member and keys.contract.sound("redis", keys.at, "member"):
            try:
                yield replace(keys, template=source_template_of(keys.projection))
            except TemplateError:
                continue


def members_are_noted(contracts: Sequence[LoadedContract]) -> Iterator[Problem]:
    """An event names a key, and to find out which of its members changed all would have to be compared."""
    for keys in _each_member(contracts):
        if not keys.contract.sound("sync"):
            continue
        sync, place = keys.contract.contract.sync, ("redis", keys.at, "each")
        if sync.direction == "mongo_to_redis":
            what = "`each: member` beside `member` is for `direction: redis_to_mongo`"
            yield keys.contract.problem_at_key(place, what, "leave it out, or turn the direction")
        elif sync.capture == "keyspace":
            what = "`each: member` with `capture: keyspace`, whose events do not say which member changed"
            yield keys.contract.problem_at_key(place, what, "write capture: outbox, whose entries do")


def members_can_become_documents(contracts: Sequence[LoadedContract]) -> Iterator[Problem]:
    """Of a type that is read member by member, and whole."""
    for keys in _each_member(contracts):
        contract, projection = keys.contract, keys.projection
        if contract.sound("redis", keys.at, "type") and not TYPE_RULES[projection.type].captured:
            what = f"`each: member` of a {projection.type}"
            yield contract.problem_at_key(("redis", keys.at, "each"), what, "write type: zset, or set")
        if projection.expire is not None:
            what = "`expire` beside `each: member`: the application says until when one is a member"
            yield contract.problem_at_key(("redis", keys.at, "expire"), what, "leave it out")


def members_have_names(contracts: Sequence[LoadedContract]) -> Iterator[Problem]:
    """Key and member together say which document it is, and can be told apart."""
    for keys in _each_member(contracts):
        if keys.contract.contract.sync.direction != "redis_to_mongo":
            continue
        paths, member = keys.template.paths, ("redis", keys.at, "member")
        of_key = [
            one
            for keys_ in keys_of([keys.contract])
            if keys_.at == keys.at
            for one in keys_.template.placeholders
        ]
        if any(one.starred for one in of_key):
            what = f"a starred placeholder in {keys.shown}, whose values could hold the colon before a member"
            yield keys.problem(what, "leave out the star, and write a placeholder for each part")
        elif any(one.many for one in keys.template.placeholders):
            yield keys.problem(f"an array in {keys.shown}, or in the member", "write paths without `[]`")
        elif len(paths) == len(of_key):
            what = "a member without a placeholder"
            yield keys.contract.problem(member, what, 'write one, such as member: "{user}"')
        elif "_id" in paths and len(paths) > 1:
            what = "`_id` in a member that may be in several keys"
            yield keys.contract.problem(
                member, what, "give it another name; the `_id` is the key, a colon and the member"
            )
        elif not keys.template.separated:
            yield cannot_be_taken_apart(keys)
        elif paths != ("_id",):
            yield from parts_can_be_fields(keys)


RULES = (members_are_noted, members_can_become_documents, members_have_names)

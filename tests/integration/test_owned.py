"""What contracts say that they wrote, through edits, handovers, evictions and removals in random order."""

from __future__ import annotations

import json
import random
from itertools import count

from redis import Redis

from syncd.stores.redis.records.claims import CLAIMS
from syncd.stores.redis.records.orphans import remove_records
from syncd.stores.redis.records.position import ControlKeys
from syncd.stores.redis.store import RedisStore
from tests.integration.test_claims import Daemon, tell_roster
from tests.support.scale import SCALE

TEMPLATES = ("x:{slug}", "x:a{slug}", "x:b{slug}", "y:{_id}", "w:{_id}")
MEET = {"x:{slug}": {"x:a{slug}", "x:b{slug}"}, "x:a{slug}": {"x:{slug}"}, "x:b{slug}": {"x:{slug}"}}
"""What may have the same keys."""
NAMES = ("a", "b", "c")
STEPS = 30
SEEDS = 25 * SCALE


class Contracts:
    """Three contracts; `wrote` has for each the templates of which keys may be there that it wrote, and `known` those
    that it has to know, because not all that said so was evicted at once."""

    def __init__(self, store: RedisStore, redis: Redis, token: str, seed: int) -> None:
        self.store, self.redis, self.token, self.random = store, redis, token, random.Random(seed)
        self.wrote: dict[str, set[str]] = {name: set() for name in NAMES}
        self.known: dict[str, set[str]] = {name: set() for name in NAMES}
        self.lost: dict[str, set[str]] = {name: set() for name in NAMES}
        self.unsaid: dict[str, set[str]] = {name: set() for name in NAMES}
        """Claimed by a daemon that was gone before it stored its position, and so wrote nothing."""
        self.versions = count(1)
        self.log: list[str] = [f"seed {seed}"]
        tell_roster(store, token, "one", *NAMES)

    def position(self, name: str) -> str:
        return ControlKeys(f"{self.token}-{name}").position

    def owned(self, name: str) -> list[list[str]]:
        found: list[list[str]] = json.loads(self.redis.hget(self.position(name), "owned") or "[]")
        return found

    def passing(self, name: str, templates: set[str]) -> set[str]:
        """Of which templates the contract is going to remove keys because it takes claims of others that do."""
        in_the_way = templates.union(*(MEET.get(one, set()) for one in templates))
        prefix = f"key {self.token}:"
        claims = {
            claim.decode().removeprefix(prefix): json.loads(said)
            for claim, said in self.redis.hgetall(CLAIMS).items()
            if claim.startswith(prefix.encode())
        }
        taken = {
            template: claim
            for template, claim in claims.items()
            if template in in_the_way and claim["contract"] != f"{self.token}-{name}"
        }
        was = {
            entry[1].removeprefix(f"{self.token}:")
            for claim in taken.values()
            for entry in claim.get("was", [])
        }
        return {*taken, *was} - (claims.keys() - taken.keys())

    def edit(self, name: str) -> None:
        """A daemon with a new version of the contract takes the lease, and comes this far or less."""
        templates = set(self.random.sample(TEMPLATES, self.random.randint(1, 2)))
        templates -= set().union(*(MEET.get(one, set()) for one in templates if one == "x:{slug}"))  # refused
        kind = self.random.choice(["hash", "json"])
        self.log.append(f"{name} has {sorted(templates)} {kind}")
        passing = self.passing(name, templates)
        lease = Daemon(self.store, self.token).take(
            name, *templates, version=f"{next(self.versions)}", type=kind
        )
        self.wrote[name] |= passing & set().union(*self.wrote.values())
        for other in {*NAMES} - {name}:
            self.wrote[other] -= templates | passing
            self.known[other] -= templates | passing
        if len(self.lost[name]) == 2:
            self.known[name] = set()
        self.lost[name] = set()
        have = self.owned(name)
        said = {template.removeprefix(f"{self.token}:") for _, template, _ in have}
        assert said <= self.wrote[name] | templates, self.log
        assert self.known[name] - templates <= said, self.log
        self.wrote[name] |= templates
        mine = [["card", f"{self.token}:{template}", kind] for template in sorted(templates)]
        left = [entry for entry in have if entry not in mine]
        if self.random.random() >= 0.8:
            self.unsaid[name] |= templates
        else:
            self.known[name] |= templates
            for template in templates:
                lease.note_foreign(f"{self.token}:{template}", "done")
            self.store_position(name, mine + left, "snapshot")
            if self.random.random() < 0.5:
                self.log.append("its copy ends")
                lease.forget_removed(left)
                self.store_position(name, mine, "stream")
                self.wrote[name], self.known[name] = templates | self.unsaid[name], set(templates)
        lease.release()

    def store_position(self, name: str, owned: list[list[str]], phase: str) -> None:
        self.redis.hset(self.position(name), mapping={"owned": json.dumps(owned), "phase": phase})

    def evict_claims(self, _: str) -> None:
        self.log.append("the claims are evicted")
        self.redis.delete(CLAIMS)
        for name in NAMES:
            self.lost[name].add("claims")

    def evict_position(self, name: str) -> None:
        self.log.append(f"the position of {name} is evicted")
        self.redis.delete(self.position(name))
        self.lost[name].add("position")

    def remove(self, name: str) -> None:
        """Without its keys, which stay."""
        self.log.append(f"{name} is removed")
        tell_roster(self.store, self.token, "one", *(other for other in NAMES if other != name))
        remove_records(self.store, f"{self.token}-{name}")
        self.wrote[name], self.known[name], self.lost[name] = set(), set(), set()
        tell_roster(self.store, self.token, "one", *NAMES)


def test_what_a_contract_says_that_it_wrote(store: RedisStore, client: Redis, token: str) -> None:
    """no_ghosts: whatever is edited, handed over, evicted and removed, a contract says of no template that it wrote its
    keys which another one has taken since, or whose keys it has removed; and it forgets none while its claims or its
    position are left."""
    for seed in {*range(SEEDS), 159, 298}:
        contracts = Contracts(store, client, f"{token}s{seed}", seed)
        steps = [contracts.edit] * 7 + [contracts.evict_claims, contracts.evict_position, contracts.remove]
        for _ in range(STEPS):
            contracts.random.choice(steps)(contracts.random.choice(NAMES))
        client.delete(CLAIMS)

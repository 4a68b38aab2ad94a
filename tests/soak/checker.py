"""The last word: every document of every collection against every key of every contract."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.soak.contracts import DIGESTED, SHORTS, STATUS, TOKEN, names, prefix
from tests.soak.documents import Document
from tests.soak.projection import ask, content, key, same, scan, understood
from tests.soak.stage import Stage
from tests.support.shapes.digests import unknown_of

PAGE = 500
LAST_VERSION = 1_000_000_000
"""Above every version that a writer gives."""
POLL_S = 0.5


@dataclass
class Comparison:
    """Keys that are wrong, with what they should hold and do hold; `excused`: evicted, and not written since."""

    documents: int = 0
    keys: int = 0
    missing: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
    different: dict[str, Any] = field(default_factory=dict)
    excused: list[tuple[str, Any]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.missing or self.extra or self.different)

    def counts(self) -> dict[str, int]:
        return {
            "documents": self.documents,
            "keys": self.keys,
            "missing": len(self.missing),
            "extra": len(self.extra),
            "different": len(self.different),
        }


class Checker:
    """`evicted`: key -> the version that it showed when it was taken away. Only as long as its document has that
    version may it be missing: syncd promises that it comes back with the next change."""

    def __init__(self, stage: Stage, evicted: Mapping[str, int]) -> None:
        self._stage = stage
        self._evicted = evicted
        self._touched = LAST_VERSION

    def wait_in_sync(self, timeout: float) -> Comparison:
        """Compare until nothing is wrong, or time is up."""
        deadline = time.monotonic() + timeout
        while (found := self.compare()) and time.monotonic() < deadline:
            time.sleep(POLL_S)
        return found

    def touch(self, comparison: Comparison) -> int:
        """Change the documents whose keys were evicted, which must bring them back; how many."""
        for short, identity in comparison.excused:
            self._touched += 1
            number = {"v": self._touched, "w": self._touched}
            self._stage.mongo[TOKEN][short].update_one({"_id": identity}, {"$set": number})
        return len(comparison.excused)

    def compare(self) -> Comparison:
        result = Comparison()
        for short in SHORTS:
            self._compare(short, result)
        known = tuple(
            prefix(short) if short in SHORTS else names(short).prefix("card") for short in self._stage.shorts
        )
        for name in self._stage.redis.scan_iter(f"{TOKEN}:*", count=1000):
            if not name.decode().startswith(known):
                result.extra[name.decode()] = {"of": "a projection that no contract has"}
        return result

    def _compare(self, short: str, result: Comparison) -> None:
        found = scan(self._stage.redis, short)
        documents = {key(short, d): d for d in self._stage.mongo[TOKEN][short].find({})}
        wanted = {name: said for name, d in documents.items() if (said := content(short, d)) is not None}
        result.documents += len(documents)
        result.keys += len(found)
        there = self._read(short, sorted(found))
        for name in sorted(found - wanted.keys()):
            result.extra[name] = {"holds": there[name], "document": str(documents.get(name))}
        for name, said in wanted.items():
            if name not in found:
                self._missing(short, name, documents[name], result)
            elif (holds := there[name]) is None or not same(short, said, holds):
                result.different[name] = {"should": said, "holds": holds, "document": str(documents[name])}

    def _missing(self, short: str, name: str, document: Document, result: Comparison) -> None:
        if self._evicted.get(name) == document["v"]:
            result.excused.append((short, document["_id"]))
        else:
            result.missing[name] = {"document": str(document), "evicted at": self._evicted.get(name)}

    def _read(self, short: str, keys: list[str]) -> dict[str, Any]:
        there: dict[str, Any] = {}
        for start in range(0, len(keys), PAGE):
            page = keys[start : start + PAGE]
            pipe = self._stage.redis.pipeline(transaction=False)
            for name in page:
                ask(pipe, short, name)
            for name, reply in zip(page, pipe.execute(), strict=True):
                there[name] = understood(short, reply)
        return there

    def unknown_digests(self, timeout: float) -> list[str]:
        """Contracts whose digests in Redis are not soon those of all documents, and what is wrong."""
        deadline = time.monotonic() + timeout
        while (found := self._unknown_digests()) and time.monotonic() < deadline:
            time.sleep(POLL_S)
        return found

    def _unknown_digests(self) -> list[str]:
        stage = self._stage
        said = {
            short: unknown_of(
                stage.directories[0].path, names(short).contract, stage.mongo[TOKEN][short],
                stage.redis_url, {"status": STATUS} if short == "shelf" else None,
            )
            for short in DIGESTED
        }  # fmt: skip
        return [f"{short}: {what}" for short, what in said.items() if what]

    def dead_letters(self) -> list[str]:
        """What the daemons said of each: their log outlives a FLUSHALL, the dead letters themselves do not."""
        logged = [str(line) for daemon in self._stage.daemons for line in daemon.logs(event="dead letter")]
        waiting = [
            f"{short}: {said}"
            for short in self._stage.shorts
            for _, said in self._stage.redis.xrange(self._stage.dead(short))
        ]
        return logged if len(logged) >= len(waiting) else waiting

    def unexpected_errors(self) -> list[str]:
        """Lines of the daemons' logs that show a bug."""
        return [
            str(line)
            for daemon in self._stage.daemons
            for line in daemon.logs()
            if "please report it" in str(line.get("event"))
        ]

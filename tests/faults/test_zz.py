from __future__ import annotations
import random, pytest
from typing import Any
from tests.faults.conftest import Rig
from tests.support.contracts import projection

@pytest.mark.parametrize("order", [0, 1])
def test_hands(rig: Rig, order) -> None:
    """A key that went from one document to another while the daemon was down belongs to the last one."""
    said = projection(["title", "one", "two"], key="{slug}")
    flow = rig.scene.add("hands", said, unique=[["slug"]], documents=[{"_id": 2, "slug": "z", "title": "second", "two": 2}])
    daemon = rig.scene.another_daemon(SYNCD_BATCH_WRITES="2")
    rig.scene._daemons.append(daemon)
    rig.scene.daemon = daemon
    daemon.start(); flow.wait_live()
    daemon.kill()
    films = flow.collection
    steps = [lambda: films.update_one({"_id": 2}, {"$set": {"title": "changed"}}),
             lambda: films.insert_one({"_id": 1, "slug": "a", "title": "first", "one": 1})]
    for s in (steps if order else reversed(steps)): s()
    films.update_one({"_id": 1}, {"$set": {"slug": "b"}})
    films.update_one({"_id": 2}, {"$set": {"slug": "a"}})
    daemon.start(); flow.wait_live()
    flow.wait_same(5)

def test_stress(rig: Rig) -> None:
    said = projection(["title", "slug"], key="{slug}")
    n=40
    flow = rig.scene.add("hands", said, unique=[["slug"]], documents=[{"_id": i, "slug": f"s{i}", "title": "x"} for i in range(n)])
    flow.collection.create_index("slug", unique=True)
    daemon = rig.scene.another_daemon(SYNCD_BATCH_WRITES="5")
    rig.scene.daemon = daemon
    daemon.start(); flow.wait_live()
    daemon.kill()
    chance = random.Random(5)
    free = [f"f{i}" for i in range(5)]
    slugs = {i: f"s{i}" for i in range(n)}
    for turn in range(3000):
        i = chance.randrange(n)
        w = chance.randrange(4)
        if i not in slugs or w == 0:
            new = free.pop(chance.randrange(len(free)))
            flow.collection.replace_one({"_id": i}, {"slug": new, "title": f"t{turn}"}, upsert=True)
            if i in slugs: free.append(slugs[i])
            slugs[i] = new
        elif w == 1:
            new = free.pop(chance.randrange(len(free)))
            flow.collection.update_one({"_id": i}, {"$set": {"slug": new, "title": f"t{turn}"}})
            free.append(slugs[i]); slugs[i] = new
        elif w == 2:
            flow.collection.update_one({"_id": i}, {"$set": {"title": f"t{turn}"}})
        else:
            flow.collection.delete_one({"_id": i}); free.append(slugs.pop(i))
    daemon.start(); flow.wait_live()
    flow.wait_same(5)

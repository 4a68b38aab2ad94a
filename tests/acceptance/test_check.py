"""`syncd check` as a new user runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from syncd.contract.model.redis.projection import Projection
from syncd.contract.model.redis.redis_types import RedisType
from tests.support.cli import ROOT, syncd

HERE = Path(__file__).parent
GOOD = ROOT / "tests/unit/contract/example.yaml"

EXPECTED = """\
accounts.yaml:9:10: the key `account:{country}` is not unique per document; \
add {_id}, or state the unique index that covers it: mongo.unique: [[country]]
accounts.yaml:16:33: index field `balance`: a numeric index over a field that is masked; \
project type: int, double, epoch, epoch_ms or epoch_us
books.yaml:4:18: not YAML: while scanning a quoted scalar, found unexpected end of stream; close the quote
cities.yaml:12:1: the key `mongo` again; keep one of the two (the first is at 5:1)
devices.yaml:5:9: unknown key `colection`; did you mean `collection`? \
known keys are collection, filter, unique, with, timeseries
devices.yaml:10:5: unknown key `colour`; \
known keys are KEYS
events.yaml:4:50: the variable `SYNCD_VAR_OWNER` is not set; \
set SYNCD_VAR_OWNER in the environment, or give a default: ${SYNCD_VAR_OWNER:-...}
events.yaml:10:10: not the name of a variable in `${...}`; \
write ${VAR} or ${VAR:-default} with letters, digits and _, or $${ for the characters ${
films.yaml:10:10: not a duration: `5 minutes`; write a number and a unit (ms, s, m, h, d, w), such as 30d
films.yaml:12:18: a duration of zero: `0s`; leave the key out, or write a duration above zero
games.yaml:8:5: `$where` runs JavaScript in the server; write the condition with query operators or $expr
games.yaml:10:24: `$$NOW` lets a document leave the filter without a change that syncd could see; \
compare with a fixed date, or give the projection a ttl: {field: ...}
games.yaml:11:14: not a value of `$oid`; write 24 hexadecimal digits, as in {$oid: "65a1f00d65a1f00d65a1f00d"}
hotels.yaml:9:10: two contracts own the same keys: `{kind}:{_id}:x` and `device:{_id}:x` of \
wrong_contracts/devices.yaml:9:10, such as `device:1:x`; give one of them another prefix
hotels.yaml:13:16: key template: a `{` that is not closed at character 6; write {path}, or {{ for a literal brace
insects.yaml:16:11: index field `latin_name`: no projected field writes `latin_name`; \
add it to `fields`, or index one of name, picture
insects.yaml:19:25: index field `picture`: dims 384 differ from the 512 of the projected field; \
write the same number in both places
jobs.yaml:11:43: not a JMESPath expression: it ends too early; close brackets and quotes
jobs.yaml:12:20: JMESPath has no function `average`; known are abs, avg, ceil, contains, ends_with, floor, join, \
keys, length, map, max, max_by, merge, min, min_by, not_null, reverse, sort, sort_by, starts_with, sum, to_array, \
to_number, to_string, type, values
kites.yaml:2:13: `apiVersion` cannot be `syncd/v2`; write syncd/v1, the version that this syncd reads
kites.yaml:4:18: `Kites` cannot be a `name`; \
expected: Unique among all contracts: lower-case letters, digits and hyphens
kites.yaml:4:34: `version` must be text, and `1.0` is not; put it in quotes: "1.0"
kites.yaml:5:21: `kites` cannot be a `collection`; expected: Database and collection, such as catalog.movies. \
Or several, from MongoDB to Redis: a list, or `*` for any text in a name, such as "tenant_*.users"; \
then keys hold {$db}, {$collection} or both
kites.yaml:8:11: `type` cannot be `hsh`; did you mean `hash`? allowed are TYPES
kites.yaml:11:36: `type` cannot be `integer`; did you mean `int`? allowed are string, int, long, double, decimal, \
bool, date, epoch, epoch_ms, epoch_us, objectId, uuid, binary, json, vector, geo
kites.yaml:12:39: `mask` cannot be `hide`; allowed are hmac, redact, last4
kites.yaml:13:26: `type: vector` and `dims` go together; write {from: path, type: vector, dims: 384}
lamps.yaml:4:18: the contract name `insects` again; \
choose another name, for wrong_contracts/insects.yaml has this one
lamps.yaml:12:13: the index name `insects` again; \
choose another name, for a projection of wrong_contracts/insects.yaml has this one
lamps.yaml:14:31: index field `watts`: a tag index over a field that is of type int; \
project a text, or index the field as numeric or vector
lamps.yaml:15:19: `direction` cannot be `sideways`; allowed are mongo_to_redis, redis_to_mongo, both
""".replace(
    "KEYS",
    ", ".join(field.alias or name for name, field in Projection.model_fields.items() if not field.exclude),
).replace("TYPES", ", ".join(get_args(RedisType)))


def test_every_mistake_of_twelve_contracts_is_told_in_one_run() -> None:
    """Each with file, line, column and remedy; the last line counts them, and the exit code is 1."""
    ran = syncd("check", "wrong_contracts", cwd=HERE)
    *lines, last = ran.stdout.splitlines()
    assert lines == [f"wrong_contracts/{line}" for line in EXPECTED.splitlines()]
    assert last == "31 problems in 12 files"
    assert (ran.returncode, ran.stderr) == (1, "")


def test_the_same_as_json() -> None:
    """The text of a line is its parts."""
    ran = syncd("check", "wrong_contracts", "-o", "json", cwd=HERE)
    report = json.loads(ran.stdout)
    lines = ["{file}:{line}:{column}: {what}; {remedy}".format(**problem) for problem in report["problems"]]
    assert lines == [f"wrong_contracts/{line}" for line in EXPECTED.splitlines()]
    assert (report["ok"], ran.returncode) == (False, 1)


def test_good_contracts_are_told_in_a_line_each(tmp_path: Path) -> None:
    """With where they are, and what becomes of them; a value as it is written, with its variable."""
    (tmp_path / "movies.yaml").write_text(GOOD.read_text())
    (tmp_path / "users.yml").write_text(
        GOOD.read_text()
        .replace("movie", "user")
        .replace("passage", "note")
        .replace("1.2.0", "${SYNCD_VAR_VERSION}")
    )
    ran = syncd("check", "--contracts", tmp_path, SYNCD_VAR_VERSION="2.0.0", SYNCD_HMAC_KEY="key")
    assert ran.stdout.splitlines() == [
        "movies 1.2.0: catalog.movies -> hash movie:{_id}, json passage:{_id} (index passages)",
        "users ${SYNCD_VAR_VERSION}: catalog.users -> hash user:{_id}, json note:{_id} (index notes)",
    ]
    assert (ran.returncode, ran.stderr) == (0, "")


def test_good_contracts_as_json() -> None:
    """One file may be checked alone."""
    ran = syncd("check", "--contracts", GOOD, "--output", "json", SYNCD_HMAC_KEY="key")
    assert json.loads(ran.stdout) == {
        "ok": True,
        "contracts": [
            {
                "file": str(GOOD),
                "name": "movies",
                "version": "1.2.0",
                "owner": "discovery-team",
                "collection": "catalog.movies",
                "direction": "mongo_to_redis",
                "projections": [
                    {"name": "card", "type": "hash", "key": "movie:{_id}", "index": None},
                    {"name": "passage", "type": "json", "key": "passage:{_id}", "index": "passages"},
                ],
            }
        ],
        "problems": [],
    }
    assert ran.returncode == 0


def test_the_contracts_of_this_repository_pass() -> None:
    """`contracts` is the default; SYNCD_CONTRACTS names another directory."""
    assert syncd("check").returncode == 0
    assert syncd("check", cwd=HERE, SYNCD_CONTRACTS=str(ROOT / "contracts")).returncode == 0
    assert syncd("check", cwd=HERE).stdout.splitlines() == [
        "contracts:1:1: no such directory; name a directory of contracts, or create it",
        "1 problem in 1 file",
    ]


def test_a_secret_does_not_come_out(tmp_path: Path) -> None:
    """Whether the contract passes or not."""
    (tmp_path / "a.yaml").write_text(GOOD.read_text().replace("30d", "${SYNCD_VAR_HUSH}"))
    ran = syncd("check", tmp_path, SYNCD_VAR_HUSH="sw0rdfish")
    assert "not a duration: `${SYNCD_VAR_HUSH}`" in ran.stdout
    assert "sw0rdfish" not in ran.stdout + ran.stderr


def test_the_schema_is_json() -> None:
    """For editors; in one line or in many."""
    short, long = syncd("schema"), syncd("schema", "-o", "text")
    assert json.loads(short.stdout) == json.loads(long.stdout)
    assert json.loads(short.stdout)["title"] == "syncd contract"
    assert short.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("chekc",), "chekc"),
        (("check", "-o", "xml"), "xml"),
        (("check", "a", "b"), "b"),
        (("init", "movies"), "movies is no collection; write database.collection"),
        (("init", "a.b", "--name", "A B"), "A B is no name; write lower-case letters, digits and hyphens"),
        (("init", "a.b", "--sample", "0"), "--sample"),
        ((), "Usage: syncd"),
    ],
)
def test_wrong_usage_ends_with_2(arguments: tuple[str, ...], told: str) -> None:
    """And says what is wrong on stderr."""
    ran = syncd(*arguments)
    assert ran.returncode == 2
    assert told in ran.stderr + (ran.stdout if not arguments else "")


def test_the_version_is_told() -> None:
    """On stdout, before anything else is checked."""
    ran = syncd("--version")
    assert ran.stdout.startswith("syncd 0.")
    assert ran.returncode == 0


def test_help_imports_no_driver() -> None:
    """What a verb needs is imported when it runs."""
    script = (
        "import sys, syncd.cli; print(*{'pymongo', 'redis', 'pydantic', 'yaml', 'rich'} & {*sys.modules})"
    )
    ran = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == ""


def test_what_may_leave_documents_out_of_an_index_is_a_warning(tmp_path: Path) -> None:
    """It passes; the warning has place and remedy, on stderr, or beside the contracts as JSON."""
    (tmp_path / "a.yaml").write_text(
        "\n".join(
            [
                "apiVersion: syncd/v1",
                "kind: SyncContract",
                "metadata: {name: films, version: 1.0.0, owner: team}",
                "mongo: {collection: catalog.films}",
                "redis:",
                '  - {projection: card, type: json, key: "film:{_id}", fields: {price: price},',
                "     index: {name: films, fields: [{name: price, type: numeric}]}}",
            ]
        )
    )
    ran = syncd("check", "a.yaml", cwd=tmp_path)
    assert (ran.returncode, ran.stderr) == (
        0,
        "warning: a.yaml:7:56: index field `price`: a decimal, a date, a NaN or a text leaves its document out of the "
        "index; give the projected field a type, or write on_error: null, or omit, on the projected field\n",
    )
    told = json.loads(syncd("check", "a.yaml", "-o", "json", cwd=tmp_path).stdout)
    assert [(one["line"], one["column"]) for one in told["warnings"]] == [(7, 56)]

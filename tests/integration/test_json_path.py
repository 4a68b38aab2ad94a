"""Paths of index fields: what passes is what RedisJSON reads."""

from __future__ import annotations

import json

import pytest
from redis import Redis
from redis.exceptions import ResponseError

from syncd.contract.model.redis.json_path import bracketed, can_be_read, first_member

DOCUMENT = {"a": [{"b": 1, "c": "x"}, {"b": 2}], "b": 5}
PATHS = """\
$ $.a $.a[*] $.a[0] $.a[-1] $.a[0:1] $.a[:1] $.a[1:] $.a[::1] $.a[0,1] $.a.* $..b $..* $.a[*].b $.a..b $[*] $..['b']
$.a["b"] $['a','b'] $["a","b"] $[a] $.a[?(@.b>1)] $.a[?(@.b>1)].b $.a[?@.b>1] $.a[?(@.c=='x')] $.a[?(@.b)] $.[0]
$.a.[0] $a $. $.. $.a. $.a[ $.a] $.a[] $.a[*]b $...a $.** $.a[?(@.b>)] $.a[?()] $.a[?(1)] $.a[(@.length-1)] $.größe
$.@type $.a-b $.a:b $.a,b $.a.length() $.a[?(!@.b)] $.a[?(@.b==1] $.a[?(@.b==$.b)] $.a[?(@.b=1)] $.a[+1] $.a,$.b
"""
NAMES = [
    "plain",
    "größe",
    "名前",
    "@type",
    "a b",
    "a.b",
    'a"b',
    "a'b",
    "a\\b",
    "a\\",
    "a\tb",
    "",
    "😀",
    "a]b",
    "a*",
    " a",
]


def reads(client: Redis, key: str, path: str) -> bool:
    try:
        client.execute_command("JSON.GET", key, path)
    except ResponseError:
        return False
    return True


def test_a_path_passes_if_redisjson_reads_it(redis: Redis, prefix: str) -> None:
    """FT.CREATE would take any."""
    redis.execute_command("JSON.SET", f"{prefix}k", "$", json.dumps(DOCUMENT))
    paths = PATHS.split()
    assert [path for path in paths if can_be_read(path) != reads(redis, f"{prefix}k", path)] == []


@pytest.mark.parametrize("name", NAMES)
def test_a_member_of_any_name(redis: Redis, prefix: str, name: str) -> None:
    """In brackets every name is found, but one that begins with a blank, which does not pass."""
    redis.execute_command("JSON.SET", f"{prefix}n", "$", json.dumps({name: 1}, ensure_ascii=False).encode())
    found = redis.execute_command("JSON.GET", f"{prefix}n", bracketed(name)) == b"[1]"
    assert found == can_be_read(bracketed(name)) == (first_member(bracketed(name)) == (name, True))
    assert found == (name[:1] != " ")

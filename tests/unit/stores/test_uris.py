"""URLs of Sentinel, and what of a URI may change while syncd runs."""

from __future__ import annotations

import pytest

from syncd.errors import UnusableUriError
from syncd.stores.redis.connect.sentinel_url import read_sentinel_url, server_url
from syncd.stores.redis.store import RedisStore
from syncd.stores.uri import apart_from_login


def test_a_url_of_sentinels() -> None:
    """Several sentinels with their own login, the name of the master, the login of the servers, options and TLS."""
    url = "rediss+sentinel://ada:p%40ss@one:1,two,[::1]:3/my%20master/2?ssl_min_version=771&sentinel_password=hush"
    said = read_sentinel_url(url)
    assert said.seeds == (("one", 1), ("two", 26379), ("::1", 3))
    assert (said.service, said.user, said.password) == ("my master", None, "hush")
    assert said.server == server_url(url) == "rediss://ada:p%40ss@sentinel/2?ssl_min_version=771"
    assert read_sentinel_url("redis+sentinel://one/m").server == "redis://sentinel/0"


@pytest.mark.parametrize(
    "url",
    ["redis+sentinel://one:1", "redis+sentinel://one:1/", "redis+sentinel://one:x/m", "redis+sentinel://one/m/x",
     "redis+sentinel://hush@one/m?other=1", "unix+sentinel://one/m"],
)  # fmt: skip
def test_a_url_of_sentinels_that_is_none(url: str) -> None:
    """Refused before anything connects, and no part of it is repeated."""
    with pytest.raises(UnusableUriError) as refused:
        RedisStore(url)
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize(
    ("uri", "rest"),
    [
        ("redis://a:b@h:1/0", "redis://h:1/0"),
        ("redis://h:1/0?db=1", "redis://h:1/0?db=1"),
        ("mongodb://a:b@h,i/?replicaSet=r", "mongodb://h,i/?replicaSet=r"),
        ("redis+sentinel://a:b@h/m/0?sentinel_password=x&db=1", "redis+sentinel://h/m/0?&db=1"),
    ],
)
def test_what_is_no_login(uri: str, rest: str) -> None:
    """A renewed password is taken up, another server is not."""
    assert apart_from_login(uri) == rest

"""Nothing of a connection string but host and database is shown, and no value that a server or another client
quotes."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pymongo.errors import OperationFailure

from syncd.errors import UnusableUriError, UriError
from syncd.stores.messages import of_mongo
from syncd.stores.redis.store import RedisStore
from syncd.stores.uri import read_mongo_uri, read_uri
from syncd.text import escaped, without_secrets

SCHEMES = ("redis", "rediss", "unix")
LETTERS = "qxzjQXZJ789"
"""Rare ones, so that four of them are in no sentence of ours."""
SIGNS = "#/?@:%[]&=;, "
passwords = st.text(LETTERS + SIGNS, min_size=8, max_size=20).filter(
    lambda text: sum(char.isalnum() for char in text) >= 6
)


def parts(password: str) -> list[str]:
    """What would give the password away: each run of letters and digits in it of four or more."""
    for sign in SIGNS:
        password = password.replace(sign, " ")
    return [part for part in password.split() if len(part) >= 4]


@given(passwords)
@example("qx/zjqx:78978#zjqx")
@example(":78978#zjqxzj")
@example("zjqxzjqx?qxzj=1")
def test_no_part_of_a_redis_password_is_shown(password: str) -> None:
    """Whatever it holds: an address without it, or an error without it that says what to encode."""
    url = f"redis://me:{password}@cache.example:6379/0"
    try:
        said = str(read_uri(url, SCHEMES))
        assert said == "cache.example:6379/0"
    except UriError as error:
        said = str(error)
        assert "percent-encode" in said
    assert not [part for part in parts(password) if part in said]


@given(passwords)
@example("qx/zjqx:78978#zjqx")
def test_no_part_of_a_mongodb_password_is_shown(password: str) -> None:
    """The same for MongoDB."""
    try:
        said = str(read_mongo_uri(f"mongodb://me:{password}@db.example/admin"))
        assert said == "db.example/admin"
    except UriError as error:
        said = str(error)
    assert not [part for part in parts(password) if part in said]


@pytest.mark.parametrize("password", [":12345#x", "zjqx/78", "zj?qx", "zj#qx"])
def test_a_port_is_never_taken_from_a_password(password: str) -> None:
    """No client is made, so nothing is connected to."""
    with pytest.raises(UnusableUriError, match="percent-encode"):
        RedisStore(f"redis://me:{password}@cache/0")


def test_what_mongodb_quotes_is_left_out() -> None:
    """Resume tokens, documents and keys; the sentence stays."""
    text = (
        "PlanExecutor error during aggregation :: caused by :: BSONObj size: 17000000 is invalid. First element: "
        '_id: { _data: "826B0BE6D5000000642B022C0100296E5A" }, full error: {"_id": "ada@example.com"}'
    )
    said = of_mongo(OperationFailure(text, 10334))
    assert said.startswith(
        "PlanExecutor error during aggregation :: caused by :: BSONObj size: 17000000 is invalid"
    )
    assert "826B" not in said
    assert "ada" not in said
    said = of_mongo(
        OperationFailure(
            'E11000 duplicate key error collection: a.b index: mail_1 dup key: { mail: "x@y.z" }', 11000
        )
    )
    assert said == "E11000 duplicate key error collection: a.b index: mail_1"


@given(st.text())
def test_nothing_moves_a_cursor(text: str) -> None:
    """Text that came from outside is one line of characters that show."""
    shown = escaped(text)
    assert all(char.isprintable() or char in " \u200d" for char in shown)


def test_a_uri_inside_of_a_message_loses_its_user() -> None:
    """Also with an @ in the password."""
    assert (
        without_secrets("no answer from redis://me:a@b@cache:1/0 now")
        == "no answer from redis://***@cache:1/0 now"
    )

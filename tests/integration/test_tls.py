"""Both servers by TLS alone, with logins and certificates out of files: all of syncd connects that way, what is wrong
is said, and what is renewed is taken up."""

from __future__ import annotations

import gc
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from pymongo import MongoClient

from syncd.errors import RefusedError, SettingsError, StoreError, SyncdError
from syncd.settings import Settings
from syncd.stores.mongo import store as mongo_store
from syncd.stores.mongo.store import MongoStore
from syncd.stores.redis.store import RedisStore
from tests.support.check import wait_until
from tests.support.cli import syncd
from tests.support.contracts import projection
from tests.support.programs.needed import NotFound, give_up
from tests.support.scene import Scene
from tests.support.servers.shared import connect
from tests.support.servers.tls import X509, Authority, TlsRedis, TlsReplicaSet, lock
from tests.support.ways.keyspace import add_keyspace, wait_known, write
from tests.support.ways.outbox import add_outbox, put, wait_like_redis
from tests.support.ways.stream import add_stream, append, wait_numbers
from tests.support.ways.twoway import add_two_way, hset, wait_alike

FIRST, SECOND = "hush-hush-one", "hush-hush-two"


class Place(NamedTuple):
    """Two servers with one authority, where tests and daemon have certificates of their own."""

    folder: Path
    authority: Authority
    other: Authority
    redis: TlsRedis
    mongo: TlsReplicaSet


@contextmanager
def servers_of(folder: Path) -> Iterator[Place]:
    authority, other = Authority(folder / "ours"), Authority(folder / "other", "other")
    server, tests = authority.issue("server")[0], authority.issue("tests")[0]
    try:
        redis = TlsRedis(authority, server, tests)
    except NotFound as error:
        give_up(error)
    with redis, TlsReplicaSet(authority, server, tests) as mongo:
        mongo.require_login({"CN=tests,O=syncd": "root", "CN=daemon,O=syncd": "readWriteAnyDatabase"})
        yield Place(folder, authority, other, redis, mongo)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with servers_of(tmp_path_factory.mktemp("tls")) as found:
        yield found


def settings_of(place: Place, secrets: Path, password: str) -> dict[str, str]:
    """Files of a daemon's own, as a secret store mounts them. Returns the settings that name them."""
    secrets.mkdir()
    url = place.redis.bare_url.replace("//", f"//syncd:{password}@")
    said = {"mongo-uri": place.mongo.bare_uri + X509, "redis-url": url}
    for name, text in said.items():
        (secrets / name).write_text(text)
    give_certificates(place.authority, secrets, "mongo", "redis")
    return {f"SYNCD_{file.name.upper().replace('-', '_')}_FILE": str(file) for file in secrets.iterdir()}


def give_certificates(authority: Authority, secrets: Path, *stores: str) -> None:
    cert, key = authority.issue("daemon")
    for store in stores:
        (secrets / f"{store}-tls-ca").write_text(authority.file.read_text())
        (secrets / f"{store}-tls-cert").write_text(cert.read_text().partition("-----BEGIN PRIVATE")[0])
        (secrets / f"{store}-tls-key").write_text(key.read_text())


@contextmanager
def scene_at(place: Place, folder: Path, token: str) -> Iterator[Scene]:
    """A daemon with nothing in its environment but names of files."""
    said = settings_of(place, folder / "secrets", FIRST)
    with connect(place.redis.url) as client:
        rights = ["resetpass", f">{FIRST}", "on", "~*", "&*", "+@all"]
        client.execute_command("ACL", "SETUSER", "syncd", *rights)
    empty = {"SYNCD_MONGO_URI": "", "SYNCD_REDIS_URL": ""}
    uri, url = place.mongo.members[0].uri, place.redis.url
    with Scene(folder, token, uri, url, env={**empty, **said}) as scene:
        yield scene


@pytest.fixture
def scene(place: Place, tmp_path: Path, token: str) -> Iterator[Scene]:
    with scene_at(place, tmp_path, token) as found:
        yield found


def env_of(tmp_path: Path) -> dict[str, str]:
    files = (tmp_path / "secrets").iterdir()
    return {f"SYNCD_{file.name.upper().replace('-', '_')}_FILE": str(file) for file in files}


def assert_no_secret(scene: Scene, *said: str) -> None:
    log = Path(scene.daemon.process.log).read_text()
    for text in (log, json.dumps(scene.daemon.status()), scene.daemon.get("/metrics")[1], *said):
        assert FIRST not in text
        assert SECOND not in text
        assert "PRIVATE KEY" not in text


def test_all_of_syncd_connects_by_tls(scene: Scene, tmp_path: Path) -> None:
    """Neither server takes a connection without TLS, a certificate and a login, and all works: lanes of each
    direction in workers, processes that read for a snapshot, a check in ranges, and the commands."""
    scene.daemon = scene.another_daemon(SYNCD_WORKERS="2", SYNCD_SNAPSHOT_PROCESSES="1")
    films = [{"_id": n, "title": f"film {n}"} for n in range(3000)]
    film = scene.add("film", projection(["title"]), documents=films, reconcile={"every": "1s"})
    events, kept = add_stream(scene, "events"), add_outbox(scene, "kept")
    heard, both = add_keyspace(scene, "heard"), add_two_way(scene, "both", "outbox")
    scene.start()
    for flow in (film, events, kept, heard, both):
        flow.wait_live(60)
    append(events, range(5))
    put(kept, [1, 2], 1)
    write(heard, [1], 1)
    hset(both, 1, a="one")
    wait_numbers(events, range(5))
    wait_like_redis(kept)
    wait_known(heard, [1])
    wait_alike(both)
    film.wait_same()
    env, contracts = env_of(tmp_path), str(scene.contracts.path)
    said = []
    for verb in (
        ("check", "--connect", "--contracts", contracts), ("doctor", "--contracts", contracts),
        ("reconcile", film.contract, "--processes", "2", "--contracts", contracts),
        ("deadletters", "list", film.contract), ("snapshot", film.contract), ("orphans",),
        ("preview", film.contract, "1", "--contracts", contracts), ("plan", "--contracts", contracts),
        ("init", film.collection.full_name), ("test", "--connect", "--sample", "2", "--contracts", contracts),
    ):  # fmt: skip
        done = syncd(*verb, **env, SYNCD_HTTP=scene.daemon.url.removeprefix("http://"))
        said += [done.stdout, done.stderr]
        assert done.returncode in (0, 1), (verb, done.stdout, done.stderr)
        assert "no connection" not in done.stderr + done.stdout, (verb, done.stderr)
        assert "no answer" not in done.stderr + done.stdout, (verb, done.stderr)
    assert not scene.daemon.logs(level="error")
    assert_no_secret(scene, *said)


def said_of(store: str, uri: str, folder: Path, **pems: Path | str) -> str:
    """What syncd says of a server under these settings; empty where it connects."""
    uri_name = {"mongo": "SYNCD_MONGO_URI", "redis": "SYNCD_REDIS_URL"}[store]
    env = {f"SYNCD_{store.upper()}_TLS_{part.upper()}_FILE": str(path) for part, path in pems.items()}
    try:
        settings = Settings.from_environment({uri_name: uri, **env})
        if store == "redis":
            one: RedisStore | MongoStore = RedisStore.of(settings)
        else:
            one = MongoStore.of(settings, server_selection_timeout_s=1)
        try:
            one.connect()
        finally:
            one.close()
    except SyncdError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("store", ["redis", "mongo"])
def test_what_is_wrong_is_said(place: Place, tmp_path: Path, store: str) -> None:
    """nothing_silent: files that are missing, no PEM or do not belong together, certificates that one of both sides
    does not trust, TLS on one side alone: each is said with the setting to correct."""
    ca, other = place.authority.file, place.other.file
    cert, key = place.authority.issue("daemon")
    foreign, foreign_key = place.other.issue("foreign")
    expired, _ = place.authority.issue("expired", expired=True)
    junk = tmp_path / "junk"
    junk.write_text("no certificate")
    locked = lock(key, tmp_path / "locked")
    name = f"SYNCD_{store.upper()}_TLS"
    uri, plain = (
        (f"{place.redis.bare_url}", place.redis.bare_url.replace("rediss", "redis"))
        if store == "redis"
        else (place.mongo.bare_uri, place.mongo.bare_uri)
    )
    if store == "redis":
        with connect(place.redis.url) as client:
            client.execute_command("ACL", "SETUSER", "default", "on", "nopass", "+@all", "~*", "&*")
    cases: list[tuple[str, dict[str, Path | str]]] = [
        ("", {"ca": ca, "cert": cert}),
        ("", {"ca": ca, "cert": cert, "key": key}),
        (
            f"signed by an authority that syncd does not trust; set {name}_CA_FILE",
            {"ca": other, "cert": cert},
        ),
        (f"signed by an authority that syncd does not trust; set {name}_CA_FILE", {"cert": cert}),
        (f"{name}_CERT_FILE: cannot read {tmp_path}/none", {"ca": ca, "cert": tmp_path / "none"}),
        (f"{name}_CA holds no certificate in the form of PEM", {"ca": junk}),
        (f"{name}_CERT holds no certificate in the form of PEM", {"ca": ca, "cert": junk}),
        (f"{name}_KEY holds no key", {"ca": ca, "cert": cert, "key": junk}),
        (f"{name}_KEY is set without {name}_CERT", {"ca": ca, "key": key}),
        (f"the key in {name}_KEY is locked by a passphrase", {"ca": ca, "cert": cert, "key": locked}),
        (f"the key in {name}_KEY is not that of", {"ca": ca, "cert": cert, "key": foreign_key}),
        ("certificate of syncd", {"ca": ca}),
        ("certificate of syncd", {"ca": ca, "cert": foreign}),
        ("certificate of syncd", {"ca": ca, "cert": expired}),
    ]
    for wanted, pems in cases:
        said = said_of(store, uri, tmp_path, **pems)
        assert wanted in said if wanted else not said, (pems, said)
    assert "TLS" in said_of(store, plain, tmp_path)
    twice = f"&tlsCAFile={ca}" if store == "mongo" else f"?ssl_ca_certs={ca}"
    assert "in one way" in said_of(store, uri + twice, tmp_path, ca=ca)


def test_a_plain_server_behind_a_uri_with_tls(
    place: Place, tmp_path: Path, mongo_uri: str, redis_url: str
) -> None:
    """nothing_silent: such a server never answers the handshake, or ends it; and no certificates are left unused."""
    ca = place.authority.file
    assert "where it has no TLS at that port, write redis://" in said_of(
        "redis", redis_url.replace("redis:", "rediss:"), tmp_path, ca=ca
    )
    assert "Where it has no TLS, leave out" in said_of("mongo", mongo_uri, tmp_path, ca=ca)
    assert "write rediss://, or unset them" in said_of("redis", redis_url, tmp_path, ca=ca)
    assert "leave out tls=false" in said_of("mongo", mongo_uri + "&tls=false", tmp_path, ca=ca)


@pytest.mark.parametrize("wrong", ["host", "time"])
def test_a_server_with_a_certificate_that_does_not_fit(place: Place, tmp_path: Path, wrong: str) -> None:
    """nothing_silent: of another host, or expired."""
    hosts = ("elsewhere.example",) if wrong == "host" else ("127.0.0.1",)
    folder = Authority(tmp_path / "wrong")
    cert, _ = folder.issue("server", hosts=hosts, expired=wrong == "time")
    own, _ = folder.issue("daemon")
    with TlsRedis(folder, cert, own) as server:
        said = said_of("redis", server.bare_url, tmp_path, ca=folder.file, cert=own)
    assert ("another host name" if wrong == "host" else "has expired; renew it") in said


def test_sentinels_by_tls(place: Place, scene: Scene, tmp_path: Path) -> None:
    """nothing_silent: sentinels and servers want TLS and a login, each its own; a sentinel that refuses says so."""
    server, tests = place.authority.issue("server")[0], place.authority.issue("tests")[0]
    watched = {
        "sentinel monitor mymaster": f"127.0.0.1 {place.redis.port} 1",
        "user": f"watcher on >{SECOND} ~* &* +@all",
    }
    with TlsRedis(place.authority, server, tests, config=watched, arguments=["--sentinel"]) as sentinel:
        url = (
            f"rediss+sentinel://syncd:{FIRST}@127.0.0.1:{sentinel.port}/mymaster/0?sentinel_username=watcher"
        )
        with connect(sentinel.url) as client:
            client.execute_command("ACL", "SETUSER", "default", "off")
        for password, wanted in ((SECOND, ""), (FIRST, "no sentinel says where mymaster is")):
            said = said_of(
                "redis", f"{url}&sentinel_password={password}", tmp_path, ca=place.authority.file, cert=tests
            )
            assert wanted in said if wanted else not said, said
            assert "hush" not in said


LOGIN = """
calls = []
def login():
    calls.append(1)
    if len(calls) == 2:
        raise ValueError("hush-hush-one")
    return ("cloud", "hush-hush-one") if len(calls) == 1 else ("cloud", "hush-hush-two") if len(calls) == 3 else "none"
"""


def test_a_function_of_the_operator_logs_in(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    """nothing_silent: SYNCD_REDIS_CREDENTIALS is asked at each connect, so that a token may be short-lived; what it
    does wrong is said, and nothing of what it knows."""
    (tmp_path / f"{token}_login.py").write_text(LOGIN)
    monkeypatch.syspath_prepend(tmp_path)
    env = {"SYNCD_REDIS_URL": redis_url, "SYNCD_REDIS_CREDENTIALS": f"{token}_login:login"}
    with connect(redis_url) as admin, closing(RedisStore.of(Settings.from_environment(env))) as store:
        admin.execute_command("ACL", "SETUSER", "cloud", "on", f">{FIRST}", "~*", "&*", "+@all")
        assert store.client.execute_command("ACL", "WHOAMI") == b"cloud"
        admin.execute_command("ACL", "SETUSER", "cloud", f"<{FIRST}", f">{SECOND}")
        store.client.connection_pool.disconnect()
        for wanted in (f"{token}_login:login raised ValueError", "", "did not return user and password"):
            said = ""
            try:
                store.clock_us()
            except StoreError as error:
                said = str(error)
            assert wanted in said if wanted else not said
            assert "hush" not in said
            store.client.connection_pool.disconnect()
        admin.execute_command("ACL", "DELUSER", "cloud")
    for name, remedy in (("nothing", "not module:callable"), ("no.such:thing", "cannot be imported")):
        with pytest.raises(SettingsError, match=remedy):
            RedisStore.of(Settings.from_environment({**env, "SYNCD_REDIS_CREDENTIALS": name}))


def renew_redis(place: Place, authority: Authority) -> None:
    """Redis takes new files while it runs; all connections end."""
    server, tests = authority.issue("server")[0], authority.issue("tests")[0]
    with connect(place.redis.url) as client:
        client.execute_command(
            "CONFIG", "SET", "tls-cert-file", str(server), "tls-key-file", str(server), "tls-ca-cert-file",
            str(authority.file),
        )  # fmt: skip
        client.execute_command("ACL", "SETUSER", "syncd", "resetpass", f">{SECOND}")
        place.redis.use(authority.file, tests)
        client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


def renew_mongo(place: Place, authority: Authority) -> None:
    """MongoDB reads its files again at a restart, which ends all connections."""
    server, tests = authority.issue("server")[0], authority.issue("tests")[0]
    place.authority.file.write_text(authority.file.read_text())
    ours = place.authority.file.parent
    (ours / "server.pem").write_text(server.read_text())
    (ours / "tests.pem").write_text(tests.read_text())
    place.mongo.members[0].restart()
    place.mongo.wait_for_primary()


def test_a_password_of_mongodb_is_renewed(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """bounded, nothing_silent: each new password is taken up, and what connected with the ones before goes; a file that
    is empty for a moment, or names another server, changes nothing."""
    monkeypatch.setattr(mongo_store, "COMPARED_S", 0.01)
    file, rest = tmp_path / "uri", place.mongo.bare_uri.partition("//")[2]
    own, _ = place.authority.issue("daemon")
    named = {"URI": file, "TLS_CA": place.authority.file, "TLS_CERT": own}
    with MongoClient[dict[str, Any]](place.mongo.members[0].uri) as admin:
        admin.admin.command("createUser", "pat", pwd=FIRST, roles=["readAnyDatabase"])
        file.write_text(f"mongodb://pat:{FIRST}@{rest}&authSource=admin")
        settings = Settings.from_environment(
            {f"SYNCD_MONGO_{name}_FILE": str(path) for name, path in named.items()}
        )
        with closing(MongoStore.of(settings)) as store:
            store.connect()
            threads = threading.active_count()
            for number in range(10):
                before, password = id(store.client), f"{SECOND}-{number}"
                admin.admin.command("updateUser", "pat", pwd=password)
                file.write_text(f"mongodb://pat:{password}@{rest}&authSource=admin")
                wait_until(lambda before=before: id(store.client) != before)
                store.client["x"]["y"].find_one()
            gc.collect()
            wait_until(lambda: threading.active_count() <= threads + 1, 20, threading.enumerate)
            kept = store.client
            for text in ("", f"mongodb://pat:{FIRST}@elsewhere:27017/?directConnection=true"):
                file.write_text(text)
                time.sleep(0.02)
                assert store.client is kept
                kept["x"]["y"].find_one()
        admin.admin.command("dropUser", "pat")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("authMechanism=MONGODB-AWS&authSource=$external", "pymongo[aws]"),
        (
            "authMechanism=MONGODB-OIDC&authMechanismProperties=ENVIRONMENT:k8s",
            "the token for SYNCD_MONGO_URI",
        ),
    ],
)
def test_a_login_of_a_cloud_where_there_is_none(place: Place, options: str, said: str) -> None:
    """nothing_silent: the driver has the login, and says what is missing for it."""
    own, _ = place.authority.issue("daemon")
    env = {"SYNCD_MONGO_TLS_CA_FILE": str(place.authority.file), "SYNCD_MONGO_TLS_CERT_FILE": str(own)}
    settings = Settings.from_environment({**env, "SYNCD_MONGO_URI": f"{place.mongo.bare_uri}&{options}"})
    with closing(MongoStore.of(settings)) as store, pytest.raises(RefusedError, match=re.escape(said)):
        store.connect()


@pytest.fixture
def renewed(tmp_path: Path, token: str) -> Iterator[tuple[Place, Scene]]:
    """Servers of this test's own."""
    with servers_of(tmp_path / "servers") as place, scene_at(place, tmp_path, token) as scene:
        yield place, scene


def test_what_is_renewed_is_taken_up(renewed: tuple[Place, Scene], tmp_path: Path) -> None:
    """nothing_lost, nothing_silent: another authority, certificate and password on the servers first, then in the
    files of the daemon: it says what is refused, and goes on as the same process, without another copy."""
    place, scene = renewed
    flow = scene.run("film", projection(["title"]), documents=[{"_id": 1, "title": "one"}])
    process = scene.daemon.process.pid
    secrets = tmp_path / "secrets"
    renew_redis(place, place.other)
    scene.redis.close()
    scene.redis = flow.redis = connect(place.redis.url)
    flow.collection.insert_one({"_id": 2, "title": "two"})
    wait_until(lambda: "SYNCD_REDIS_TLS_CA_FILE" in flow.wait_state("failed")["error"], 20, flow.lane)
    give_certificates(place.other, secrets, "redis")
    wait_until(lambda: "Redis refuses us" in flow.lane()["error"], 20, flow.lane)
    (secrets / "redis-url").write_text(place.redis.bare_url.replace("//", f"//syncd:{SECOND}@"))
    flow.wait_same()
    renew_mongo(place, place.other)
    with MongoClient[dict[str, Any]](place.mongo.members[0].uri) as client:
        flow.collection = client[flow.collection.database.name][flow.collection.name]
        flow.collection.insert_one({"_id": 3, "title": "three"})
        wait_until(lambda: "SYNCD_MONGO_TLS_CA_FILE" in flow.wait_state("failed")["error"], 40, flow.lane)
        give_certificates(place.other, secrets, "mongo")
        flow.wait_same()
    flow.wait_live()
    assert scene.daemon.process.pid == process
    assert len(scene.daemon.logs(event="snapshot started")) == 1
    assert scene.daemon.logs(event="new password or certificates are taken up", store="mongo")
    assert_no_secret(scene)

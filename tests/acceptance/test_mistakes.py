"""Plain mistakes: one line with the remedy, the exit code that the reference names, and never a traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from bson.datetime_ms import DatetimeMS

from tests.support.check import wait_until
from tests.support.cli import ROOT, syncd
from tests.support.contracts import projection
from tests.support.scene import Scene

CONTRACT = """\
apiVersion: syncd/v1
kind: SyncContract
metadata: {name: film, version: 1.0.0, owner: tests}
mongo: {collection: d.films}
redis:
  - {projection: card, type: hash, key: "f:{_id}", fields: {title: title}}
"""
MASKED = CONTRACT.replace("title: title", "title: {from: title, mask: hmac}")
SECRET = "sec" + "ret7"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in (("good", CONTRACT), ("masked", MASKED)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "film.yaml").write_text(text)
    (tmp_path / "empty").touch()
    (tmp_path / "text").write_text("no certificate")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    return tmp_path


@pytest.fixture
def scene(token: str, mongo_uri: str, redis_url: str, tmp_path: Path) -> Iterator[Scene]:
    with Scene(tmp_path, token, mongo_uri, redis_url) as scene:
        yield scene


def assert_told(code: int, folder: Path, *words: str, **env: str) -> str:
    """Exit code, no traceback, no secret; returns the last line of stderr or, without one, stdout."""
    env.setdefault("SYNCD_CONTRACTS", str(folder / "good"))
    done = syncd(*words, cwd=folder, PYTHONPATH=str(ROOT), **env)
    said = done.stdout + done.stderr
    assert done.returncode == code, said
    assert "Traceback" not in said
    assert SECRET not in said
    return (done.stderr or done.stdout).strip().splitlines()[-1]


@pytest.mark.parametrize(
    "url",
    [
        "", "nonsense", "http://host", "redis://host:abc", "redis://host:99999", "redis://host/films", "redis://[::1",
        f"redis://host?{SECRET}=1", f"redis://:12345#{SECRET}@host", f"redis://:{SECRET}?x@host", "unix://",
        "redis://host?retry=5", "redis://host?decode_responses=yes", "redis://host?db=x", "redis://host?socket_timeout=x",
        "rediss://host?ssl_ca_certs=/nowhere", "rediss://host?ssl_ca_certs={folder}/text",
        "rediss://host?ssl_ca_certs={folder}", "rediss://host?ssl_certfile={folder}/text",
        "rediss://host?ssl_cert_reqs=maybe",
    ],
)  # fmt: skip
def test_a_redis_url_that_cannot_be_used(folder: Path, url: str) -> None:
    """Wrong usage, whatever the verb, so that a service manager does not start it again and again."""
    url = url.replace("{folder}", str(folder))
    said = assert_told(2, folder, "check", SYNCD_REDIS_URL=url)
    assert said.startswith("syncd: SYNCD_REDIS_URL is not usable: ")


@pytest.mark.parametrize(
    "uri",
    [
        "", "nonsense", "mongodb://", "redis://host", "mongodb://host:abc", "mongodb://host:99999", "mongodb://%zz@host",
        f"mongodb://u:{SECRET}:x@host", "mongodb://a,b/?directConnection=true", "mongodb+srv://host:1",
        "mongodb://host/?datetime_conversion=x", "mongodb://host/?tls=true&tlsCAFile=/nowhere",
        "mongodb://host/?tls=true&tlsCAFile={folder}/text", "mongodb://host/?tls=true&tlsCAFile={folder}",
        "mongodb://host/?tls=true&tlsCertificateKeyFile=/nowhere",
    ],
)  # fmt: skip
def test_a_mongo_uri_that_cannot_be_used(folder: Path, uri: str) -> None:
    """The same."""
    uri = uri.replace("{folder}", str(folder))
    said = assert_told(2, folder, "init", "d.films", SYNCD_MONGO_URI=uri)
    assert said.startswith("syncd: SYNCD_MONGO_URI is not usable: ")


@pytest.mark.parametrize(
    "words",
    [
        ["run", "--http", "127.0.0.1:0"], ["run", "--http", "127.0.0.1:0", "--workers", "2"], ["doctor"],
        ["check", "--connect"], ["reconcile", "film"], ["snapshot", "film"], ["deadletters", "list", "film"],
    ],
)  # fmt: skip
def test_every_verb_ends_at_a_uri_that_cannot_be_used(folder: Path, words: list[str]) -> None:
    """Also the daemon, and one with workers, which would start processes for ever."""
    assert "is not usable" in assert_told(2, folder, *words, SYNCD_REDIS_URL="http://host")


@pytest.mark.parametrize("name", ["nowhere", ".", "empty", "binary", "x" * 3000])
@pytest.mark.parametrize("variable", ["SYNCD_HMAC_KEY_FILE", "SYNCD_SITE_FILE"])
def test_a_file_of_a_secret_that_cannot_be_used(folder: Path, variable: str, name: str) -> None:
    """Missing, a directory, empty, not UTF-8, or no name of a file."""
    said = assert_told(2, folder, "check", **{variable: str(folder / name)})
    assert said.startswith(f"syncd: {variable}: ")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (2, ["init", "d." + "x" * 3000]), (2, ["init", "x" * 3000 + ".films"]), (2, ["init", "films"]),
        (2, ["init", "d.films", "--name", "x" * 3000]), (2, ["init", "d.films", "--sample", "0"]),
        (1, ["check", "--contracts", "nowhere"]), (1, ["check", "--contracts", "x" * 3000]),
        (1, ["check", "--contracts", "/dev/null"]), (2, ["check", "good", "--contracts", "good"]),
        (2, ["check", "-o", "xml"]), (2, ["nonsense"]), (2, ["deadletters", "nonsense"]),
        (2, ["--install-completion", "zzz"]),
        (2, ["status", "--http", "nonsense"]), (3, ["status", "--http", "127.0.0.1:1"]),
        (3, ["status", "--http", "999.1.1.1:80"]), (2, ["run", "--partition", "9/2"]), (2, ["reconcile", "nobody"]),
        (2, ["demo", "--contracts", "nowhere"]), (3, ["snapshot", "film"]), (3, ["deadletters", "list", "film"]),
        (1, ["run", "--contracts", "nowhere", "--http", "127.0.0.1:0"]),
    ],
)  # fmt: skip
def test_a_wrong_word(folder: Path, code: int, words: list[str]) -> None:
    """Each verb, with what a person may write by mistake."""
    assert_told(code, folder, *words, HOME=str(folder), SYNCD_REDIS_URL="redis://127.0.0.1:1")
    assert not (folder / ".bashrc").exists()


def test_check_refuses_what_run_refuses(folder: Path) -> None:
    """A masked field without its key has file, line and remedy; with the key it passes."""
    for verb in ("check", "doctor"):
        done = syncd(verb, "--contracts", "masked", cwd=folder)
        assert done.returncode == 1
        assert "film.yaml:6:" in done.stdout
        assert "set SYNCD_HMAC_KEY" in done.stdout
    assert assert_told(0, folder, "check", "--contracts", "masked", SYNCD_HMAC_KEY="key").startswith(
        "film 1.0.0"
    )
    assert assert_told(0, folder, "check", "good").startswith("film 1.0.0"), "the old way to name a path"


@pytest.mark.parametrize(
    ("part", "known"),
    [
        ("slo: {freshnes: 5s}", "known keys are freshness"),
        ("reconcile: {schedul: x}", "known keys are schedule, every,"),
        ("sync: {dead_letters: {kep: 5}}", "known keys are keep, when_full"),
        ("sync: {direction: both, authority: {mong: []}}", "known keys are mongo, redis"),
    ],
)
def test_an_unknown_key_of_an_optional_part(folder: Path, part: str, known: str) -> None:
    """The known ones are named, also where the part may be left out."""
    (folder / "good" / "film.yaml").write_text(f"{CONTRACT}{part}\n")
    done = syncd("check", cwd=folder, SYNCD_CONTRACTS="good")
    assert done.returncode == 1
    assert known in done.stdout


def test_a_variable_that_is_no_setting(folder: Path) -> None:
    """It is told, with the one that was meant where one is nearly the same; what is for contracts is not."""
    said = {"SYNCD_MONGO_URL": "x", "SYNCD_BOGUS": "x", "SYNCD_VAR_STAGE": "x"}
    done = syncd("check", cwd=folder, SYNCD_CONTRACTS="good", **said)
    assert (done.returncode, done.stderr) == (
        0, "syncd: SYNCD_BOGUS is no setting, and is ignored; docs/reference/settings.md names all\n"
        "syncd: SYNCD_MONGO_URL is no setting, and is ignored; did you mean SYNCD_MONGO_URI?\n",
    )  # fmt: skip


def test_an_output_that_is_not_read(folder: Path) -> None:
    """A pipe that was closed ends the verb as SIGPIPE does others; a full disk is told."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "syncd", "schema"]
    reader, writer = os.pipe()
    os.close(reader)
    closed = subprocess.run(
        command, stdout=writer, stderr=subprocess.PIPE, env=environment, check=False, cwd=folder
    )
    os.close(writer)
    assert (closed.returncode, closed.stderr) == (141, b"")
    with Path("/dev/full").open("wb") as full:
        disk = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, env=environment, check=False, cwd=folder
        )
    assert (disk.returncode, disk.stderr.count(b"\n")) == (1, 1)


def test_help_is_not_cut_off() -> None:
    """Neither the list of the verbs nor that of deadletters, at 80 columns."""
    for words in ([], ["deadletters"]):
        said = syncd(*words, "--help", COLUMNS="80").stdout
        assert "..." not in said.replace("[ARGS]...", "")


def test_a_date_beyond_those_of_python(mongo_uri: str, scene: Scene) -> None:
    """`init` drafts a contract all the same."""
    database = scene.mongo[scene.token]
    database.odd.insert_one({"_id": 1, "at": DatetimeMS(253_402_300_800_000)})
    done = syncd("init", f"{scene.token}.odd", SYNCD_MONGO_URI=mongo_uri)
    assert done.returncode == 0, done.stderr
    assert "at:" in done.stdout


def test_no_daemon_serves_what_is_asked_for(scene: Scene, mongo_uri: str, redis_url: str) -> None:
    """`snapshot` says so with exit code 1, and the next daemon begins with it; SIGHUP reads the contracts again,
    SIGQUIT ends in order and gives the lease back."""
    flow = scene.run("film", projection(["title"]), documents=[{"_id": 1, "title": "x"}])
    daemon = scene.daemon
    pid = int(daemon.status()["owner"].split("/")[2])
    os.kill(pid, signal.SIGHUP)
    wait_until(lambda: daemon.logs(event="contracts reloaded"), 20)
    assert daemon.is_live()
    os.kill(pid, signal.SIGQUIT)
    assert daemon.wait_exit() == 0
    assert not flow.redis.exists(flow.names.control("lease"))
    done = syncd("snapshot", flow.contract, SYNCD_REDIS_URL=redis_url)
    assert (done.returncode, done.stdout) == (1, "")
    assert "no daemon serves contract" in done.stderr
    scene.start()
    wait_until(lambda: len(daemon.logs(event="snapshot finished")) == 2, 20)
    assert syncd("snapshot", flow.contract, SYNCD_REDIS_URL=redis_url).returncode == 0

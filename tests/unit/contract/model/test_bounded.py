"""Whatever is put into the directory of contracts, checking it takes little time and memory, and says little."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from syncd.contract.read.files import LARGEST, MOST_FILES
from syncd.contract.read.load import load_contract_set
from syncd.errors import LONGEST_TEXT, MOST_PROBLEMS, ContractError

SIZE = 100_000
CPU_S = 5.0
"""One second is usual."""
HEAD = "apiVersion: syncd/v1\nkind: SyncContract\nmetadata: {name: n, version: 1.0.0, owner: o}\n"
MONGO = "mongo: {collection: a.b}\n"
ONE = 'redis:\n  - {projection: p, type: hash, key: "x:{_id}", fields: [a]}\n'
KEY = "- {projection: p#, type: hash, key: '%s', fields: [a]}\n"
WIDE = 'redis:\n  - {projection: p, type: json, key: "x:{_id}", fields: {%s}}\n'


def many(form: str, size: int = SIZE) -> str:
    """The form again and again, `#` numbered."""
    return "".join(form.replace("#", str(at)) for at in range(size // (len(form) + 4)))


HOSTILE: dict[str, Callable[[], str]] = {
    "aliases": lambda: f"a: &a 1\nb: [{many('*a,')}]\n",
    "same_keys": lambda: HEAD + MONGO + "redis:\n" + many(KEY % "x:{_id}"),
    "no_prefix": lambda: HEAD + MONGO + "redis:\n" + many(KEY % "{_id}:#", 7000),
    "long_keys": lambda: HEAD + MONGO + "redis:\n" + many(KEY % ("{_id}:" + "a{b}" * 100 + "#"), 50_000),
    "wrong_entries": lambda: HEAD + MONGO + "redis:\n" + many("  - x\n"),
    "wrong_fields": lambda: HEAD + MONGO + WIDE % many("f#: {x: 1},"),
    "wrong_functions": lambda: HEAD + MONGO + WIDE % many('f#: {expr: "nofn(a#)"},'),
    "deep_expression": lambda: HEAD + MONGO + WIDE % f"a: {{expr: '{many('a||', 6000)}a'}}",
    "deep_brackets": lambda: HEAD + MONGO + WIDE % f"a: {{expr: '{'[' * 4000}'}}",
    "wrong_oids": lambda: HEAD + f"mongo: {{collection: a.b, filter: {{a: {{$in: [{many('{$oid: x},')}]}}}}}}\n" + ONE,
    "two_sides": lambda: HEAD + MONGO + ONE.replace("[a]", f"[{many('f#,', 90_000)}]")
    + f"sync: {{direction: both, capture: outbox, on_conflict: newest, authority: {{mongo: [{many('f#,', 50_000)}], "
    f"redis: [{many('f#,', 50_000)}]}}}}\n",
    "same_again": lambda: many("a: 1\n"),
    "unknown_keys": lambda: HEAD + MONGO + many("k#: 1\n"),
    "long_names": lambda: HEAD + MONGO + f"? {'a' * 90_000}\n: 1\n? {'a' * 90_000}\n: 1\n",
    "cron": lambda: HEAD + MONGO + ONE + f'reconcile: {{schedule: "{many("1-59/1,")}1 * * * *"}}\n',
    "cron_step": lambda: HEAD + MONGO + ONE + f'reconcile: {{schedule: "*/{"9" * 5000} * * * *"}}\n',
    "long_number": lambda: HEAD + MONGO + ONE + f"reconcile: {{every: 1h, max_documents_per_second: {'9' * 4000}}}\n",
    "long_duration": lambda: HEAD + MONGO + ONE + "reconcile: {every: 999999999w}\n",
    "long_path": lambda: HEAD + MONGO + WIDE % f"a: {many('a.')}a",
    "variables": lambda: HEAD + MONGO + f'x: "{many("${X")}"\n',
    "variables_not_set": lambda: HEAD + MONGO + f"x: [{many('${X},')}]\n",
    "deep": lambda: "[" * 40_000,
    "deep_maps": lambda: "{a: " * 40_000,
    "tags": lambda: f"a: [{many('!x y,')}]",
    "endless": lambda: f"a: \"{many('b')}",
}  # fmt: skip
"""Made when it is needed: every process of a run reads this file."""


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file(tmp_path: Path, name: str) -> None:
    """Checked within seconds, whatever it holds, and what is said of it has an end."""
    (tmp_path / "a.yaml").write_text(HOSTILE[name]())
    began = time.process_time()
    try:
        load_contract_set(tmp_path, {})
    except ContractError as error:
        assert len(error.problems) <= MOST_PROBLEMS + 1
        assert all(len(problem.what) <= LONGEST_TEXT for problem in error.problems)
        assert error.count <= len(error.problems) or "more problems" in error.problems[-1].what
    assert time.process_time() - began < CPU_S


def test_many_contracts_that_could_meet(tmp_path: Path) -> None:
    """A set whose keys begin alike, file by file, is refused within seconds, or found to be fine."""
    for at in range(200):
        projections = "".join(
            f"- {{projection: p{n}, type: hash, key: '{{_id}}:{at}:{n}', fields: [a]}}\n" for n in range(5)
        )
        text = HEAD.replace("name: n", f"name: n{at}") + MONGO + "redis:\n" + projections
        (tmp_path / f"{at}.yaml").write_text(text)
    began = time.process_time()
    with pytest.raises(ContractError, match="too many keys that cannot be distinguished"):
        load_contract_set(tmp_path, {})
    assert time.process_time() - began < 2 * CPU_S


def pipe(path: Path) -> None:
    os.mkfifo(path)


def endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def listener(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


def large(path: Path) -> None:
    path.write_bytes(b"#" * (LARGEST + 1))


def unreadable(path: Path) -> None:
    """It opens, and its first byte cannot be read: EIO, as from a broken disk."""
    path.symlink_to("/proc/self/mem")


def loop(path: Path) -> None:
    path.symlink_to(path.name)


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (pipe, "not a regular file"), (endless, "not a regular file"), (listener, "cannot be read"),
        (large, "larger than 256 kB"), (loop, "cannot be read"), (unreadable, "cannot be read"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("alone", [False, True])
def test_what_is_no_file(tmp_path: Path, make: Callable[[Path], None], what: str, alone: bool) -> None:
    """Pipe, device, socket, a file without an end, one that fails, a link to itself: problems of one file, at once."""
    path = tmp_path / "x.yaml"
    make(path)
    (tmp_path / "good.yaml").write_text(HEAD + MONGO + ONE)
    with pytest.raises(ContractError) as refused:
        load_contract_set(path if alone and make is not loop else tmp_path, {})
    (problem,) = refused.value.problems
    assert what in problem.what
    assert problem.file == str(path)


def test_too_many_files(tmp_path: Path) -> None:
    """The wrong directory is not read to its end."""
    for at in range(MOST_FILES + 1):
        (tmp_path / f"{at}.yaml").touch()
    with pytest.raises(ContractError, match="2001 files"):
        load_contract_set(tmp_path, {})

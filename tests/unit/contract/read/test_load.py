"""Directories of contracts: all or nothing, and every problem at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from bson import ObjectId
from hypothesis import given, settings
from hypothesis import strategies as st

from syncd.contract.read.load import load_contract_set
from syncd.errors import ContractError
from tests.unit.contract.contracts import CARD, contract, load, projection, told

DESIGN = Path(__file__).parents[1] / "example.yaml"


def test_the_example_of_the_documentation_loads() -> None:
    """With both projections and the index."""
    (loaded,) = load_contract_set(DESIGN, {}).contracts
    card, passage = loaded.contract.redis
    assert card.ttl == 30 * 86_400_000
    assert list(card.fields or {}) == ["title", "year", "email", "slug"]
    assert passage.index is not None
    assert [field.type for field in passage.index.fields] == ["text", "tag", "vector"]


def test_contracts_come_in_the_order_of_their_files(tmp_path: Path) -> None:
    """Both endings; hidden files, other files and directories below are not read."""
    for file, name in (("b.yml", "second"), ("a.yaml", "first"), (".c.yaml", "hidden"), ("d.txt", "text")):
        (tmp_path / file).write_text(contract(CARD.replace("movie:", f"{name}:"), name=name))
    (tmp_path / "below.yaml").mkdir()
    contracts = load_contract_set(tmp_path, {}).contracts
    assert [(one.file, one.contract.name) for one in contracts] == [
        (f"{tmp_path}/a.yaml", "first"),
        (f"{tmp_path}/b.yml", "second"),
    ]


def test_files_are_named_as_the_directory_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative directory gives relative names."""
    monkeypatch.chdir(tmp_path)
    Path("contracts").mkdir()
    Path("contracts/a.yaml").write_text(contract())
    (loaded,) = load_contract_set(Path("contracts"), {}).contracts
    assert loaded.file == "contracts/a.yaml"


def test_one_file_may_be_given(tmp_path: Path) -> None:
    """Whatever its name."""
    file = tmp_path / "movies.contract"
    file.write_text(contract())
    assert [one.file for one in load_contract_set(file, {}).contracts] == [str(file)]


def test_a_loaded_contract_knows_its_places(tmp_path: Path) -> None:
    """By the path in the model, short forms too."""
    (loaded,) = load(tmp_path, contract(projection("[title, year]")))
    assert loaded.locate("redis", 0, "key") == (11, 10)
    assert loaded.locate("redis", 0, "fields", "year", "from") == (12, 21)


def test_a_filter_may_hold_object_ids(tmp_path: Path) -> None:
    """Extended JSON is read there, and nowhere else."""
    (loaded,) = load(
        tmp_path, contract(mongo='collection: a.b, filter: {x: {$oid: "65a1f00d65a1f00d65a1f00d"}}')
    )
    assert loaded.contract.mongo.filter == {"x": ObjectId("65a1f00d65a1f00d65a1f00d")}


def test_a_variable_may_stand_anywhere(tmp_path: Path) -> None:
    """A plain one is a number where it looks like one."""
    text = contract(name="${TENANT}") + "slo:\n  freshness: ${FRESH:-5}s\n"
    (loaded,) = load(tmp_path, text, env={"TENANT": "acme"})
    assert loaded.contract.name == "acme"
    assert loaded.contract.slo is not None
    assert loaded.contract.slo.freshness == 5000


def test_the_problems_of_all_files_come_at_once(tmp_path: Path) -> None:
    """Syntax, model, filter and rules, also in one and the same file."""
    wrong = contract(
        projection("{title: title, year: {from: y, typ: int}, slug: {expr: 'a ~ b'}}", key="movie:{slug}"),
        mongo="collection: movies, filter: {$where: x, by: {$oid: 5}, at: '${GONE}'}",
    ).replace("    fields", "    colour: 1\n    fields")
    assert [line.split(";")[0] for line in told(tmp_path, wrong, "a: [", contract(name="Movies"))] == [
        "a.yaml:7:21: `movies` cannot be a `collection`",
        "a.yaml:7:38: `$where` runs JavaScript in the server",
        "a.yaml:7:54: not a value of `$oid`",
        "a.yaml:7:69: the variable `GONE` is not set",
        "a.yaml:11:10: the key `movie:{slug}` is not unique per document",
        "a.yaml:12:5: unknown key `colour`",
        "a.yaml:13:44: unknown key `typ`",
        "a.yaml:13:71: not a JMESPath expression: character 3 (`~`) is unexpected",
        "b.yaml:1:4: not YAML: while parsing a flow node, did not find expected node content",
        "c.yaml:4:9: `Movies` cannot be a `name`",
        "c.yaml:11:10: two contracts own the same keys: `movie:{_id}` and `movie:{slug}` of "
        "a.yaml:11:10, such as `movie:1`",
    ]


def test_a_value_from_the_environment_is_never_repeated(tmp_path: Path) -> None:
    """Whatever is wrong with it: it may be a secret."""
    redis = (
        projection(
            "{t: '${HUSH}', z: {expr: '${HUSH}(t)'}, a: {expr: '${HUSH}'}, b: {expr: 'x(${HUSH})'}, "
            "c: {from: c, type: '${HUSH}'}}",
            type="json",
            key="${HUSH}",
            index="{name: '${HUSH}', type: text}\n{name: z, path: '$.${HUSH}', type: text}",
        )
        + "    ttl: ${HUSH}\n"
        + projection("'${HUSH}'", key="${HUSH}:{a}{b}")
        + projection("[t, '${HUSH}']", key="x:{_id}", index="{name: q, type: tag}")
    )
    text = contract(
        redis, name="${HUSH}", mongo="collection: '${HUSH}', unique: ['${HUSH}'], filter: '${HUSH}'"
    )
    for secret in ("sw0rdfish ~", "sw0rdfish", "$sw0rdfish.{", "4711"):
        lines = told(tmp_path, text, text, env={"HUSH": secret})
        assert len(lines) > 10
        assert not [line for line in lines if secret in line]


@pytest.mark.parametrize("name", ["", "empty", "gone"])
def test_no_contracts_is_a_problem(tmp_path: Path, name: str) -> None:
    """An empty directory is more often a wrong mount than a wish."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(ContractError) as caught:
        load_contract_set(tmp_path / name, {})
    (problem,) = caught.value.problems
    assert problem.file == str(tmp_path / name)
    assert problem.what == ("no such directory" if name == "gone" else "no *.yaml or *.yml file here")
    assert problem.remedy


def test_a_file_that_cannot_be_read_is_a_problem(tmp_path: Path) -> None:
    """A link to nowhere is not passed over."""
    (tmp_path / "a.yaml").symlink_to(tmp_path / "gone")
    assert told(tmp_path) == [
        "a.yaml:1:1: cannot be read (No such file or directory); check its permissions, and where it links to"
    ]


def test_a_mounted_volume_is_read(tmp_path: Path) -> None:
    """Kubernetes links every file into a hidden directory beside it."""
    data = tmp_path / "..2026"
    data.mkdir()
    (data / "a.yaml").write_text(contract())
    (tmp_path / "..data").symlink_to(data.name)
    (tmp_path / "a.yaml").symlink_to("..data/a.yaml")
    assert [one.file for one in load_contract_set(tmp_path, {}).contracts] == [f"{tmp_path}/a.yaml"]


yaml_like = st.recursive(
    st.sampled_from(["a", "5", "~", "all", "movie:{_id}", "hash", "${X:-1}", "'x'", "{_id", "join(", "30d"]),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]")
        | st.dictionaries(
            st.sampled_from(
                ["from", "expr", "type", "dims", "name", "fields", "key", "index", "attrs", "x", "$oid"]
            ),
            inner,
            max_size=4,
        ).map(lambda items: "{" + ", ".join(f"{key}: {value}" for key, value in items.items()) + "}")
    ),
    max_leaves=12,
)


@pytest.fixture(scope="module")
def one_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("any") / "a.yaml"


@given(st.text(max_size=80) | st.binary(max_size=40))
@settings(max_examples=200)
def test_any_text_loads_or_is_told(one_file: Path, content: str | bytes) -> None:
    """Nothing but ContractError, and never without a problem."""
    one_file.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    with pytest.raises(ContractError) as caught:
        load_contract_set(one_file, {})
    assert caught.value.problems


@given(
    st.dictionaries(st.sampled_from(["mongo", "redis", "metadata", "sync", "slo", "kind"]), yaml_like),
    yaml_like,
)
@settings(max_examples=300, deadline=None)
def test_any_values_load_or_are_told(one_file: Path, parts: dict[str, str], shape: str) -> None:
    """In every place of a contract; each problem has a place and a remedy."""
    rest = [line for line in contract(f"  - {shape}\n").splitlines() if line.split(":")[0] not in parts]
    one_file.write_text("\n".join([*(f"{key}: {value}" for key, value in parts.items()), *rest]))
    try:
        load_contract_set(one_file, {})
    except ContractError as error:
        assert all(one.line >= 1 and one.column >= 1 and one.what and one.remedy for one in error.problems)

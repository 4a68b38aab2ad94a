"""Settings, and what of them contracts may use."""

from __future__ import annotations

from pathlib import Path

import pytest

from syncd.contract.read.load import load_contract_set
from syncd.errors import ContractError, SettingsError
from syncd.settings import Settings, contract_environment

CONTRACT = """
apiVersion: syncd/v1
kind: SyncContract
metadata: {name: stock, version: 1.0.0, owner: tests}
mongo: {collection: shop.stock, filter: {site: "${SYNCD_SITE}"}}
redis:
  - {projection: card, type: hash, key: "stock:{_id}", fields: [name]}
"""


def test_the_site_in_a_contract(tmp_path: Path) -> None:
    """The same text from the environment and from a file, which wins, also where it looks like a number; without it
    the contract does not pass."""
    (tmp_path / "stock.yaml").write_text(CONTRACT)
    (tmp_path / "site").write_text("17\n")
    file = {"SYNCD_SITE_FILE": str(tmp_path / "site")}
    for env, site in (({"SYNCD_SITE": "hill"}, "hill"), (file, "17"), ({**file, "SYNCD_SITE": "hill"}, "17")):
        (loaded,) = load_contract_set(tmp_path, contract_environment(env)).contracts
        assert loaded.contract.mongo.filter == {"site": site}
        assert Settings.from_environment(env).site == site
    with pytest.raises(ContractError, match="SYNCD_SITE"):
        load_contract_set(tmp_path, contract_environment({}))
    with pytest.raises(SettingsError, match="SYNCD_SITE_FILE"):
        contract_environment({"SYNCD_SITE_FILE": str(tmp_path / "gone")})


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("SYNCD_MONGO_URI", "SYNCD_VAR_NAME"),
        ("SYNCD_TOKEN", "SYNCD_VAR_NAME"),
        ("AWS_SECRET_ACCESS_KEY", "add AWS_SECRET_ACCESS_KEY to SYNCD_CONTRACT_VARIABLES"),
        ("PATH", "call it SYNCD_VAR_PATH"),
        ("syncd_var_X", "SYNCD_VAR_syncd_var_X"),
    ],
)
@pytest.mark.parametrize("form", ["${%s}", "${%s:-other}", "a-${%s}"])
def test_a_contract_reads_no_other_variable(tmp_path: Path, name: str, remedy: str, form: str) -> None:
    """Settings, cloud keys and whatever else is set: refused, also with a default, and the value is in no message."""
    (tmp_path / "stock.yaml").write_text(CONTRACT.replace("${SYNCD_SITE}", form % name))
    with pytest.raises(ContractError) as refused:
        load_contract_set(tmp_path, contract_environment({name: "hush-hush"}))
    assert f"a contract may not read the variable `{name}`" in str(refused.value)
    assert remedy in str(refused.value)
    assert "hush-hush" not in str(refused.value)


def test_what_a_contract_may_read(tmp_path: Path) -> None:
    """Variables with the prefix, and those that a setting lists, which may come from a file, too."""
    (tmp_path / "names").write_text("REGION, ZONE\n")
    listed = {"SYNCD_CONTRACT_VARIABLES": "ZONE,REGION", "REGION": "hill"}
    from_file = {"SYNCD_CONTRACT_VARIABLES_FILE": str(tmp_path / "names"), "REGION": "hill"}
    for name, env in (("SYNCD_VAR_X", {"SYNCD_VAR_X": "hill"}), ("REGION", listed), ("REGION", from_file)):
        (tmp_path / "stock.yaml").write_text(CONTRACT.replace("SYNCD_SITE", name))
        (loaded,) = load_contract_set(tmp_path, contract_environment(env)).contracts
        assert loaded.contract.mongo.filter == {"site": "hill"}


@pytest.mark.parametrize("names", ["SYNCD_TOKEN", "REGION,SYNCD_MONGO_URI", "syncd_redis_url", "A B", "*"])
def test_the_list_holds_no_setting(names: str) -> None:
    """A setting of syncd may be a secret, and a pattern is no name."""
    for read in (contract_environment, Settings.from_environment):
        with pytest.raises(SettingsError, match="SYNCD_CONTRACT_VARIABLES"):
            read({"SYNCD_CONTRACT_VARIABLES": names})


@pytest.mark.parametrize(
    "address", ["http://x", "http://x:8786", "x", "tcp://x", "tcp://x:port", "://x:1", "inproc://x:1"]
)
def test_an_address_where_no_scheduler_can_be(address: str) -> None:
    """Refused before anything runs: Dask would look for it again and again."""
    with pytest.raises(SettingsError, match="SYNCD_DASK"):
        Settings.from_environment({"SYNCD_DASK": address})


@pytest.mark.parametrize("address", ["tcp://x:8786", "tls://[::1]:8786", "x:8786", "ws://x.y:80/"])
def test_an_address_of_a_scheduler(address: str) -> None:
    """In the forms that Dask has."""
    assert Settings.from_environment({"SYNCD_DASK": address}).dask == address


@pytest.mark.parametrize("name", ["SYNCD_LEASE_TTL", "SYNCD_DISCOVER_EVERY"])
def test_seconds(name: str) -> None:
    """Numbers that a store can wait for; a unit is refused with the remedy, and so is what is no length of time."""
    for wrong, reason in (
        ("3s", "write a number of seconds"),
        ("inf", "less than or equal"),
        ("nan", ""),
        ("-1", ""),
    ):
        with pytest.raises(SettingsError, match=f"{name}: .*{reason}"):
            Settings.from_environment({name: wrong})
    assert Settings.from_environment({name: " 2.5 "}).model_dump()[name.removeprefix("SYNCD_").lower()] == 2.5

"""Settings, and what of them contracts may use."""

from __future__ import annotations

from pathlib import Path

import pytest

from syncd.contract.load import load_contract_set
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

"""Settings from the environment. Each may also come from a file: `SYNCD_REDIS_URL_FILE=/run/secrets/redis`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, PrivateAttr, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from syncd.errors import SettingsError

SITE = "SYNCD_SITE"
VARIABLE_PREFIX = "SYNCD_VAR_"
_ALLOWED = "SYNCD_CONTRACT_VARIABLES"
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
LONGEST_SECRET = 1_048_576
"""A bundle of certificates may have hundreds of kilobytes."""
_PREFIX = "SYNCD_"
_NEAR = 0.7
"""How similar a name must be to a setting for a hint: below it a guess misleads."""
NOT_SETTINGS = (VARIABLE_PREFIX, "SYNCD_TEST_")
"""Names for contracts, and for syncd's own tests."""

DASK_SCHEMES = ("tcp", "tls", "ws", "wss", "ucx")
"""Of Dask's own; `inproc` would be this process."""

MOST_PARTITIONS = 256
"""Each is a change stream of its own, in which MongoDB reads every change."""


_CA = (
    "Certificates, as PEM, of authorities that may have signed the one of {}; without it those of the system."
)
_CERT = "Certificate, as PEM, that syncd shows to {}, perhaps with its key behind it."
_KEY = "Key of that certificate, as PEM without a passphrase."


class Settings(BaseSettings):
    """Every setting of the daemon and of the command line; field descriptions become the reference."""

    model_config = SettingsConfigDict(env_prefix=_PREFIX, frozen=True, extra="ignore")

    mongo_uri: SecretStr = Field(
        SecretStr("mongodb://127.0.0.1:27017"), description="Connection string of the replica set or mongos."
    )
    mongo_tls_ca: SecretStr | None = Field(None, description=_CA.format("MongoDB"))
    mongo_tls_cert: SecretStr | None = Field(None, description=_CERT.format("MongoDB"))
    mongo_tls_key: SecretStr | None = Field(None, description=_KEY)
    redis_url: SecretStr = Field(SecretStr("redis://127.0.0.1:6379/0"), description="The target Redis.")
    redis_tls_ca: SecretStr | None = Field(None, description=_CA.format("Redis"))
    redis_tls_cert: SecretStr | None = Field(None, description=_CERT.format("Redis"))
    redis_tls_key: SecretStr | None = Field(None, description=_KEY)
    redis_credentials: str = Field(
        "",
        description="`module:callable` of Python that is called for each connection to Redis and returns user and "
        "password, such as a token of a cloud.",
    )
    contracts: Path = Field(Path("./contracts"), description="Directory of contract files.")
    http: str = Field(
        "127.0.0.1:9399", description="Address of metrics, probes and status; port 0 picks one."
    )
    http_hosts: str = Field(
        "",
        description="Names, with commas between them, under which HTTP answers beside addresses, `localhost`, the name "
        "of the machine or pod, names without a dot and those of a cluster or local network; `*`: any.",
    )
    hmac_key: SecretStr | None = Field(None, description="Key of `mask: hmac`.")
    token: SecretStr | None = Field(
        None,
        description="Token that a caller over HTTP must send to start an action; without it no caller may.",
    )
    console_values: bool = Field(
        False,
        description="Whether the console shows keys and `_id`s of dead letters, to those who have the token. Values of "
        "documents it never shows.",
    )
    site: str = Field(
        "",
        max_length=64,
        description="Name of this Redis, where several write to one MongoDB: in `_syncd.site` of documents, and "
        "`${SYNCD_SITE}` in contracts.",
    )
    contract_variables: str = Field(
        "",
        description="Names of variables, with commas between them, that contracts may read as `${NAME}` beside "
        "`SYNCD_SITE` and those that begin with `SYNCD_VAR_`. None of them may hold a secret.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="The lowest level that is logged."
    )
    log_format: Literal["json", "console", "auto"] = Field(
        "auto", description="`auto`: console on a terminal."
    )
    lease_ttl: float = Field(
        10.0,
        gt=1,
        le=3600,
        description="Seconds after which a standby takes over from a daemon that is gone.",
    )
    batch_writes: int = Field(
        256,
        ge=1,
        le=2000,
        description="Most writes in one call to Redis: the application's reads wait so long.",
    )
    chunk_documents: int = Field(2000, ge=10, le=50_000, description="Documents a snapshot reads at once.")
    dirty_keys: int = Field(
        100_000,
        ge=100,
        le=10_000_000,
        description="Changed keys of a contract with `capture: keyspace` that are kept in memory, at about 400 bytes "
        "each; above it they are dropped, and all keys are compared.",
    )
    discover_every: float = Field(
        5.0,
        gt=0,
        le=86_400,
        description="Seconds between two looks for new and dropped collections, of contracts over several.",
    )
    workers: int = Field(
        1,
        ge=1,
        le=64,
        description="Processes over which the contracts are spread; 1: all in the daemon itself.",
    )
    partition: str = Field(
        "1/1", description="`2/4`: work on the second of four parts of every contract's documents."
    )
    split: bool = Field(False, description="Each worker takes a part of every contract, not all of some.")

    snapshot_processes: int = Field(
        0,
        ge=0,
        le=64,
        description="Processes that read and project documents while a snapshot runs; 0: its lane does it.",
    )
    dask: str = Field(
        "",
        description="`tcp://scheduler:8786`: the workers of this Dask cluster do it, where syncd[dask] is installed.",
    )

    @field_validator("http")
    @classmethod
    def _address(cls, value: str) -> str:
        host, separator, port = value.rpartition(":")
        if not (separator and host and port.isdigit() and int(port) < 65_536):
            raise ValueError("not host:port")
        return value

    @field_validator("lease_ttl", "discover_every", mode="before")
    @classmethod
    def _seconds(cls, value: object) -> object:
        try:
            return float(value) if isinstance(value, str) else value
        except ValueError:
            raise ValueError("write a number of seconds, such as 10 or 2.5, without a unit") from None

    @field_validator("contract_variables")
    @classmethod
    def _variables(cls, value: str) -> str:
        names_of(value)
        return value

    @field_validator("partition")
    @classmethod
    def _partition(cls, value: str) -> str:
        number, separator, count = value.partition("/")
        if not (separator and number.isdecimal() and count.isdecimal()):
            raise ValueError("not number/count, such as 2/4")
        if not 1 <= int(number) <= int(count) <= MOST_PARTITIONS:
            raise ValueError(f"the number goes from 1 to the count, the count to {MOST_PARTITIONS}")
        return value

    @field_validator("split")
    @classmethod
    def _split(cls, value: bool, info: ValidationInfo) -> bool:
        if value and (info.data.get("workers") == 1 or info.data.get("partition") != "1/1"):
            raise ValueError("needs SYNCD_WORKERS above 1, and goes without SYNCD_PARTITION")
        return value

    @field_validator("dask")
    @classmethod
    def _one_place(cls, value: str, info: ValidationInfo) -> str:
        if value and info.data.get("snapshot_processes"):
            raise ValueError("SYNCD_SNAPSHOT_PROCESSES is another place for the same work; give one of them")
        return dask_address(value) if value else value

    _files: dict[str, str] = PrivateAttr(default_factory=dict)
    """The file of each setting that came from one."""

    def now(self, name: str) -> str:
        """The text of a secret as its file has it now: passwords and certificates are renewed there while a daemon
        runs. Empty where it is not set. Raises SettingsError."""
        if path := self._files.get(name):
            return _read_secret(f"{_PREFIX}{name.upper()}", path)
        value: SecretStr | None = getattr(self, name)
        return value.get_secret_value() if value is not None else ""

    def may_change(self, *names: str) -> bool:
        """Whether one of these comes from a file."""
        return any(name in self._files for name in names)

    @property
    def partition_numbers(self) -> tuple[int, int]:
        """Number and count of `partition`."""
        number, _, count = self.partition.partition("/")
        return int(number), int(count)

    @property
    def token_text(self) -> str:
        """`token`; empty where there is none."""
        return self.token.get_secret_value() if self.token else ""

    @property
    def http_address(self) -> tuple[str, int]:
        """Host and port of `http`."""
        host, _, port = self.http.rpartition(":")
        return host.strip("[]"), int(port)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None, **overrides: object) -> Self:
        """Read all settings; `SYNCD_X_FILE` names a file that holds X. Raises SettingsError with every mistake."""
        env = os.environ if environment is None else environment
        values: dict[str, object] = {}
        files: dict[str, str] = {}
        for name in cls.model_fields:
            variable = f"SYNCD_{name.upper()}"
            if path := env.get(f"{variable}_FILE"):
                values[name], files[name] = _read_secret(variable, path), path
            elif variable in env:
                values[name] = env[variable]
        values |= {name: value for name, value in overrides.items() if value is not None}
        try:
            settings = cls.model_validate(values)
        except ValidationError as error:
            lines = [
                f"SYNCD_{str(e['loc'][0]).upper()}: {e['msg'].removeprefix('Value error, ')}"
                for e in error.errors(include_input=False)
            ]
            raise SettingsError("; ".join(lines) + "; see the reference of settings") from None
        settings._files = files
        return settings


class Variables(Mapping[str, str]):
    """The variables of the environment that contracts may read. A person who may edit a contract may see what it reads:
    it shows in keys, values and names of indexes."""

    def __init__(self, values: Mapping[str, str], allowed: frozenset[str]) -> None:
        self._allowed = allowed
        self._values = {name: value for name, value in values.items() if self.may_read(name)}

    def may_read(self, name: str) -> bool:
        """Whether a contract may read the variable, also where it is not set."""
        return name == SITE or name.startswith(VARIABLE_PREFIX) or name in self._allowed

    def __getitem__(self, name: str) -> str:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


def names_of(text: str) -> frozenset[str]:
    """The names of a list of variables. Raises ValueError."""
    names = frozenset(filter(None, (name.strip() for name in text.split(","))))
    if wrong := sorted(name for name in names if not _VARIABLE.fullmatch(name)):
        raise ValueError(f"{', '.join(wrong)}: no name of a variable; write NAME,NAME")
    if ours := sorted(
        name
        for name in names
        if name.upper().startswith(_PREFIX) and not Variables({}, frozenset()).may_read(name)
    ):
        raise ValueError(
            f"{', '.join(ours)}: a setting of syncd may be a secret; give it as SYNCD_VAR_NAME as well"
        )
    return names


def contract_environment(environment: Mapping[str, str] | None = None) -> Variables:
    """The values of `${VAR}` in contracts: the name of the site, also where a file holds it, variables that begin with
    SYNCD_VAR_, and those of SYNCD_CONTRACT_VARIABLES. Raises SettingsError."""
    env = os.environ if environment is None else environment
    said = env.get(_ALLOWED, "")
    if path := env.get(f"{_ALLOWED}_FILE"):
        said = _read_secret(_ALLOWED, path)
    try:
        allowed = names_of(said)
    except ValueError as error:
        raise SettingsError(f"{_ALLOWED}: {error}") from None
    if path := env.get(f"{SITE}_FILE"):
        env = {**env, SITE: _read_secret(SITE, path)}
    return Variables(env, allowed)


def unknown_variables(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Variables with the prefix of settings that are none, each with the setting that was meant, or ""."""
    known = [f"{_PREFIX}{name.upper()}" for name in Settings.model_fields]
    names = [*known, *(f"{name}_FILE" for name in known)]
    env = os.environ if environment is None else environment
    unknown = [
        name for name in env
        if name.upper().startswith(_PREFIX) and name not in names and not name.startswith(NOT_SETTINGS)
    ]  # fmt: skip
    return {name: _meant(name.upper(), names) for name in sorted(unknown)}


def dask_address(address: str) -> str:
    """The same address; ValueError where no scheduler of Dask can be there."""
    scheme, separator, rest = address.rpartition("://")
    host, _, port = rest.rstrip("/").rpartition(":")
    if (separator and scheme not in DASK_SCHEMES) or not (host and port.isdecimal() and int(port) < 65_536):
        raise ValueError(f"not SCHEME://host:port with one of the schemes {', '.join(DASK_SCHEMES)}")
    return address


def _meant(name: str, names: list[str]) -> str:
    """The setting with a similar name, apart from the prefix of all; or ""."""
    rest = {known.removeprefix(_PREFIX): known for known in names}
    near = get_close_matches(name.removeprefix(_PREFIX), rest, 1, _NEAR)
    return rest[near[0]] if near else ""


def _read_secret(variable: str, path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            text = file.read(LONGEST_SECRET + 1).decode().strip()
    except OSError as error:
        raise SettingsError(f"{variable}_FILE: cannot read {path}: {error.strerror}; fix the path") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{variable}_FILE: {path} is not UTF-8; write the file as plain text") from None
    except ValueError:
        raise SettingsError(f"{variable}_FILE: no path of a file; fix it") from None
    if not text:
        raise SettingsError(f"{variable}_FILE: {path} is empty; write the value, or unset {variable}_FILE")
    if len(text) > LONGEST_SECRET:
        raise SettingsError(
            f"{variable}_FILE: {path} is longer than {LONGEST_SECRET} bytes; name another file"
        )
    return text

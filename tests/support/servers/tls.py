"""An authority that signs certificates, and servers that take connections by TLS alone."""

from __future__ import annotations

import datetime
import ipaddress
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pymongo import MongoClient

from syncd.embedded import LOOPBACK, Mongod, RedisServer, ReplicaSet
from tests.support.servers import redis70

X509 = "&authMechanism=MONGODB-X509"
DAY = datetime.timedelta(days=1)
PEM = serialization.Encoding.PEM


class Authority:
    """Signs certificates. `file` is its own; `issue` writes a certificate with its key behind it."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self._folder, self.name = folder, name
        folder.mkdir(parents=True, exist_ok=True)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.datetime.now(datetime.UTC)
        self._cert = (
            x509.CertificateBuilder()
            .subject_name(self._subject)
            .issuer_name(self._subject)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - DAY)
            .not_valid_after(now + DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .add_extension(_usage(signs=True), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(self._cert.public_bytes(PEM))

    def issue(
        self, name: str, *, hosts: Sequence[str] = (LOOPBACK, "localhost"), expired: bool = False
    ) -> tuple[Path, Path]:
        """Files of a certificate and its key; the first holds both."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.datetime.now(datetime.UTC)
        names = [_name(host) for host in hosts]
        # MongoDB takes a client with the organization of its own certificate for a member of the replica set.
        organization = "servers" if name == "server" else "syncd"
        subject = [(NameOID.ORGANIZATION_NAME, organization), (NameOID.COMMON_NAME, name)]
        cert = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(*part) for part in subject]))
            .issuer_name(self._subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 2 * DAY)
            .not_valid_after(now - DAY if expired else now + DAY)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
            .sign(self._key, hashes.SHA256())
        )
        file, key_file = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        text = key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        key_file.write_bytes(text)
        file.write_bytes(cert.public_bytes(PEM) + text)
        return file, key_file


def lock(key: Path, file: Path) -> Path:
    """The same key behind a passphrase."""
    plain = serialization.load_pem_private_key(key.read_bytes(), None)
    locked = serialization.BestAvailableEncryption(b"open sesame")
    file.write_bytes(plain.private_bytes(PEM, serialization.PrivateFormat.PKCS8, locked))
    return file


def _usage(*, signs: bool) -> x509.KeyUsage:
    others = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"), False
    )
    return x509.KeyUsage(
        digital_signature=True, key_cert_sign=signs, crl_sign=signs, encipher_only=False, decipher_only=False,
        **others,
    )  # fmt: skip


def _name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


class TlsRedis(RedisServer):
    """Takes TLS alone, from clients with a certificate of `authority`. `client`: that of the tests."""

    def __init__(self, authority: Authority, cert: Path, client: Path, **more: Any) -> None:
        self._tls = {
            "tls-cert-file": cert,
            "tls-key-file": cert,
            "tls-ca-cert-file": authority.file,
            "tls-auth-clients": "yes",
            "tls-replication": "yes",
        }
        self._files = authority.file, client
        found = redis70.find()  # the bundled one is built without TLS
        super().__init__(binary=found.binary, env=found.env, **more)

    @property
    def url(self) -> str:
        """With what a test needs to connect; a daemon has settings of its own."""
        authority, cert = self._files
        return f"{self.bare_url}?ssl_ca_certs={authority}&ssl_certfile={cert}&ssl_keyfile={cert}"

    @property
    def bare_url(self) -> str:
        return f"rediss://{LOOPBACK}:{self.port}/0"

    def use(self, authority: Path, client: Path) -> None:
        """After another authority took its place."""
        self._files = authority, client

    def _configuration(self) -> str:
        lines = [f"{name} {value}" for name, value in {**self._tls, "tls-port": self.port, "port": 0}.items()]
        plain = super()._configuration().splitlines()
        return "\n".join([*(line for line in plain if not line.startswith("port ")), *lines]) + "\n"

    def answers(self) -> bool:
        # Any client with a certificate gets further, but not every test gives this one to a server that takes it.
        try:
            socket.create_connection((LOOPBACK, self.port), timeout=1).close()
        except OSError:
            return False
        return True


class TlsMongod(Mongod):
    """The same. The certificate may be a login, too."""

    def __init__(self, authority: Authority, cert: Path, client: Path, **more: Any) -> None:
        self._tls: list[str | Path] = [
            "--tlsMode", "requireTLS", "--tlsCertificateKeyFile", cert, "--tlsCAFile", authority.file,
        ]  # fmt: skip
        self._options = f"&tls=true&tlsCAFile={authority.file}&tlsCertificateKeyFile={client}"
        self.login = ""
        super().__init__(**more)

    @property
    def uri(self) -> str:
        """With what a test needs to connect; a daemon has settings of its own."""
        return super().uri + self._options + self.login

    def _command(self) -> Sequence[str | Path]:
        return [*super()._command(), *self._tls]


class TlsReplicaSet(ReplicaSet):
    """Of one such mongod."""

    def __init__(self, authority: Authority, cert: Path, client: Path, **more: Any) -> None:
        super().__init__(0)
        self.members = [TlsMongod(authority, cert, client, replica_set=self.name, **more)]

    def require_login(self, users: Mapping[str, str]) -> None:
        """From now on only these may do anything: subjects of certificates, each with its role; `root` is ours."""
        (member,) = self.members
        with MongoClient[dict[str, Any]](member.uri) as client:
            for subject, role in users.items():
                client["$external"].command("createUser", subject, roles=[{"role": role, "db": "admin"}])
        secret = member.directory / "between-members"
        secret.write_text("notasecretofanybody")
        secret.chmod(0o400)
        member.process.command += ["--auth", "--keyFile", str(secret)]
        member.login = X509
        member.restart()
        self.wait_for_primary()

    @property
    def bare_uri(self) -> str:
        """Without what a client needs."""
        return f"mongodb://{self.members[0].address}/?directConnection=true"

    @property
    def uri(self) -> str:
        return self.members[0].uri

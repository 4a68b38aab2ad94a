"""Certificates: what is wrong with those that syncd was given, and what a failed handshake means."""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import NamedTuple

from syncd.errors import UnusableUriError


class Pems(NamedTuple):
    """Certificates of the authorities, the own certificate, and its key, as text; empty where there is none."""

    ca: str = ""
    cert: str = ""
    key: str = ""


@contextmanager
def as_file(*texts: str) -> Iterator[str | None]:
    """The path of a file with these texts; None where there is none. OpenSSL takes keys from files alone, so this one
    is in memory: no key of ours shall be on a disk."""
    said = "\n".join(filter(None, texts))
    if not said:
        yield None
        return
    with os.fdopen(os.memfd_create("pem"), "wb") as file:
        file.write(said.encode())
        file.flush()
        yield f"/proc/self/fd/{file.fileno()}"


def pair(pems: Pems) -> AbstractContextManager[str | None]:
    """The same of the own certificate and its key, which comes first: a key behind the certificate does not count
    where another is given."""
    return as_file(pems.key, pems.cert)


def check(pems: Pems, store: str) -> None:
    """Raises UnusableUriError where OpenSSL would not take them."""
    name = f"SYNCD_{store.upper()}_TLS"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with as_file(pems.ca) as path:
        try:
            if path:
                context.load_verify_locations(path)
        except ssl.SSLError:
            what = f"{name}_CA holds no certificate in the form of PEM; it begins with -----BEGIN CERTIFICATE-----"
            raise UnusableUriError(store, what) from None
    if wrong := _wrong_pair(pems, context):
        raise UnusableUriError(store, wrong.format(cert=f"{name}_CERT", key=f"{name}_KEY"))


def _wrong_pair(pems: Pems, context: ssl.SSLContext) -> str:
    """What is wrong with certificate and key, and what to do."""
    if not pems.cert:
        return "{key} is set without {cert}; set both" if pems.key else ""
    if "-----BEGIN CERTIFICATE-----" not in pems.cert:
        return "{cert} holds no certificate in the form of PEM; it begins with -----BEGIN CERTIFICATE-----"
    if "PRIVATE KEY-----" not in pems.key + ("" if pems.key else pems.cert):
        where = "{key} holds" if pems.key else "{cert} holds"
        return where + " no key in the form of PEM; set {key} to the key of the certificate"
    try:
        with pair(pems) as path:
            assert path is not None
            context.load_cert_chain(path, password=_no_passphrase)
    except _LockedKeyError:
        return "the key in {key} is locked by a passphrase; write it without one"
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            return "the key in {key} is not that of the certificate in {cert}; set those that belong together"
        return "{cert} and {key} cannot be read; write both as PEM"
    return ""


class _LockedKeyError(Exception):
    """OpenSSL asks for a passphrase, which it would else ask a person at the terminal for."""


def _no_passphrase() -> str:
    raise _LockedKeyError


_MEANINGS = (
    (
        r"Hostname mismatch|IP address mismatch|doesn't match|not valid for",
        "the certificate of {store} is for another host name than {uri} says; write a name that is in the certificate",
    ),
    (
        r"certificate has expired",
        "the certificate of {store}, or of its authority, has expired; renew it",
    ),
    (
        r"not yet valid",
        "the certificate of {store} is not valid yet; check the clock of this machine",
    ),
    (
        r"CERTIFICATE_VERIFY_FAILED|certificate verify failed",
        "the certificate of {store} is signed by an authority that syncd does not trust; set {name}_CA_FILE to the "
        "certificate of that authority",
    ),
    (
        r"(?i)alert.certificate.required|peer did not return a certificate",
        "{store} wants a certificate of syncd; set {name}_CERT_FILE and {name}_KEY_FILE",
    ),
    (
        r"(?i)alert.certificate.expired",
        "{store} says that the certificate of syncd has expired; renew the file of {name}_CERT_FILE",
    ),
    (
        r"(?i)alert.(unknown.ca|bad.certificate|certificate.unknown|unsupported.certificate|decrypt.error|"
        r"access.denied|certificate.revoked)",
        "{store} does not take the certificate of syncd; set {name}_CERT_FILE to one of an authority that {store} "
        "trusts",
    ),
    (
        r"(?i)wrong.version.number|record.layer.failure|packet.length.too.long|unknown.protocol|http.request",
        "{store} does not speak TLS at that port; write its TLS port, or {plain} without TLS",
    ),
    (
        r"(?i)alert.handshake.failure|alert.protocol.version|no.protocols.available|unsupported.protocol|"
        r"no.shared.cipher",
        "{store} and syncd have no version of TLS, or cipher, in common; allow TLS 1.2 or 1.3 in {store}",
    ),
)
"""What OpenSSL says in an error, and what that means here. The first that fits counts."""


def explained(text: str, store: str) -> str:
    """The cause of a failed handshake and the remedy; empty where the text is of something else."""
    for pattern, meaning in _MEANINGS:
        if re.search(pattern, text):
            name, uri = f"SYNCD_{store.upper()}_TLS", "SYNCD_MONGO_URI"
            said, plain = "MongoDB", "tls=false"
            if store == "redis":
                said, uri, plain = "Redis", "SYNCD_REDIS_URL", "redis://"
            return meaning.format(store=said, name=name, uri=uri, plain=plain)
    return ""

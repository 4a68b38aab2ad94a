"""Certificates for MongoDB's driver, which takes them from files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import parse_qs

from syncd.errors import UnusableUriError
from syncd.stores import tls
from syncd.stores.access import Given

_FILES = ("tlscafile", "tlscertificatekeyfile", "tlscertificatekeyfilepassword")


def check_certificates(given: Given) -> None:
    """Raises UnusableUriError where the driver would not take them, or not use them."""
    tls.check(given.pems, "mongo")
    if not any(given.pems):
        return
    said = {name.lower(): values[-1] for name, values in parse_qs(given.uri.partition("?")[2]).items()}
    if "false" in (said.get("tls"), said.get("ssl")):
        what = "SYNCD_MONGO_URI says tls=false, and there are certificates in SYNCD_MONGO_TLS_*"
        raise UnusableUriError("mongo", f"{what}; leave out tls=false, or unset them")
    if any(name in said for name in _FILES):
        what = "SYNCD_MONGO_URI names files of certificates, and there are some in SYNCD_MONGO_TLS_*"
        raise UnusableUriError("mongo", f"{what}; give them in one way")


@contextmanager
def as_options(given: Given) -> Iterator[dict[str, str | bool]]:
    """The driver's options, as long as the block lasts: the driver reads the files when it is made."""
    with tls.as_file(given.pems.ca) as ca, tls.pair(given.pems) as pair:
        named = {"tlsCAFile": ca, "tlsCertificateKeyFile": pair}
        options: dict[str, str | bool] = {name: path for name, path in named.items() if path is not None}
        yield {"tls": True, **options} if options else {}

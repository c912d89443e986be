"""A Postgres that proves who it is."""

import os
import shutil
from pathlib import Path

import psycopg

from consumer.embedded_postgres.server import Binaries, EmbeddedPostgres, all_binaries
from tests.conftest import StartPostgres
from tests.deploy.tools import lacking
from tests.kafka.broker import Certificates, KafkaUnavailable

VERIFIED = "sslmode=verify-full&sslrootcert=system"
"""What every example's URL ends with."""


def with_tls() -> Binaries:
    """A Postgres of this machine that can encrypt; those from PyPI cannot."""
    able = [found for found in all_binaries() if found.folder.is_relative_to("/usr/lib/postgresql")]
    return able[0] if able else lacking("no Postgres has TLS: Debian's has, apt install postgresql")


def certified(start: StartPostgres, folder: Path) -> tuple[EmbeddedPostgres, Certificates]:
    """A server with a certificate for localhost and 127.0.0.1, and who has signed it."""
    try:
        certificates = Certificates.make(folder)
    except KafkaUnavailable as missing:
        lacking(str(missing))
    server = start(binaries=with_tls())
    data = server.folder / "data"
    owner = data.stat()
    for file in (certificates.certificate, certificates.key):
        copy = Path(shutil.copy(file, data / file.name))
        os.chown(copy, owner.st_uid, owner.st_gid)
        copy.chmod(0o600)
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        connection.execute(f"alter system set ssl_cert_file = '{certificates.certificate.name}'".encode())
        connection.execute(f"alter system set ssl_key_file = '{certificates.key.name}'".encode())
        connection.execute("alter system set ssl = on")
    server.restart()
    return server, certificates

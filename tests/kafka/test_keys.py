"""Certificates and keys that cannot be used: which file, and what to do. No broker is asked."""

import os
import shutil
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from consumer.adapters.kafka.options import KafkaConnection
from consumer.adapters.kafka.tls import tls_context
from consumer.domain.errors import Misconfigured
from tests.kafka.broker import Certificates, KafkaUnavailable
from tests.processes import clean_environment

PASSWORD = "opens-it"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """cert.pem with key.pem, the key with a password (locked.pem), both in one file, and files that are neither."""
    made = tmp_path_factory.mktemp("keys")
    try:
        Certificates.make(made)
    except KafkaUnavailable as missing:
        pytest.skip(str(missing))
    lock = ["openssl", "pkcs8", "-topk8", "-in", "key.pem", "-out", "locked.pem", "-passout", f"pass:{PASSWORD}"]
    subprocess.run(lock, cwd=made, check=True, capture_output=True)
    (made / "both.pem").write_text((made / "cert.pem").read_text() + (made / "locked.pem").read_text())
    (made / "text.pem").write_text("no PEM")
    (made / "damaged.pem").write_text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    (made / "der.pem").write_bytes(ssl.PEM_cert_to_DER_cert((made / "cert.pem").read_text()))
    shutil.copy(made / "key.pem", made / "secret.pem")
    (made / "secret.pem").chmod(0)
    return made


def connection(folder: Path, **given: Any) -> KafkaConnection:
    """With its own certificate unless given."""
    files = {name: folder / value for name, value in given.items() if name.endswith("file")}
    about = {"ssl_certfile": folder / "cert.pem", "ssl_keyfile": folder / "key.pem"} | given | files
    return KafkaConnection(bootstrap_servers="a:9092", security_protocol="SSL", **about)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"ssl_key_password": "not needed"},
        {"ssl_keyfile": "locked.pem", "ssl_key_password": PASSWORD},
        {"ssl_certfile": "both.pem", "ssl_keyfile": "both.pem", "ssl_key_password": PASSWORD},
        {"ssl_cafile": "ca.pem"},
    ],
)
def test_what_can_be_used(folder: Path, given: dict[str, Any]) -> None:
    """A key with a password or without, in a file of its own or with the certificate."""
    assert tls_context(connection(folder, **given)) is not None


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"ssl_keyfile": "locked.pem"}, r"the key \S+locked.pem has a password: set \S+SSL_KEY_PASSWORD or …_FILE"),
        ({"ssl_keyfile": "locked.pem", "ssl_key_password": "x"}, r"the key \S+locked.pem has another password than"),
        ({"ssl_keyfile": "locked.pem", "ssl_key_password": "x" * 2000}, r"the password of the key \S+ cannot be used"),
        ({"ssl_keyfile": "ca.key"}, r"the key \S+ca.key does not belong to the certificate \S+cert.pem"),
        ({"ssl_keyfile": "text.pem"}, r"text.pem \(\S+SSL_KEYFILE\) holds no private key in PEM form$"),
        ({"ssl_keyfile": "damaged.pem"}, r"the key \S+damaged.pem cannot be used"),
        ({"ssl_keyfile": "none.pem"}, r"cannot read the key \S+none.pem \(\S+SSL_KEYFILE\): No such file"),
        ({"ssl_keyfile": "."}, r"cannot read the key .*: Is a directory"),
        ({"ssl_keyfile": None}, r"cert.pem \(\S+SSL_CERTFILE\) holds no private key .*, set \S+SSL_KEYFILE"),
        ({"ssl_certfile": "der.pem"}, r"der.pem \(\S+SSL_CERTFILE\) holds no certificate in PEM form"),
        ({"ssl_certfile": "none.pem"}, r"cannot read the certificate \S+none.pem \(\S+SSL_CERTFILE\): No such file"),
        ({"ssl_cafile": "text.pem"}, r"text.pem \(\S+SSL_CAFILE\) holds no certificate in PEM form"),
        ({"ssl_cafile": "none.pem"}, r"cannot read the certificate \S+none.pem \(\S+SSL_CAFILE\): No such file"),
    ],
    ids=range(13),
)
def test_what_cannot_is_named_with_its_file(folder: Path, given: dict[str, Any], said: str) -> None:
    """And what is advised makes it work, as the test above shows."""
    about = {name: value for name, value in given.items() if value is not None}
    wanted = connection(folder, **about)
    if given.get("ssl_keyfile", "") is None:
        wanted = KafkaConnection(bootstrap_servers="a:9092", security_protocol="SSL", ssl_certfile=folder / "cert.pem")
    with pytest.raises(Misconfigured, match=said) as caught:
        tls_context(wanted)
    assert PASSWORD not in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_one_that_may_not_be_read(folder: Path) -> None:
    """As Kubernetes mounts a secret for another user."""
    with pytest.raises(Misconfigured, match=r"cannot read the key \S+secret.pem .*: Permission denied"):
        tls_context(connection(folder, ssl_keyfile="secret.pem"))


@pytest.mark.parametrize("command", ["produce", "run"])
def test_nobody_is_asked_for_a_password(folder: Path, command: str) -> None:
    """Not even at a terminal: the command ends with exit code 2, and its last line says why."""
    about = {"SSL_CERTFILE": "cert.pem", "SSL_KEYFILE": "locked.pem"}
    env = {f"WEBHOOK_ROUTER_KAFKA_{name}": str(folder / file) for name, file in about.items()}
    env |= {"WEBHOOK_ROUTER_KAFKA_BOOTSTRAP_SERVERS": "localhost:1", "WEBHOOK_ROUTER_KAFKA_SECURITY_PROTOCOL": "SSL"}
    env |= {"WEBHOOK_ROUTER_SOURCE": "kafka", "WEBHOOK_ROUTER_HTTP_PORT": "0"}
    env["WEBHOOK_ROUTER_DATABASE_URL"] = "postgresql://nobody@localhost:1/none"
    (folder / "events").write_text('{"channel":"instagram","event_id":"m_1","author_id":"a_1","content":"Hello"}\n')
    terminal, other_end = os.openpty()
    done = subprocess.run(
        [sys.executable, "-m", "consumer", command, *([str(folder / "events")] if command == "produce" else ())],
        env=clean_environment() | env,
        stdin=other_end,
        capture_output=True,
        text=True,
        timeout=60,
        start_new_session=True,
        check=False,
    )
    for end in (terminal, other_end):
        os.close(end)
    assert done.returncode == 2
    *before, last = done.stderr.splitlines()
    assert command == "run" or not before
    assert "locked.pem has a password: set WEBHOOK_ROUTER_KAFKA_SSL_KEY_PASSWORD or " in last

"""What the examples say about TLS: their URLs keep the program from any server but the one that is meant."""

import os
import ssl
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest

from consumer.cli.starting import trust_as_the_system_does
from tests.conftest import StartPostgres
from tests.deploy.tls import VERIFIED, certified
from tests.processes import command


def test_the_url_of_the_examples_trusts_whom_the_system_trusts(private_postgres: StartPostgres, tmp_path: Path) -> None:
    """With the authority among the system's the server is reached, encrypted; by another name, or without it, never."""
    server, certificates = certified(private_postgres, tmp_path)
    trusted = {"SSL_CERT_FILE": str(certificates.authority), "SSL_CERT_DIR": str(tmp_path / "none")}
    url = f"{server.dsn()}?{VERIFIED}"
    encrypted = "select ssl from pg_stat_ssl where pid = pg_backend_pid()"
    reached = command("sql", "-", stdin=encrypted, env={"WEBHOOK_ROUTER_DATABASE_URL": url, **trusted})
    assert (reached.returncode, reached.stdout.split()[2]) == (0, "t")
    renamed = url.replace("@127.0.0.1:", "@db.example.com:") + "&hostaddr=127.0.0.1"
    for wrong, environment in ((renamed, trusted), (url, {"SSL_CERT_FILE": os.devnull, "SSL_CERT_DIR": os.devnull})):
        refused = command("sql", "-", stdin=encrypted, env={"WEBHOOK_ROUTER_DATABASE_URL": wrong, **environment})
        assert refused.returncode == 1
        assert "certificate" in refused.stderr
        assert server.password not in refused.stderr
    own = f"{server.dsn()}?sslmode=verify-full&sslrootcert={quote(str(certificates.authority), safe='')}"
    assert command("sql", "-", stdin=encrypted, env={"WEBHOOK_ROUTER_DATABASE_URL": own}).returncode == 0


def test_a_server_without_tls_is_not_talked_to(private_postgres: StartPostgres) -> None:
    """Not even its password is sent: a server that will not encrypt is another one."""
    with pytest.raises(psycopg.OperationalError, match="SSL"):
        psycopg.connect(f"{private_postgres().dsn()}?{VERIFIED}")


def test_the_system_is_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The OpenSSL of psycopg's wheels is told where this machine keeps its authorities, unless somebody has said so."""
    here = ssl.DefaultVerifyPaths(str(tmp_path / "file"), str(tmp_path), "", "", "", "")  # the ones that were found
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: here)
    monkeypatch.setenv("SSL_CERT_FILE", "mine")
    monkeypatch.setenv("SSL_CERT_DIR", "")  # so that it is as it was in the end
    monkeypatch.delenv("SSL_CERT_DIR")
    trust_as_the_system_does()
    assert (os.environ["SSL_CERT_FILE"], "SSL_CERT_DIR" in os.environ) == ("mine", False)
    monkeypatch.delenv("SSL_CERT_FILE")
    trust_as_the_system_does()
    assert (os.environ["SSL_CERT_FILE"], os.environ["SSL_CERT_DIR"]) == (here.cafile, here.capath)

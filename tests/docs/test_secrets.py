"""No example teaches to put a secret where others see it, or to send one to a server that has not proved who it is."""

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.docs.pages import DOCS, OF_THE_REPOSITORY, PAGES, ROOT, read

MANIFESTS = sorted(
    path for path in (ROOT / "deploy").rglob("*") if path.suffix in {".yaml", ".yml", ".service", ".sh", ".sql"}
)
PRINTING = [ROOT / "consumer" / "demo" / "run.py", ROOT / "tests" / "kafka" / "__main__.py"]
"""What prints lines to be typed."""
EXAMPLES = [*PAGES, *OF_THE_REPOSITORY, *MANIFESTS, *PRINTING]

ON_A_COMMAND_LINE = {
    "an option with a URL": r"--database-url(?!-)[= ]+['\"]?(?:\$|postgres)",
    "psql with a URL": r"\bpsql\b[^\n`]*?(?:postgres(?:ql)?://|password=|\$\(cat)",
    "a password as an option or a variable before a command": r"\bPGPASSWORD=|--password[= ]\S|--sasl-password",
    "a literal in a secret": r"--from-literal",
    "a variable with its value handed to a container": r"(?:-e|--env) WEBHOOK_ROUTER_DATABASE_URL\b",
    "a password in an echo to another program": r"echo[^\n]*password '[^\n]*\|",
    "a URL handed on by sudo": r"sudo[^\n]*postgres(?:ql)?://",
    "an export of a URL": r"export WEBHOOK_ROUTER_DATABASE_URL=",
    "curl with a password": r"curl[^\n]*(?:-u|--user) \S+:",
}
URL = re.compile(r"postgres(?:ql)?://[^\s'\"`<>)]+")
HERE = {"127.0.0.1", "localhost", "postgres", "…", None}
"""Hosts that no wire leads to: this machine, and the network of the composition."""
OF_EARLIER_VERSIONS = {"CHANGELOG.md"}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_secret_stands_on_a_command_line(example: Path) -> None:
    """It would show in the list of processes, and stay in the history of the shell."""
    text = read(example).replace("\\\n", " ")
    assert not {what: found[0] for what, pattern in ON_A_COMMAND_LINE.items() if (found := re.search(pattern, text))}


@pytest.mark.parametrize(
    "line",
    [
        'webhook-router migrate --database-url "$OWNER"',
        "webhook-router status --database-url=postgresql://me:secret@db/app",
        "psql postgresql://me:secret@db/app",
        'psql "$(cat url)"',
        "PGPASSWORD=secret psql -h db",
        'kubectl create secret generic s --from-literal=url="$URL"',
        "docker run -e WEBHOOK_ROUTER_DATABASE_URL image",
        "echo \"create role r login password 'secret'\" | webhook-router sql -",
        "export WEBHOOK_ROUTER_DATABASE_URL='postgresql://me:secret@db/app'",
    ],
)
def test_the_check_finds_them(line: str) -> None:
    """So that the test above means something."""
    assert any(re.search(pattern, line) for pattern in ON_A_COMMAND_LINE.values())


@pytest.mark.parametrize("page", [*PAGES, *OF_THE_REPOSITORY], ids=lambda path: str(path.relative_to(ROOT)))
def test_each_url_asks_the_server_who_it_is(page: Path) -> None:
    """Wherever it leads to another machine."""
    for url in URL.findall(read(page)):
        if urlsplit(url.split(",")[0]).hostname not in HERE:
            assert "sslmode=verify-full" in url, url
            assert "sslrootcert=" in url, url


def test_brokers_of_other_machines_are_asked_too() -> None:
    """The example of a Kafka that one has is encrypted, with a password from a file."""
    (block,) = [found for found in read(DOCS / "kafka.md").split("```") if "KAFKA_BOOTSTRAP_SERVERS=broker" in found]
    assert "KAFKA_SECURITY_PROTOCOL=SASL_SSL" in block
    assert "KAFKA_SASL_PASSWORD_FILE=" in block


def test_secrets_of_kubernetes_have_a_namespace() -> None:
    """That of the overlay, whichever is the current one of whoever types it."""
    for page in PAGES:
        lines = re.findall(r"^.*kubectl\b.*\bsecret\b.*$", read(page), re.MULTILINE)
        assert not [line for line in lines if " -n webhook-router " not in line], page.name

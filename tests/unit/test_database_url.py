"""The database URL: refused in words that hold no part of a password, and completed with our settings."""

import re
from urllib.parse import unquote

import pytest
from psycopg.conninfo import conninfo_to_dict

from consumer.adapters.postgres.database_url import ENCODE, named, place_of, with_defaults
from consumer.domain.errors import Misconfigured
from tests.processes import command

UNESCAPED = [
    "postgresql://user:hun@ter2@host/db",
    "postgresql://user:hun@ter2@host:5432/db?sslmode=require",
    "postgresql://user:hun/ter2@host/db",
    "postgresql://user:12/ter2@host/db",
    "postgres://user:hun?ter2@c@host/db",
    "postgresql://user:hun/ter2?x=ter2@host/db",
    "postgresql://user:hun%ter2@host/db",
    "postgresql://user:hun ter2@host/db",
    "postgresql://user:ter2",
    "postgresql://user:ter2/db",
    "postgresql://[ter2/db",
    "postgresql://user:ter2\udcff@host/db",
    "postgresql://user:ter2\0@host/db",
    "user:ter2@host/db",
    "host=h password=hun ter2",
    "host=h password='hun'ter2' user=u",
    "host=user:ter2@host",
    "host=h port=ter2",
    "sqlite+postgresql://user:ter2@host/db",
]


@pytest.mark.parametrize("url", UNESCAPED)
def test_a_password_is_never_part_of_a_message(url: str) -> None:
    """Where an escape is missing, libpq takes a part of the password for a host, a port or a database."""
    for use in (with_defaults, place_of):
        with pytest.raises(Misconfigured) as caught:
            use(url)
        said = str(caught.value)
        assert "ter2" not in said
        assert "hun" not in said
        assert len(said.splitlines()) == 1


@pytest.mark.parametrize("port", ["70000", "123456", "5432,65536"])
def test_a_port_that_cannot_be_is_refused_for_what_it_is(port: str) -> None:
    """It is a number, and the message does not deny that."""
    with pytest.raises(Misconfigured, match="no number up to 65535"):
        with_defaults(f"host=a,b port={port}")


@pytest.mark.parametrize("url", UNESCAPED[:3])
def test_the_commands_say_what_to_do(url: str) -> None:
    """One line, exit code 2, and how to write such a password."""
    done = command("status", dsn=url)
    assert done.returncode == 2
    assert "percent-encoded" in done.stderr
    assert "ter2" not in done.stdout + done.stderr
    assert done.stderr.count("\n") == 1


def test_the_advice_works() -> None:
    """Every character that the message lists, replaced as it says, ends up in the password."""
    listed = re.findall(r"(\S+) as (%[0-9A-F]{2})", ENCODE)
    codes = [(" " if plain == "space" else plain, code) for plain, code in listed]
    password = "".join(plain for plain, _ in codes) + "x"
    assert all(unquote(code) == plain for plain, code in codes)
    assert set("@:/?#% ") == set(password) - {"x"}
    escaped = "".join(dict(codes).get(letter, letter) for letter in password)
    given = conninfo_to_dict(with_defaults(f"postgresql://user:{escaped}@host:5432/db"))
    assert given["password"] == password
    assert (given["host"], given["port"], given["dbname"], given["user"]) == ("host", "5432", "db", "user")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:p:w#&x@host:5432/db",
        "postgresql://user:secret@host-1:5432,host-2:5433/db?target_session_attrs=any",
        "postgresql://user@/db?host=/var/run/postgresql",
        "postgresql://user:secret@[::1]:5432/db",
        "postgresql://host/db?user=me@tenant&password=a@b",
        "host=host-1,host-2 port=5432 dbname=a@b password='se cret'",
        "postgresql://u:p@host,other/db",
    ],
)
def test_what_libpq_reads_in_one_way_is_left_to_it(url: str) -> None:
    """Nothing that works is refused."""
    given = conninfo_to_dict(url)
    assert given.items() <= conninfo_to_dict(with_defaults(url)).items()
    place_of(url)


@pytest.mark.parametrize(
    "url", ["postgresql://u:p@host/db\n", "\ufeffpostgresql://u:p@host/db\r\n", " host=host dbname=db\n"]
)
def test_white_space_around_it(url: str) -> None:
    """Files and secrets end in a line feed, and those of some editors begin with a mark."""
    assert place_of(url) == ("host:5432", "db")


def test_names_of_sessions() -> None:
    """pg_stat_activity shows the command, unless the URL gives its own name."""
    assert conninfo_to_dict(named("host=h", "webhook-router ingest"))["application_name"] == "webhook-router ingest"
    own = named("host=h application_name=mine", "webhook-router ingest")
    assert conninfo_to_dict(own)["application_name"] == "mine"

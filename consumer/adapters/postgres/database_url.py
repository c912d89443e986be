"""The database URL: completed with our settings, and refused in words that hold no part of a password.

A character that is not percent-encoded has libpq take a part of the password for a host, a port or the name of a
database, and it quotes those. So a URL is refused that can be read in two ways, before anybody quotes anything.
"""

import re
from typing import Any, Final

import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from consumer.domain.errors import Misconfigured

DEFAULTS: Final = {
    "application_name": "webhook-router",
    "connect_timeout": "10",
    # A network that drops packets reports nothing: without these a session waits for hours.
    "keepalives_idle": "15",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "20000",
}
ALWAYS: Final = {"client_encoding": "utf8"}
"""Whatever the database, the role and the environment say; the server then converts to its own encoding and back."""

NAMED_BY: Final = ("host", "hostaddr", "dbname", "service")
"""Parameters of which one must say which database is meant."""

LOOKS_LIKE: Final = "it looks like postgresql://user:password@host:5432/database"
ENCODE: Final = (
    "in a user name or password these must be percent-encoded: "
    "% as %25, @ as %40, : as %3A, / as %2F, ? as %3F, # as %23, space as %20"
)
# libpq's errors about a connection string quote it, password included.
_QUOTED: Final = re.compile(r'".*"', re.DOTALL)
_URL: Final = re.compile(r"postgres(?:ql)?://(?P<place>[^/?]*)(?P<database>[^?]*)")
_LAST_PORT: Final = 65535
_PORTS: Final = re.compile(r"(?:\d{1,5})?(?:,(?:\d{1,5})?)*", re.ASCII)
_NO_HOST: Final = re.compile(r"[@\s\x00-\x1f]")


def with_defaults(conninfo: str) -> str:
    """The connection string, completed with our settings.

    Raises:
        Misconfigured: it is not a connection string, or it leaves to libpq's defaults which database is meant.
    """
    given = parameters(conninfo)
    if not (any(given.get(name) for name in NAMED_BY) or _libpq_is_told_where()):
        raise Misconfigured(f"the database URL names neither a host nor a database; {LOOKS_LIKE}")
    return make_conninfo("", **{**DEFAULTS, **given, **ALWAYS})


def parameters(conninfo: str) -> dict[str, Any]:
    """What the connection string says, without white space around it: files and secrets end in a line feed.

    Raises:
        Misconfigured: it is not a connection string, or can be read in two ways.
    """
    conninfo = conninfo.strip().removeprefix("\ufeff")
    try:
        conninfo.encode()
    except UnicodeEncodeError:
        raise Misconfigured(f"the database URL is not UTF-8 text; {LOOKS_LIKE}") from None
    if "\0" in conninfo:
        raise Misconfigured(f"the database URL contains a NUL character; {LOOKS_LIKE}")
    url = _URL.match(conninfo)
    if url is not None and (url["place"].count("@") > 1 or "@" in url["database"]):
        raise Misconfigured(f"the database URL has an @ too many; {ENCODE}")
    try:
        given = conninfo_to_dict(conninfo)
    except psycopg.ProgrammingError as error:
        said = _QUOTED.sub('"…"', " ".join(str(error).split()))
        advice = (
            ENCODE if url is not None else "in a DSN, a value with spaces or quotes stands in '…', with \\' for a quote"
        )
        raise Misconfigured(f"the database URL is not a libpq URL or DSN ({said}); {LOOKS_LIKE}; {advice}") from None
    ports = str(given.get("port") or "")
    if not _PORTS.fullmatch(ports) or any(int(port or 0) > _LAST_PORT for port in ports.split(",")):
        raise Misconfigured(f"the port in the database URL is no number up to 65535; {LOOKS_LIKE}; {ENCODE}")
    if any(_NO_HOST.search(str(given.get(name) or "")) for name in ("host", "hostaddr")):
        raise Misconfigured(f"the host in the database URL has a character that no host has; {LOOKS_LIKE}; {ENCODE}")
    return given


def place_of(conninfo: str) -> tuple[str, str]:
    """Host (with port; several with commas in between; or a socket's folder) and name of the database, for the log.

    What the string leaves open comes from where libpq takes it: PGHOST and the like, or its own defaults.
    """
    given = conninfo_to_dict(with_defaults(conninfo))
    if "service" in given and "host" not in given:
        return f"service {given['service']}", str(given.get("dbname", ""))
    defaults = {option.keyword.decode(): option.val.decode() for option in pq.Conninfo.get_defaults() if option.val}
    given = {**defaults, **given}
    hosts = str(given.get("host") or given.get("hostaddr") or "local").split(",")
    ports = str(given.get("port", "")).split(",")
    places = [
        f"{host}:{port}".rstrip(":") for host, port in zip(hosts, ports * (len(hosts) // len(ports)), strict=False)
    ]
    return ",".join(places), str(given.get("dbname") or given.get("user") or "")


def named(conninfo: str, name: str) -> str:
    """The connection string for sessions that pg_stat_activity shows by this name, unless the string has one itself."""
    known_as = parameters(conninfo).get("application_name")
    if known_as in {None, DEFAULTS["application_name"]}:
        known_as = name
    return make_conninfo(with_defaults(conninfo), application_name=known_as)


def _libpq_is_told_where() -> bool:
    """Whether PGHOST, PGDATABASE or PGSERVICE is set; the default without them is whatever runs on this machine."""
    return any(option.val for option in pq.Conninfo.get_defaults() if option.keyword.decode() in NAMED_BY)

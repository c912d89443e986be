"""The runbook: each fault of an alert is made, looked at and mended with what the page says, typed from the page."""

import contextlib
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psycopg
import pytest

from tests.conftest import StartPostgres
from tests.deploy import service_login
from tests.deploy.tools import DOCS
from tests.intake import feeding
from tests.processes import Router, command, running
from tests.waiting import wait_for

PAGE = (DOCS / "operating.md").read_text(encoding="utf-8")
SQL = re.compile(r"(?:select|alter|update|begin;|explain|rollback|commit) ")
PARKED = "'whatsapp', 'refused 1'"
UNROUTED = "select count(*) from webhook_events where routed_at is null"
REFUSAL = "alter table messages add constraint short check (length(content_text) < 5)"


def section(title: str) -> str:
    """What stands below a heading, or after a bold beginning of a paragraph."""
    found = re.search(rf"^### {title}\n(.*?)(?=^##|\Z)|^\*\*{title}\.\*\*(.*?)\n\n", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None, title
    return found[1] or found[2]


def spans(text: str) -> list[str]:
    """The code in a text."""
    return [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", text)]


def told(title: str, start: str) -> str:
    """The code of a section that begins so."""
    (code,) = {code for code in spans(section(title)) if code.startswith(start)}
    return code


class Incident:
    """A database with a service that routes it, as whoever is on call finds them."""

    def __init__(self, owner: psycopg.Connection, owned: str, served: str) -> None:
        self.psql = owner
        self.owned = owned
        self.served = served

    def typed(self, line: str, *, as_owner: bool = False) -> str:
        """What a command of the page prints; it has to succeed."""
        program, *arguments = line.split()
        assert program == "webhook-router", line
        done = command(*arguments, dsn=self.owned if as_owner else self.served)
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def status(self, line: str) -> str:
        """One line of `webhook-router status`."""
        (found,) = re.findall(rf"^{line} +(.*)$", self.typed("webhook-router status"), re.MULTILINE)
        return str(found)

    def column(self, query: str) -> list[object]:
        """The first column of what a session in PSQL finds."""
        return [row[0] for row in self.psql.execute(query.encode()).fetchall()]

    def insert(self, prefix: str, count: int = 3) -> None:
        """Commits events, as an edge function would."""
        self.psql.execute(
            """insert into webhook_events (channel, type, event_id, author_id, content)
               select 'whatsapp', 'message', %s || i, 'author ' || i, 'a text' from generate_series(1, %s) i""",
            [prefix, count],
        )

    def until_routed(self) -> None:
        """Waits for an empty table."""
        wait_for(lambda: self.column(UNROUTED) == [0], what="everything to be routed")

    @contextlib.contextmanager
    def served_by(self, *flags: str) -> Iterator[Router]:
        """A service that sweeps often."""
        with running(self.served, "--reconcile-interval", "0.5", "--sample-interval", "0.3", *flags) as router:
            router.until_listening()
            yield router


@contextlib.contextmanager
def incident_on(owned: str) -> Iterator[Incident]:
    """The same for any database with the schema."""
    with service_login.made(owned) as (_, served), psycopg.connect(owned, autocommit=True) as owner:
        yield Incident(owner, owned, served)


@pytest.fixture
def incident(database: str) -> Iterator[Incident]:
    """On the shared server."""
    with incident_on(database) as made:
        yield made


@contextlib.contextmanager
def ended(dsn: str) -> Iterator[psycopg.Connection]:
    """A session in a transaction, which somebody else may end."""
    with contextlib.closing(psycopg.connect(dsn)) as connection:
        yield connection


def park(incident: Incident) -> list[str]:
    """Three events that a check constraint of the application refuses, one of them for the last time; their ids."""
    incident.psql.execute(REFUSAL)
    incident.insert("refused ")
    incident.psql.execute("select router.route_batch(100)")
    ids = [str(found) for found in incident.column("select event_id from router.parked_events order by event_id")]
    assert len(ids) == 3
    incident.psql.execute("update router.parked_events set attempts = 9 where event_id = %s", [ids[0]])
    incident.psql.execute("update webhook_events set parked_until = now() where id = %s", [ids[0]])
    incident.psql.execute("select router.route_due(null, 100)")
    return ids


ALERTS = sorted(set(re.findall(r"^### (WebhookRouter\w+)$", PAGE, re.MULTILINE)))


@pytest.mark.parametrize("title", ALERTS)
def test_what_a_section_says_can_be_typed(title: str, incident: Incident) -> None:
    """Each command of the program and each statement is accepted: no name is wrong, no argument is missing."""
    ids = park(incident)
    feeding.take(incident.psql, [feeding.read("whatsapp", b"{}")])
    (delivery,) = map(str, incident.column("select id from router.deliveries"))
    with ended(incident.owned) as other:
        pid = other.info.backend_pid
        for code in spans(section(title)):
            if "'CHANNEL', 'EVENT_ID'" in code:
                with pytest.raises(psycopg.errors.CheckViolation):
                    incident.psql.execute(code.replace("'CHANNEL', 'EVENT_ID'", PARKED).encode())
                continue
            line = code.replace("DELIVERY", delivery).replace("PROVIDER", "whatsapp").replace("TIME", "3d")
            line = line.replace("ID…", ids[0]).replace("ID", ids[1]).replace("(pid)", f"({pid})")
            if line.startswith("webhook-router kafka "):
                continue  # typed in tests/kafka/test_skip.py, where there are brokers
            if line.startswith("webhook-router "):
                owners = line.split()[1] in {"migrate", "audit", "replay"} or "deliveries show" in line
                incident.typed(line, as_owner=owners)
            elif SQL.match(line) and "…" not in line:
                incident.psql.execute(line.encode())


class TestDoorbell:
    TITLE = "WebhookRouterDoorbellSilent"

    def test_disabled(self, incident: Incident) -> None:
        """Events are routed meanwhile, and the statement of the page makes it ring again."""
        with incident.served_by():
            incident.psql.execute(told("WebhookRouterNotificationQueueNearlyFull", "alter table").encode())
            assert "disabled" in incident.status("doorbell")
            incident.insert("polled ")
            incident.until_routed()
            incident.psql.execute(told(self.TITLE, "alter table").encode())
            assert incident.status("doorbell") == "rings"

    def test_missing(self, incident: Incident) -> None:
        """A migration makes it again."""
        incident.psql.execute("drop trigger webhook_router_doorbell on webhook_events")
        assert "missing" in incident.status("doorbell")
        incident.typed("webhook-router migrate", as_owner=True)
        assert incident.status("doorbell") == "rings"

    def test_off(self, incident: Incident) -> None:
        """The option of the page installs it."""
        incident.typed("webhook-router migrate --no-doorbell", as_owner=True)
        assert "installed without it" in incident.status("doorbell")
        incident.typed(told(self.TITLE, "webhook-router migrate --doorbell"), as_owner=True)
        assert incident.status("doorbell") == "rings"

    def test_silenced(self, incident: Incident) -> None:
        """The query of the page finds who holds the lock."""
        with ended(incident.owned) as other:
            other.execute("select pg_advisory_lock(1920298101, 0)")
            assert "advisory lock" in incident.status("doorbell")
            assert other.info.backend_pid in incident.column(told(self.TITLE, "select pid"))
            incident.psql.execute("select pg_terminate_backend(%s)", [other.info.backend_pid])
        wait_for(lambda: incident.status("doorbell") == "rings", what="the doorbell")


def test_a_transaction_in_the_way_is_found_and_ended(incident: Incident) -> None:
    """The oldest of the sessions that the page's query lists; once it is ended, what has waited is routed."""
    query = told("WebhookRouterBacklogOld", "select pid")
    with ended(incident.owned) as blocker, incident.served_by():
        blocker.execute("lock table conversations in share mode")
        incident.insert("blocked ")
        rows = incident.psql.execute(query.encode()).fetchall()
        assert blocker.info.backend_pid in {row[0] for row in rows}
        end = told("WebhookRouterBacklogOld", "select pg_terminate")
        assert incident.column(end.replace("(pid)", f"({blocker.info.backend_pid})")) == [True]
        incident.until_routed()


def test_triggers_are_measured_without_a_trace(incident: Incident) -> None:
    """The plan of an insert names each trigger with its time, and the message is not kept."""
    incident.psql.execute(
        "create function public.slow() returns trigger language plpgsql as $$ begin return new; end $$"
    )
    incident.psql.execute("create trigger slow before insert on messages for each row execute function public.slow()")
    values = "(conversation_id, channel, direction, content_text) select id, channel, 'inbound', 'x' from conversations"
    incident.insert("known ", 1)
    incident.psql.execute("select router.route_batch(10)")
    *begun, insert, rolled_back = told("WebhookRouterBacklogOld", "begin").replace("…", values).split("; ")
    for statement in begun:
        incident.psql.execute(statement.encode())
    assert any("Trigger slow: time=" in str(line) for line in incident.column(insert))
    incident.psql.execute(rolled_back.encode())
    assert incident.column("select count(*) from messages") == [1]


def test_a_missing_function_is_named_and_made_again(incident: Incident) -> None:
    """The audit says what is missing, the migration makes it, and the service goes on by itself."""
    with incident.served_by():
        incident.psql.execute("drop function router.route_batch cascade")
        incident.insert("waiting ")
        audit = command(*told("WebhookRouterNoProgress", "webhook-router audit").split()[1:], dsn=incident.owned)
        assert audit.returncode == 1
        incident.typed(told("WebhookRouterNoProgress", "webhook-router migrate"), as_owner=True)
        incident.until_routed()


def test_a_prepared_transaction_is_found_and_ended(private_postgres: StartPostgres) -> None:
    """Nobody holds its session any more; the page's query has its name."""
    server = private_postgres(settings={"max_prepared_transactions": "2"})
    assert command("migrate", dsn=server.dsn()).returncode == 0
    with incident_on(server.dsn()) as incident:
        incident.psql.execute("begin; lock table messages in share mode; prepare transaction 'left behind'")
        incident.insert("blocked ")
        for title in ("WebhookRouterNoProgress", "A prepared transaction is in the way"):
            assert incident.column(told(title, "select gid")) == ["left behind"]
        incident.psql.execute(told("WebhookRouterNoProgress", "rollback").replace("…", "left behind").encode())
        with incident.served_by():
            incident.until_routed()


def test_parked_events_are_seen_and_tried_again(incident: Incident) -> None:
    """By state, one by one; and all of an error are tried again once its cause is gone."""
    ids = park(incident)
    grouped = incident.typed(told("WebhookRouterParkedGrowing", "webhook-router parked list"))
    assert re.search(r"^ *3 \| *2 \| *1 \|.*23514", grouped, re.MULTILINE), grouped
    assert incident.typed(told("WebhookRouterDeadEvents", "webhook-router parked list")).count("23514") == 1
    shown = incident.typed(told("WebhookRouterParkedGrowing", "webhook-router parked show").replace("ID", ids[1]))
    assert "a text" not in shown
    incident.psql.execute("alter table messages drop constraint short")
    with incident.served_by():
        incident.typed(told("WebhookRouterParkedGrowing", "webhook-router parked retry --all"))
        incident.until_routed()


def test_dead_events_are_dealt_with(incident: Incident) -> None:
    """A retry makes the one that is named pending again, and a discarded one is counted as such."""
    ids = park(incident)
    assert incident.status("dead").startswith("1 ")
    incident.typed(told("WebhookRouterDeadEvents", "webhook-router parked retry").replace("ID…", ids[0]))
    assert incident.status("dead") == "0"
    incident.typed(told("WebhookRouterParkedGrowing", "webhook-router parked discard").replace("ID…", ids[1]))
    assert incident.status("discarded") == "1"
    assert incident.column("select count(*) from webhook_events") == [3]


def test_held_events_are_named_and_routed_after_the_mending(incident: Incident) -> None:
    """The log names what is broken, /readyz says that something is; with the trigger disabled the sweep routes them."""
    incident.psql.execute(
        """create function public.broken() returns trigger language plpgsql
           as $$ begin new.metadata := new.absent; return new; end $$"""
    )
    incident.psql.execute("create trigger broken before insert on messages for each row execute function broken()")
    with incident.served_by() as router:
        incident.insert("held ")
        (line, *_) = wait_for(partial(router.logged, "events are held"), what="the line of the log")
        assert "absent" in str(line)
        status, said = router.get("/readyz")
        assert (status, said) == (503, "not ready: events cannot be routed at the moment\n")
        disable = told("WebhookRouterEventsHeld", "alter table").replace("…", "broken")
        incident.psql.execute(disable.encode())
        incident.until_routed()
        router.until_ready()


def test_without_a_service_events_are_routed_by_hand(incident: Incident) -> None:
    """With the program from anywhere, or with nothing but a session."""
    incident.insert("by the program ")
    incident.typed(told("WebhookRouterAbsent", "webhook-router reconcile"))
    assert incident.column(UNROUTED) == [0]
    incident.insert("in a session ")
    assert incident.column(told("WebhookRouterAbsent", "select public.")) == [3]


def test_events_are_routed_again(incident: Incident) -> None:
    """They are marked by the next sweep, and have one message each."""
    again = told("Route again", "update").replace("…", "event_id like 'old %'")
    with incident.served_by():
        incident.insert("old ")
        incident.until_routed()
        incident.psql.execute(again.encode())
        incident.until_routed()
    assert incident.column("select count(*) from messages") == [3]


def test_the_password_is_changed_without_a_pause(incident: Incident, tmp_path: Path) -> None:
    """In the database and in the file, then replica by replica: those that run go on with their sessions."""
    login = psycopg.conninfo.conninfo_to_dict(incident.served)["user"]
    url = tmp_path / "database-url"
    url.write_text(incident.served, encoding="utf-8")
    assert "WEBHOOK_ROUTER_DATABASE_URL_FILE" in section("Change the password")
    with incident.served_by():
        incident.psql.execute(f"alter role {login} password 'another'".encode())
        url.write_text(psycopg.conninfo.make_conninfo(incident.served, password="another"), encoding="utf-8")
        incident.insert("before ")
        incident.until_routed()
    assert command("reconcile", env={"WEBHOOK_ROUTER_DATABASE_URL_FILE": str(url)}).returncode == 0

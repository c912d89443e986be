"""What the service writes: a line per fault and a summary, and never what people have written or who they are."""

import io
import itertools
import json
import logging
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from dataclasses import replace
from typing import Any

import psycopg
import pytest
import structlog

from consumer.adapters.telemetry import log as logs
from consumer.domain.facts import (
    BacklogSampled,
    BatchRouted,
    Fact,
    ListenerLost,
    LoopFailed,
    LoopRecovered,
    Pruned,
    Started,
    Stopped,
    SweepFinished,
)
from consumer.domain.retention import Kind, PruneStep
from consumer.domain.routing import NOW, Backlog, Batch, Path
from tests.deploy import service_login
from tests.processes import command, running
from tests.waiting import wait_for

STARTED = Started(version="1.2.3", database="app", host="db:5432", source="postgres", address="http://h:1")
MARK = "xyzzy"
"""Part of everything that a person has written or is called, in the events of these tests."""

MARKED_EVENTS = f"""
    insert into public.webhook_events (channel, type, event_id, author_id, author_name, content, event_date, post_id,
                                       raw_payload)
    select c.channel, 'message', '{MARK}-event-' || c.kind || i, '{MARK}-author-' || i, '{MARK} name ' || i,
           c.kind || ' {MARK} content ' || i, case c.kind when 'endless' then 'infinity' else now() end,
           '{MARK}-post-' || i, jsonb_build_object('text', '{MARK} payload ' || i)
    from (values ('whatsapp', 'good'), ('instagram', 'raised'), ('facebook', 'refused'), ('tiktok', 'deferred'),
                 ('youtube', 'endless')) as c (channel, kind),
         generate_series(1, 20) i
"""
TRIGGERS = """
    alter table public.messages add constraint no_refused check (content_text not like 'refused%');
    create function public.moody() returns trigger language plpgsql as $$
    begin
        if new.content_text like tg_argv[0] || '%' then
            raise exception 'cannot take %', new.content_text
                using detail = 'it says ' || new.content_text, errcode = tg_argv[1],
                      hint = 'ask ' || (select max(full_name) from public.contacts);
        end if;
        return new;
    end
    $$;
    create trigger moody before insert on public.messages for each row execute function public.moody('raised', 'P0001');
    create constraint trigger moody_later after insert on public.messages deferrable initially deferred
        for each row execute function public.moody('deferred', '22000');
    create trigger busy before insert on public.messages
        for each row execute function public.moody('busy', 'lock_not_available');
    create trigger forbidding before insert on public.messages
        for each row execute function public.moody('forbidden', 'insufficient_privilege');
"""
THREE_EVENTS = f"""
    insert into public.webhook_events (channel, type, event_id, author_id, author_name, content)
    select 'whatsapp', 'message', '{MARK}-event-' || i, '{MARK}-author', '{MARK}', %s || ' {MARK}'
    from generate_series(1, 3) i
"""


@pytest.fixture
def application(database: str) -> Iterator[psycopg.Connection]:
    """The application's own connection, with triggers that quote what they refuse."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(TRIGGERS.encode())
        yield connection


def number(connection: psycopg.Connection, query: str) -> int:
    """The one number that a query gives."""
    row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return int(row[0])


class TestSecrecy:
    def test_nothing_of_the_events_is_told(self, database: str, application: psycopg.Connection) -> None:
        """Good events, refused ones of four kinds, an outage: neither log, metrics nor probes hold a word of them."""
        flags = ("--log-level", "debug", "--summary-interval", "0.2", "--sample-interval", "0.1")
        with running(database, *flags, "--reconcile-interval", "0.5") as router:
            router.until_listening()
            application.execute(MARKED_EVENTS.encode())
            settled = "select count(*) from webhook_events where routed_at is not null or parked_until is not null"
            wait_for(lambda: number(application, settled) == 100, what="all routed or parked")
            assert number(application, "select count(*) from messages") == 20
            assert number(application, "select count(*) from router.parked_events") == 80
            assert number(application, f"select count(*) from router.parked_events p where p::text ~ '{MARK}'") == 0
            wait_for(lambda: router.logged("routed"), what="a summary")
            pages = "".join(router.get(path)[1] for path in ("/metrics", "/livez", "/readyz"))
            router.signal(signal.SIGTERM)
            assert router.stopped() == 0
        assert router.logged("events parked")
        assert MARK not in pages
        assert MARK not in json.dumps(router.lines)

    @pytest.mark.parametrize(
        ("kind", "state", "said"), [("busy", "55P03", "cannot go on"), ("forbidden", "42501", "events are held")]
    )
    def test_an_error_that_is_not_the_events_own_tells_nothing_either(
        self, database: str, application: psycopg.Connection, kind: str, state: str, said: str
    ) -> None:
        """What stops a whole batch is logged with its code, without the words in which a trigger quotes the event."""
        with running(database, "--log-level", "debug") as router:
            router.until_listening()
            application.execute(THREE_EVENTS.encode(), [kind])
            wait_for(lambda: router.logged(said), what="the failure in the log")
        (first, *_) = router.logged(said)
        assert state in first["reason"]
        assert MARK not in json.dumps(router.lines)

    def test_commands_tell_nothing_on_stderr(self, database: str, application: psycopg.Connection) -> None:
        """The sweep from cron, whose output ends up in mail and logs, says how many and no more."""
        application.execute(MARKED_EVENTS.encode())
        done = command("reconcile", dsn=database)
        assert done.stdout == "20\n"
        assert "80 could not be routed" in done.stderr
        assert MARK not in done.stdout + done.stderr

    def test_the_password_is_nowhere(self, database: str) -> None:
        """Neither in the log of a service that cannot log in, nor in what `config` prints."""
        with service_login.made(database) as (_, dsn):
            wrong = re.sub(r"password=\S+", f"password={MARK}", dsn)
            with running(wrong, "--log-level", "debug") as router:
                assert router.stopped() == 2
            assert MARK not in json.dumps(router.lines)
            shown = command("config", dsn=wrong)
            assert MARK not in shown.stdout + shown.stderr


def batch(*, routed: int = 0, parked: int = 0, dead: int = 0) -> BatchRouted:
    """A batch of so many events."""
    return BatchRouted(
        path=Path.HOT,
        batch=Batch(
            claimed=routed + parked,
            inserted=routed,
            parked=parked,
            dead=dead,
            channels=("whatsapp",) * routed,
            ages=(0.01,) * routed,
            reached=NOW,
            seconds=0.01,
        ),
    )


def sampled() -> BacklogSampled:
    """A look at an empty backlog."""
    return BacklogSampled(backlog=Backlog(ready=0, oldest_seconds=0, parked=0, dead=0, notification_queue=0))


Written = Callable[..., list[dict[str, Any]]]


@pytest.fixture(autouse=True)
def _unconfigured() -> Iterator[None]:
    """Other tests of this process find the log as it is at first."""
    yield
    structlog.reset_defaults()


@pytest.fixture
def written() -> Written:
    """Gives facts to a log of its own, and returns the lines that it writes."""

    def written(
        *facts: Fact, level: str = "info", summary_every: float = 3600, now: Callable[[], float] = time.monotonic
    ) -> list[dict[str, Any]]:
        text = io.StringIO()
        with redirect_stderr(text):
            logs.configure(format="json", level=level)
            log = logs.Log(summary_every=summary_every, now=now)
            for fact in facts:
                log(fact)
        return [json.loads(line) for line in text.getvalue().splitlines()]

    return written


class TestLines:
    def test_a_thousand_batches_are_one_line(self, written: Written) -> None:
        """The summary at the end adds up what no line was written for."""
        lines = written(STARTED, *[batch(routed=7)] * 1000, Stopped())
        assert [line["event"] for line in lines] == ["webhook-router is running", "routed", "stopped"]
        assert lines[1]["events"] == 7000

    def test_a_gateway_that_serves_nobody(self, written: Written) -> None:
        """It starts, and a warning says that no provider has a secret."""
        lines = written(replace(STARTED, gateway="http://h:2"))
        assert [line["level"] for line in lines] == ["info", "warning"]
        assert "no provider has a secret" in lines[1]["event"]

    def test_whom_a_gateway_serves(self, written: Written) -> None:
        """The first line names them; who has a verify token alone is warned of, since its deliveries are refused."""
        started = replace(STARTED, gateway="http://h:2", providers=("tiktok", "whatsapp"), refusing=("whatsapp",))
        first, second = written(started)
        assert first["providers"] == "tiktok, whatsapp"
        assert (second["level"], second["provider"]) == ("warning", "whatsapp")
        assert second["missing"] == "WEBHOOK_ROUTER_WHATSAPP_APP_SECRETS_FILE"

    def test_a_thousand_parked_events_are_a_few_lines(self, written: Written) -> None:
        """The first is told at once, the others together from time to time, and none is left out."""
        lines = written(*[batch(parked=1)] * 999, batch(parked=1, dead=1), Stopped())
        told = [line for line in lines if line["event"].startswith("events parked")]
        assert {line["level"] for line in told} == {"warning"}
        assert told[0]["parked"] == 1
        assert len(told) < 20
        assert sum(line["parked"] for line in told) == 1000
        assert sum(line["dead"] for line in told) == 1

    def test_summaries_come_when_they_are_due(self, written: Written) -> None:
        """One after each interval in which something was routed, none for a quiet one."""
        lines = written(batch(routed=1), sampled(), sampled(), batch(routed=2), sampled(), summary_every=1e-9)
        assert [(line["event"], line["events"]) for line in lines] == [("routed", 1), ("routed", 2)]

    def test_summaries_come_under_load_as_well(self, written: Written) -> None:
        """However rarely the backlog is counted; the line has its size when there is a new count."""
        times = itertools.count()
        lines = written(
            *[batch(routed=1)] * 35, sampled(), *[batch(routed=1)] * 30, summary_every=10, now=times.__next__
        )
        assert len(lines) >= 5
        assert {line["event"] for line in lines} == {"routed"}
        assert all(10 <= line["seconds"] < 13 for line in lines)
        assert [line["backlog_events"] for line in lines if "backlog_events" in line] == [0]

    def test_a_long_outage_is_a_few_lines(self, written: Written) -> None:
        """Attempts 1, 2, 4, 8, … and the end of it."""
        failures = [LoopFailed(loop="hot", reason="refused", attempt=n, delay=1) for n in range(1, 101)]
        lines = written(*failures, LoopRecovered(loop="hot", attempts=100))
        assert [line.get("attempt") for line in lines] == [1, 2, 4, 8, 16, 32, 64, None]

    def test_pruning_is_a_line_a_round(self, written: Written) -> None:
        """With what all of its steps have done; what the application keeps is a warning, once for each reason."""

        def step(gone: int, place: str | None, refused: int = 0, reason: str | None = None) -> Pruned:
            return Pruned(
                kind=Kind.EVENTS,
                step=PruneStep(
                    gone=gone,
                    bytes=10 * gone,
                    refused=refused,
                    reason=reason,
                    place=place,
                    oldest=None,
                    busy=False,
                    seconds=0.1,
                ),
            )

        lines = written(
            step(1000, "1"),
            step(500, None),
            step(0, None),
            step(0, "1", refused=2, reason="23503: a key"),
            step(3, "2", refused=2, reason="23503: a key"),
            step(1, None),
        )
        assert [(line["event"], line.get("gone"), line.get("bytes"), line.get("reason")) for line in lines] == [
            ("pruned", 1500, 15_000, None),
            ("the application keeps events that are due to go", None, None, "23503: a key"),
            ("pruned", 4, 40, None),
        ]

    def test_levels_say_who_has_to_look(self, written: Written) -> None:
        """Warnings are what an operator may have to act on; a quiet level keeps exactly those."""
        facts = [
            STARTED,
            batch(routed=1, parked=2, dead=1),
            ListenerLost(reason="gone"),
            LoopFailed(loop="sweep", reason="refused", attempt=1, delay=1),
            SweepFinished(found=3, due=0, seconds=0.1),
            Stopped(),
        ]
        levels = {line["event"]: line["level"] for line in written(*facts)}
        warnings = {event for event, level in levels.items() if level == "warning"}
        assert len(warnings) == 3
        assert {line["event"] for line in written(*facts, level="warning")} == warnings
        assert written(*facts, level="error") == []

    def test_every_line_can_be_placed(self, written: Written) -> None:
        """Time in UTC, level and what happened, in each."""
        for line in written(STARTED, batch(parked=1), Stopped()):
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", line["timestamp"])
            assert line["level"] in {"info", "warning"}
            assert line["event"]
            assert list(line)[:3] == ["timestamp", "level", "event"]

    def test_readable_on_a_terminal(self) -> None:
        """The other format is text for people."""
        text = io.StringIO()
        with redirect_stderr(text):
            logs.configure(format="text", level="info")
            logs.Log(summary_every=1)(STARTED)
        assert "webhook-router is running" in text.getvalue()
        assert not text.getvalue().startswith("{")

    @pytest.mark.parametrize(("no_color", "colored"), [(None, True), ("", True), ("1", False)])
    def test_colors(self, monkeypatch: pytest.MonkeyPatch, no_color: str | None, *, colored: bool) -> None:
        """On a terminal, unless NO_COLOR is set to something."""
        monkeypatch.delenv("NO_COLOR", raising=False)
        if no_color is not None:
            monkeypatch.setenv("NO_COLOR", no_color)
        text = io.StringIO()
        monkeypatch.setattr(text, "isatty", lambda: True)
        with redirect_stderr(text):
            logs.configure(format="auto", level="info")
            logs.Log(summary_every=1)(STARTED)
        assert "webhook-router is running" in text.getvalue()
        assert ("\x1b[" in text.getvalue()) is colored

    @pytest.mark.parametrize("driver", ["aiokafka.client", "psycopg", "psycopg.pool"])
    @pytest.mark.parametrize(("level", "events"), [("debug", ["it retries"]), ("info", [])])
    def test_lines_of_drivers_are_among_ours(self, driver: str, level: str, events: list[str]) -> None:
        """In our format when all lines are asked for; otherwise facts have said what matters of them."""
        text = io.StringIO()
        with redirect_stderr(text):
            logs.configure(format="json", level=level)
            logging.getLogger(driver).warning("it %s", "retries")
        lines = [json.loads(line) for line in text.getvalue().splitlines()]
        assert [line["event"] for line in lines] == events
        assert {line["logger"] for line in lines} == ({driver} if events else set())

    @pytest.mark.parametrize("level", ["info", "debug"])
    def test_other_libraries_are_among_ours(self, level: str) -> None:
        """Their warnings, and what goes wrong in a task that nobody waits for, with its traceback, in one line."""
        text = io.StringIO()
        with redirect_stderr(text):
            logs.configure(format="json", level=level)
            logging.getLogger("asyncio").error("Task exception was never retrieved", exc_info=ValueError("a\nb\x1b"))
            logging.getLogger("some.library").info("not this")
        (line,) = [json.loads(line) for line in text.getvalue().splitlines()]
        assert (line["event"], line["level"], line["logger"]) == (
            "Task exception was never retrieved",
            "error",
            "asyncio",
        )
        assert "ValueError" in line["exception"]

    def test_text_is_one_line_each(self) -> None:
        """A reason that strangers had a hand in neither begins a line nor colours one."""
        text = io.StringIO()
        with redirect_stderr(text):
            logs.configure(format="text", level="info")
            logs.Log(summary_every=1)(LoopFailed(loop="hot", reason="a\nb\x1b[31m\u202e\x9b", attempt=1, delay=1))
        (line,) = text.getvalue().splitlines()
        assert "a b" in line
        assert not set(line) & set("\x1b\u202e\x9b")

    def test_the_start_says_what_runs(self, written: Written) -> None:
        """Version, database and source, beside the address of the probes."""
        (line,) = written(STARTED)
        told = {"version": "1.2.3", "database": "app", "host": "db:5432", "source": "postgres", "address": "http://h:1"}
        assert told.items() <= line.items()


class TestOtherLines:
    """What the service says before its log begins and after it has ended."""

    @pytest.mark.parametrize("url", ["", "postgresql://u:p@ss@h/db", "postgresql://nobody@127.0.0.1:1/db?port=x"])
    def test_wrong_settings(self, url: str) -> None:
        """They are lines of JSON as well, each beginning with the program's name."""
        env = {"WEBHOOK_ROUTER_LOG_FORMAT": "json", "WEBHOOK_ROUTER_BATCHSIZE": "1"}
        done = command("run", dsn=url, env=env)
        assert done.returncode == 2
        misspelt, wrong = [json.loads(line) for line in done.stderr.splitlines()]
        assert misspelt["event"].startswith("webhook-router: WEBHOOK_ROUTER_BATCHSIZE is not a setting")
        assert wrong["event"].startswith("webhook-router: ")
        assert list(wrong) == ["timestamp", "level", "event"]

    def test_a_database_without_the_schema(self, empty_database: str) -> None:
        """The last words have the form of the log."""
        done = command("run", "--http-port", "0", dsn=empty_database, env={"WEBHOOK_ROUTER_LOG_FORMAT": "json"})
        assert done.returncode == 1
        *_, last = [json.loads(line) for line in done.stderr.splitlines()]
        assert "run `webhook-router migrate`" in last["event"]

    def test_text_stays_text(self) -> None:
        """And commands speak to people."""
        done = command("run", dsn="", env={"WEBHOOK_ROUTER_LOG_FORMAT": "text"})
        assert done.stderr.startswith("webhook-router: no database given")
        done = command("status", dsn="", env={"WEBHOOK_ROUTER_LOG_FORMAT": "json"})
        assert done.stderr.startswith("webhook-router: no database given")

"""`webhook-router status --watch`: a screen, lines, or JSON, for as long as somebody looks on."""

import contextlib
import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import TupleRow

from tests.chaos.relay import Relay
from tests.processes import clean_environment, command, running
from tests.waiting import wait_for

Connection = psycopg.Connection[TupleRow]


@pytest.fixture
def connection(database: str) -> Iterator[Connection]:
    with psycopg.connect(database, autocommit=True) as opened:
        yield opened


class Watching:
    """`status --watch` as a process; what it says is read as it comes."""

    def __init__(self, dsn: str, *flags: str, width: int | None = None, no_color: str = "1") -> None:
        """`width`: of a terminal of 24 lines; None: it writes into a pipe."""
        ours, theirs = os.pipe() if width is None else pty.openpty()
        if width is not None:
            fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
        # A terminal says how wide it is; where these are set, as readline does in this process, they would be believed.
        inherited = {name: value for name, value in clean_environment().items() if name not in {"COLUMNS", "LINES"}}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "consumer", "status", "--watch", "--every", "0.2", *flags],
            env={
                **inherited,
                "WEBHOOK_ROUTER_DATABASE_URL": dsn,
                "TERM": "xterm-256color",
                "NO_COLOR": no_color,
            },
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        self._ours = ours
        self._said = bytearray()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # the other end of a terminal is closed
            while chunk := os.read(self._ours, 65_536):
                self._said.extend(chunk)

    @property
    def said(self) -> str:
        return self._said.decode(errors="replace")

    @property
    def lines(self) -> list[str]:
        """Those that are complete."""
        return self.said.split("\n")[:-1]

    @property
    def frame(self) -> list[str]:
        """What a terminal shows just now, or a moment ago."""
        plain = re.sub(r"\x1b\[[0-9;]*m", "", self.said)
        drawn = re.split(r"(?:\r?\x1b\[2K(?:\x1b\[1A)?)+|\x1b\[\?25[hl]", plain)
        whole = [part for part in drawn if part.rstrip().endswith("Ctrl-C ends")]
        return whole[-1].replace("\r", "").split("\n") if whole else []

    def until(self, text: str) -> None:
        wait_for(lambda: text in self.said, what=f"{text!r} in {self.said!r}")

    def shows(self, pattern: str) -> str:
        """Waits for a line of the terminal."""
        return str(
            wait_for(
                lambda: next((line for line in self.frame if re.search(pattern, line)), ""),
                what=f"{pattern!r} in {self.frame}",
            )
        )

    def draws(self, pattern: str) -> None:
        """Waits for several lines of the terminal."""
        wait_for(lambda: re.search(pattern, "\n".join(self.frame)), what=f"{pattern!r} in {self.frame}")

    def ended(self, number: signal.Signals) -> int:
        """The exit code after a signal."""
        self.process.send_signal(number)
        return self.process.wait(timeout=30)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join()
        os.close(self._ours)


def test_watching_on_a_terminal(database: str, connection: Connection) -> None:
    """Figures move while events come; nothing is wider or higher than the terminal; NO_COLOR is plain; Ctrl-C is 0."""
    insert = (
        "insert into webhook_events (channel, type, event_id, created_at) select c, 'message', "
        "gen_random_uuid()::text, now() - interval '3 days' "
        "from unnest(array['instagram', 'facebook', 'whatsapp']) c, generate_series(1, 7)"
    )
    replicas = "select 1 from pg_stat_activity where starts_with(application_name, 'webhook-router replica ')"
    with contextlib.ExitStack() as stack:
        service = stack.enter_context(running(database, "--lanes", "2"))
        service.until_listening()
        wait_for(lambda: connection.execute(replicas).fetchone(), what="a replica")
        service.signal(signal.SIGSTOP)
        # Who is there is looked at again only after a hundred times as long as that takes: so all are there at first.
        usual, narrow = (stack.enter_context(contextlib.closing(Watching(database, width=width))) for width in (80, 40))
        for watch in (usual, narrow):
            watch.shows(r"^backlog   0$")
        connection.execute(insert)
        for watch, width in ((usual, 80), (narrow, 40)):
            watch.shows(r"^backlog   21, oldest 3 d 0 h")
            watch.shows(r"▁█+ most 21$")
            watch.shows(r"^whatsapp +7 +3 d 0 h$")
            watch.shows(r"^services  1 replica")
            watch.shows(rf"^\S+ .*:{service.process.pid}")
            assert len(watch.frame) <= 23
            assert [line for line in watch.frame if len(line) > width] == []
        service.signal(signal.SIGCONT)
        for watch in (usual, narrow):
            watch.shows(r"^backlog   0$")
            watch.draws(r"routed/s +now [^\n]+\n +[▁█]+ most [1-9]")
            assert re.findall(r"\x1b\[[0-9;]*m", watch.said) == []
            assert watch.ended(signal.SIGINT) == 0
            assert "Traceback" not in watch.said


def test_watching_goes_on_without_the_database(database: str, connection: Connection) -> None:
    """One session for all looks; while the database is away it says so, keeps the figures, and tries again."""
    ours = (
        "select array_agg(distinct pid) from pg_stat_activity where datname = current_database() "
        "and application_name = 'webhook-router status --watch'"
    )
    port = int(str(conninfo_to_dict(database)["port"]))
    with Relay(port) as relay:
        dsn = make_conninfo(database, port=relay.port)
        with (
            contextlib.closing(Watching(dsn, width=80, no_color="")) as terminal,
            contextlib.closing(Watching(dsn)) as plain,
            contextlib.closing(Watching(dsn, "--json")) as machine,
        ):
            watches = (terminal, plain, machine)
            wait_for(lambda: len(plain.lines) > 3 and len(machine.lines) > 3, what="some looks")
            terminal.shows("^backlog   0")
            before = connection.execute(ours).fetchone()
            assert before is not None
            assert len(before[0]) == 3
            relay.lead_to(None)
            terminal.shows(r"^no answer, trying again")
            terminal.shows(r"^these figures are [0-9]+ s old")
            terminal.shows("^backlog   0")
            plain.until("no answer, trying again (figures ")
            away = wait_for(
                lambda: [line for line in machine.lines if json.loads(line)["error"]], what="an error in JSON"
            )
            assert json.loads(away[0])["ready"] == 0
            connection.execute(
                "insert into webhook_events (channel, type, event_id) values ('instagram', 'message', '1')"
            )
            relay.lead_to(port)
            terminal.shows("^backlog   1, oldest")
            plain.until("Z backlog 1 (oldest ")
            wait_for(lambda: json.loads(machine.lines[-1]).get("ready") == 1, what="figures in JSON")
            assert [watch.ended(signal.SIGTERM) for watch in watches] == [0, 0, 0]
            assert re.search(r"\x1b\[1m", terminal.said)
            for line in plain.lines:
                assert re.match(r"\d\d:\d\d:\d\dZ (backlog \d|no answer, trying again)", line)
    wait_for(lambda: connection.execute(ours).fetchone() == (None,), what="the end of all sessions")


def test_watching_ends_where_trying_again_is_no_use(empty_database: str) -> None:
    """Without the schema, and with what --every does not take."""
    missing = command("status", "--watch", dsn=empty_database)
    assert missing.returncode == 1
    assert "run `webhook-router migrate`" in missing.stderr
    assert command("status", "--watch", "--every", "0", dsn=empty_database).returncode == 2
    alone = command("status", "--every", "2", dsn=empty_database)
    assert (alone.returncode, "--every goes with --watch" in alone.stderr) == (2, True)

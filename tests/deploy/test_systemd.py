"""The systemd units, and what the service tells systemd."""

import asyncio
import os
import re
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg.conninfo import make_conninfo

from consumer.adapters.telemetry.systemd import Systemd
from consumer.config import Settings
from consumer.domain.facts import (
    BacklogSampled,
    Fact,
    ListenerLost,
    ListenerUp,
    LoopFailed,
    LoopRecovered,
    Progress,
    Stopping,
)
from consumer.domain.routing import Backlog
from consumer.pipeline.parts import Part
from tests.deploy.tools import DEPLOY, run, system_tool
from tests.processes import running
from tests.waiting import wait_for

UNITS = DEPLOY / "systemd"
HOT = Progress(loop="hot", ok=True)
PARTS = [
    Part(loop="hot", brings_events=True, run=lambda stop: asyncio.sleep(0)),
    Part(loop="sweep", run=lambda stop: asyncio.sleep(0)),
]


class Hands:
    """A clock that the test moves, the messages that were sent, and the loops that are said to be stalled."""

    def __init__(self) -> None:
        self.now = 100.0
        self.sent: list[str] = []
        self.stalled: list[str] = []
        self.deaf = False

    def send(self, message: bytes) -> bool:
        if not self.deaf:
            self.sent.append(message.decode())
        return not self.deaf

    def monotonic(self) -> float:
        return self.now

    def jitter(self) -> float:
        return 0.0

    def observer(self, *, watchdog: float | None = None) -> Systemd:
        return Systemd(self.send, parts=PARTS, stalled=lambda: self.stalled, clock=self, watchdog=watchdog)


class Notified:
    """What systemd would listen on; messages are read as they come, since those that find its queue full are lost."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("")  # Linux finds a name, an abstract one
        self.address = f"@{self._socket.getsockname()[1:].decode()}"
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        while message := self._socket.recv(4096):
            self.messages.append(message.decode())

    def all(self) -> list[str]:
        """Everything that was said until now; from then on nothing is heard."""
        if self._reader.is_alive():
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
                end.sendto(b"", self._socket.getsockname())
        self._reader.join()
        self._socket.close()
        return self.messages


@pytest.fixture
def notified() -> Iterator[Notified]:
    """The socket that a service is given."""
    listening = Notified()
    yield listening
    listening.all()


class TestNotifications:
    def test_is_ready_when_a_routing_loop_has_gone_round(self) -> None:
        """Neither the start nor another loop makes the unit ready, and it becomes so once."""
        hands = Hands()
        observer = hands.observer()
        observer(Progress(loop="sampler", ok=True))
        observer(Progress(loop="sweep", ok=True))
        assert hands.sent == []
        observer(HOT)
        observer(HOT)
        assert hands.sent == ["READY=1\nSTATUS=routing, polling, backlog 0"]

    def test_a_database_that_is_down_is_waited_for(self) -> None:
        """The unit is ready although nothing can be routed, and its status says what is in the way."""
        hands = Hands()
        observer = hands.observer()
        observer(LoopFailed(loop="hot", reason="database: connection\nrefused", attempt=1, delay=1))
        observer(Progress(loop="hot", ok=False))
        assert hands.sent == ["READY=1\nSTATUS=hot: database: connection refused"]
        observer(LoopRecovered(loop="hot", attempts=1))
        assert hands.sent[1:] == ["STATUS=routing, polling, backlog 0"]

    def test_the_status_tells_how_it_stands(self) -> None:
        """Listening or polling, the backlog, and in the end that it stops."""
        hands = Hands()
        observer = hands.observer()
        observer(HOT)
        facts: list[Fact] = [
            ListenerUp(),
            BacklogSampled(
                backlog=Backlog(ready=7, oldest_seconds=1, parked=0, dead=0, notification_queue=0),
            ),
            ListenerLost(reason="gone"),
            Stopping(reason="SIGTERM"),
            ListenerUp(),
        ]
        for fact in facts:
            observer(fact)
        assert hands.sent[1:] == [
            "STATUS=routing, listening, backlog 0",
            "STATUS=routing, listening, backlog 7",
            "STATUS=routing, polling, backlog 7",
            "STOPPING=1\nSTATUS=stopping: SIGTERM",
        ]

    def test_the_watchdog_is_fed_by_progress(self) -> None:
        """At most four times in its period, by any loop, and not at all while one of them is stalled."""
        hands = Hands()
        observer = hands.observer(watchdog=8)

        def fed_at(second: float) -> bool:
            hands.now, hands.sent = 100 + second, []
            observer(Progress(loop="sampler", ok=True))
            return hands.sent == ["WATCHDOG=1"]

        assert [fed_at(0), fed_at(1), fed_at(2), fed_at(3), fed_at(4)] == [True, False, True, False, True]
        hands.stalled = ["hot"]
        assert not fed_at(20)
        hands.stalled = []
        assert fed_at(21)

    def test_what_was_not_taken_is_said_again(self) -> None:
        """A systemd that is too busy for a moment hears READY and the keep-alive the next time."""
        hands = Hands()
        observer = hands.observer(watchdog=8)
        hands.deaf = True
        observer(HOT)
        hands.deaf = False
        observer(HOT)
        assert hands.sent == ["READY=1\nSTATUS=routing, polling, backlog 0", "WATCHDOG=1"]

    def test_without_a_watchdog_nothing_is_fed(self) -> None:
        """A unit without WatchdogSec hears READY alone."""
        hands = Hands()
        hands.observer()(HOT)
        assert len(hands.sent) == 1

    @pytest.mark.parametrize(
        ("environment", "fed"),
        [
            ({"WATCHDOG_USEC": "2000000"}, True),
            ({"WATCHDOG_USEC": "2000000", "WATCHDOG_PID": str(os.getpid())}, True),
            ({"WATCHDOG_USEC": "2000000", "WATCHDOG_PID": "1"}, False),
            ({"WATCHDOG_USEC": "0"}, False),
            ({"WATCHDOG_USEC": "soon"}, False),
            ({}, False),
        ],
    )
    def test_reads_its_environment(self, notified: Notified, environment: dict[str, str], *, fed: bool) -> None:
        """The watchdog is this process's, or none; an abstract socket is reached under its @ name."""
        environment = {"NOTIFY_SOCKET": notified.address, **environment}
        observer = Systemd.from_environment(environment, parts=PARTS, stalled=list, clock=Hands())
        assert observer is not None
        observer(HOT)
        ready, *rest = notified.all()
        assert ready.startswith("READY=1\n")
        assert rest == (["WATCHDOG=1"] if fed else [])

    @pytest.mark.parametrize("environment", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1234"}])
    def test_outside_systemd_there_is_none(self, environment: dict[str, str]) -> None:
        """Nobody to tell, nothing to do."""
        assert Systemd.from_environment(environment, parts=PARTS, stalled=list, clock=Hands()) is None

    def test_a_deaf_systemd_disturbs_nobody(self, tmp_path: Path) -> None:
        """A socket that is gone, or full, costs the message and nothing else."""
        observer = Systemd.from_environment(
            {"NOTIFY_SOCKET": str(tmp_path / "gone"), "WATCHDOG_USEC": "1"},
            parts=PARTS,
            stalled=list,
            clock=Hands(),
        )
        assert observer is not None
        observer(HOT)


class TestService:
    def test_a_unit_lives_and_ends(self, database: str, notified: Notified) -> None:
        """The real service says that it is ready, feeds the watchdog repeatedly, and says that it stops."""
        environment = {"NOTIFY_SOCKET": notified.address, "WATCHDOG_USEC": "400000"}
        messages = notified.messages
        with running(database, "--poll-interval", "0.05", env=environment) as router:
            ready = "READY=1\nSTATUS=routing"
            wait_for(lambda: any(message.startswith(ready) for message in messages), what=f"READY=1, {router.lines}")
            router.until_listening()
            wait_for(lambda: messages.count("WATCHDOG=1") >= 5, what="keep-alives for the watchdog")
            wait_for(lambda: "STATUS=routing, listening, backlog 0" in messages, what="the status")
            router.signal(signal.SIGTERM)
            assert router.stopped() == 0
        assert "STOPPING=1\nSTATUS=stopping: SIGTERM" in notified.all()

    def test_a_wrong_configuration_never_gets_ready(self, database: str, notified: Notified) -> None:
        """`systemctl start` fails, with the exit code after which the unit is not restarted."""
        wrong = make_conninfo(database, password="wrong")
        with running(wrong, env={"NOTIFY_SOCKET": notified.address}) as router:
            assert router.stopped() == 2
        assert not [message for message in notified.all() if "READY" in message]

    def test_without_the_schema_it_never_gets_ready(self, empty_database: str, notified: Notified) -> None:
        """Nor does a service that has nothing to route with."""
        with running(empty_database, env={"NOTIFY_SOCKET": notified.address}) as router:
            assert router.stopped() == 1
        assert not [message for message in notified.all() if "READY" in message]

    def test_a_database_that_is_away_does_not_keep_the_unit_from_starting(self, notified: Notified) -> None:
        """The unit is up and waits; nobody answers at port 1."""
        trouble = re.compile(r"READY=1\nSTATUS=.*hot: database: .*refused")
        with running("postgresql://nobody@127.0.0.1:1/none", env={"NOTIFY_SOCKET": notified.address}) as router:
            wait_for(
                lambda: any(trouble.match(message) for message in notified.messages), what=f"READY=1, {router.lines}"
            )


def with_a_program(unit: Path, folder: Path) -> Path:
    """The unit with a program that exists, since /opt/webhook-router is for those who install it."""
    copy = folder / unit.name
    copy.write_text(unit.read_text(encoding="utf-8").replace("/opt/webhook-router/bin/webhook-router", "/bin/true"))
    return copy


class TestUnits:
    def test_verify(self, tmp_path: Path) -> None:
        """systemd knows every directive of the units, and every unit that they name."""
        analyze = system_tool("systemd-analyze", "systemd")
        copies = [with_a_program(unit, tmp_path) for unit in sorted(UNITS.iterdir())]
        assert {copy.suffix for copy in copies} == {".service", ".timer"}
        said = run([analyze, "verify", "--man=no", *copies])
        assert said.stdout + said.stderr == ""

    @pytest.mark.parametrize("unit", sorted(UNITS.glob("*.service")), ids=lambda unit: unit.stem)
    def test_exposure(self, unit: Path) -> None:
        """systemd finds hardly anything that could be taken away: 1.2 of 10 is network, which the service is for."""
        analyze = system_tool("systemd-analyze", "systemd")
        run([analyze, "security", "--offline=true", "--no-pager", "--threshold=15", unit])

    def test_times_fit_those_of_the_service(self) -> None:
        """A stop may take longer than the batch that it waits for, the watchdog's period is longer than a call."""
        unit = (UNITS / "webhook-router.service").read_text(encoding="utf-8")
        settings = Settings.model_fields
        seconds = {name: float(value) for name, value in re.findall(r"^(\w+Sec)=(\d+)$", unit, re.MULTILINE)}
        assert seconds["TimeoutStopSec"] > settings["shutdown_grace"].default
        assert seconds["WatchdogSec"] > settings["call_timeout"].default
        assert seconds["TimeoutStartSec"] > settings["call_timeout"].default

"""A run: several replicas, producers that never stop, and one fault after another, in an order given by a seed."""

import contextlib
import random
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field

import psycopg

from tests.chaos.faults import FAULTS, Fault
from tests.chaos.gateway import Gateway
from tests.chaos.kafka import SETTINGS
from tests.chaos.ledger import verdict
from tests.chaos.link import Link
from tests.chaos.pair import SETTINGS as PAIR
from tests.chaos.possible import possible
from tests.chaos.report import FaultReport, Report
from tests.chaos.scene import Scene, scene_on
from tests.chaos.server import own_server
from tests.chaos.traffic import Plan, Producer
from tests.chaos.watch import Watcher, until_caught_up
from tests.kafka import broker
from tests.kafka.broker import VERSION, KafkaUnavailable
from tests.ports import free_port
from tests.waiting import wait_for

RECOVERY = 180.0
"""Seconds after which a run counts as not recovered."""
POSTERS = 4
"""Producers that POST, so that one that waits for an answer does not keep all others waiting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of a run."""

    seed: int
    minutes: float
    events: int = 0
    """The run goes on until so many are acknowledged."""
    posts: int = 0
    """The run goes on until so many POSTs got 200."""
    rate: float = 1500.0
    posted: float = 150.0
    """Events a second that providers POST, beside the others."""
    only: Sequence[str] = ()
    """Names of faults; all that are possible when empty."""
    kafka: bool = True

    @property
    def command(self) -> str:
        """The command that repeats the run."""
        more = f" --events {self.events}" if self.events else ""
        more += f" --posts {self.posts}" if self.posts else ""
        more += f" --rate {self.rate:g}" if self.rate != Options(seed=0, minutes=0).rate else ""
        more += f" --posted {self.posted:g}" if self.posted != Options(seed=0, minutes=0).posted else ""
        more += "".join(f" --fault {name}" for name in self.only)
        return f"python -m tests.chaos --seed {self.seed} --minutes {self.minutes:g}{more}" + (
            "" if self.kafka else " --no-kafka"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One fault or two at a time, for so many seconds, after a pause; `first` begins before and ends after `second`."""

    first: Fault
    second: Fault | None
    seconds: float
    pause: float


def course(seed: int, faults: Sequence[Fault]) -> Iterator[Step]:
    """The endless sequence of a run's faults: each once a round, in a new order, some in pairs."""
    chance = random.Random(f"{seed} course")
    while True:
        deck = list(faults)
        chance.shuffle(deck)
        for fault in deck:
            beside = chance.choice(deck)
            yield Step(
                first=fault,
                second=beside if chance.random() < 0.3 and fault.may_contain(beside) else None,
                seconds=chance.uniform(*fault.seconds),
                pause=chance.uniform(0.5, 3.0),
            )


@dataclass(slots=True, kw_only=True)
class Run:
    """The state of a run."""

    scene: Scene
    report: Report
    producers: list[Producer] = field(default_factory=list)
    begun: float = field(default_factory=time.monotonic)

    def say(self, text: str) -> None:
        """Writes a line about the progress."""
        seconds = time.monotonic() - self.begun
        done = sum(producer.delivered for producer in self.producers)
        sys.stderr.write(f"{seconds:7.1f} s  {done:>9,} deliveries  {self.scene.ledger.posts():>7,} POSTs  {text}\n")

    def latest(self) -> list[tuple[str, str]]:
        """The newest records of the topic."""
        kafka = self.scene.kafka
        return [] if kafka is None else self.scene.ledger.latest(kafka.topic)

    def step(self, step: Step) -> None:
        """Injects a fault, ends it, and waits for the recovery."""
        name = step.first.name + (f" + {step.second.name}" if step.second else "")
        self.say(name)
        entry = self.report.fault(step.first)
        entries = [entry] + ([self.report.fault(step.second)] if step.second else [])
        for one in entries:
            one.tried += 1
        try:
            with contextlib.ExitStack() as both:
                both.enter_context(step.first.on(self.scene))
                if step.second is not None:
                    self._beside(both, step.second)
                time.sleep(step.seconds)
        except (AssertionError, OSError, psycopg.Error) as error:  # the condition for it never arose: say so, and go on
            entry.not_made += 1
            self.report.remarks.append(f"{name}: {str(error)[:300]}")
            self.say(f"not made: {str(error)[:300]}")
        self._supervise()
        recovery, caught_up = until_caught_up(self.scene.database.dsn, latest=self.latest, timeout=RECOVERY)
        self.say(f"{'recovered' if caught_up else 'NOT RECOVERED'} after {recovery:.2f} s")
        entry.recoveries.append(round(recovery, 3))
        for one in entries:
            one.survived += caught_up
        time.sleep(step.pause)

    def _beside(self, both: contextlib.ExitStack, second: Fault) -> None:
        try:
            both.enter_context(second.on(self.scene))
        except (AssertionError, OSError, psycopg.Error) as error:
            self.report.fault(second).not_made += 1
            self.report.remarks.append(f"{second.name}, beside another: {str(error)[:300]}")

    def _supervise(self) -> None:
        """Restarts replicas that have ended, as a supervisor does; there should be none."""
        for replica in list(self.scene.replicas):
            if not replica.alive:
                said = str(replica.lines[-1:])[:500]
                self.report.exits.append(f"{replica.kind.name} ended with {replica.process.returncode}: {said}")
                self.say(self.report.exits[-1])
                self.scene.again(replica)


def drive(options: Options) -> Report:
    """One run, from an empty database to the verdict."""
    report = Report(command=options.command, seed=options.seed)
    with contextlib.ExitStack() as stack:
        link: Link | None = None
        with contextlib.suppress(OSError):
            link = stack.enter_context(Link())
        spare = free_port() if possible("standby") is None else None
        server = stack.enter_context(own_server(link, spare=spare, settings=PAIR if spare else None))
        report.postgres = server.major
        scene = stack.enter_context(scene_on(server, "chaos", link=link))
        scene.chance = random.Random(f"{options.seed} scene")
        run = Run(scene=scene, report=report)
        faults = _faults(run, options)
        _replicas(scene)
        watcher = Watcher(scene.database.dsn, scene.ledger, offsets=scene.kafka.committed if scene.kafka else None)
        watcher.start()
        # The second one sends half of its batches to the topic, some of them to the table as well.
        run.producers = [
            Producer(
                Plan(options.seed, name=f"producer{n}", topic=0.5 * n if scene.kafka else 0.0),
                scene.ledger,
                scene.application_dsn(),
                rate=options.rate / 2,
                topic=scene.kafka,
            )
            for n in range(2)
        ]
        run.producers += [_poster(scene, options, n) for n in range(POSTERS)]
        for producer in run.producers:
            producer.start()
        _steps(run, options, faults)
        for producer in run.producers:
            producer.stop()
        for producer in run.producers:
            producer.join()
        _judge(run, watcher)
    return report


def _poster(scene: Scene, options: Options, number: int) -> Producer:
    """A producer that POSTs as providers do."""
    name = f"posted{number}"
    gateway = Gateway(scene.gateways, scene.ledger, scene.application_dsn(), seed=f"{options.seed} {name}")
    scene.on_close(gateway.close)
    return Producer(
        Plan(options.seed, name=name, topic=0.95),
        scene.ledger,
        scene.application_dsn(),
        rate=options.posted / POSTERS,
        topic=gateway,
    )


def _faults(run: Run, options: Options) -> list[Fault]:
    """The faults that are wanted and can be made here; the report says why the others cannot."""
    missing = {needs: possible(needs) for needs in {f.needs for f in FAULTS.values() if f.needs} - {"kafka"}}
    missing["kafka"] = _kafka(run.scene) if options.kafka else "the run was asked to go without Kafka"
    for obstacle in filter(None, missing.values()):
        run.say(f"left out: {obstacle}")
    run.report.kafka = f"Kafka {VERSION}, three brokers" if run.scene.kafka else ""
    faults: list[Fault] = []
    for fault in FAULTS.values():
        reason = missing[fault.needs] if fault.needs else None
        if reason is not None:
            run.report.impossible[fault.name] = reason
        elif not options.only or fault.name in options.only:
            faults.append(fault)
    return faults


def _judge(run: Run, watcher: Watcher) -> None:
    """Waits for the last event, and writes the verdict into the report."""
    scene, report = run.scene, run.report
    recovery, _ = until_caught_up(scene.database.dsn, latest=run.latest, timeout=RECOVERY)
    if scene.kafka is not None:
        with contextlib.suppress(AssertionError):  # the verdict counts what has not been read by now as lost
            scene.kafka.until_done()
    with contextlib.suppress(AssertionError):  # the same
        scene.until_taken()
    run.say(f"the last event was routed {recovery:.2f} s after the last producer")
    report.seconds = round(time.monotonic() - run.begun, 1)
    report.refused = sum(producer.refused for producer in run.producers)
    seen = watcher.stop()
    report.samples = watcher.samples
    with scene.database.connect() as connection:
        found, examples = verdict(scene.ledger, connection, **seen)
    report.verdict = asdict(found)
    report.violations = found.violations
    report.examples = {name: [str(row) for row in rows] for name, rows in examples.items()}
    run.say(f"verdict: {report.verdict}")


def _kafka(scene: Scene) -> str | None:
    """Gives the scene a cluster; where that is impossible, returns the reason."""
    try:
        cluster = broker.prepare(3, settings=SETTINGS)
    except KafkaUnavailable as missing:
        return str(missing)
    scene.on_close(cluster.stop)
    cluster.start()
    scene.join(cluster)
    return None


def _replicas(scene: Scene) -> None:
    """Two beside each other, one behind the link, one behind a pooler, two at the topic, as far as there are such.

    One of the two knows the addresses of both servers, the other one an address that moves. Providers POST to the first
    one, and to the one behind the pooler.
    """
    pooler = possible("pgbouncer") is None
    scene.start(scene.kind(gateway=True))
    scene.start(scene.kind(moving=True, gateway=not pooler))
    if scene.link is not None:
        scene.start(scene.kind(linked=True))
    if pooler:
        scene.start(scene.kind(behind_pooler=True, gateway=True))
    if scene.kafka is not None:
        scene.start(scene.kind(kafka=True))
        scene.start(scene.kind(kafka=True))
    for replica in scene.replicas:
        replica.until_ready()


def _steps(run: Run, options: Options, faults: Sequence[Fault]) -> None:
    deadline = time.monotonic() + options.minutes * 60
    wait_for(lambda: all(p.delivered for p in run.producers), what="traffic")
    steps = course(options.seed, faults)
    ledger = run.scene.ledger
    while time.monotonic() < deadline or ledger.counts()[1] < options.events or ledger.posts() < options.posts:
        run.step(next(steps))


def unsurvived(report: Report) -> list[FaultReport]:
    """Faults after which a run did not come back."""
    return [entry for entry in report.faults.values() if entry.survived < entry.tried]

"""What is kept of the log for whoever looks at the pages, and where each line leads."""

import ast
import inspect
from types import ModuleType

import pytest
from structlog.testing import capture_logs

from consumer.adapters.telemetry import intake_log, kafka_log, log
from consumer.adapters.telemetry.log import Log
from consumer.adapters.telemetry.recent import KEPT, LONGEST, Recent
from consumer.adapters.telemetry.runbook import PAGE, SECTIONS, SELF_EXPLANATORY, runbook_of
from consumer.domain.facts import BatchRouted, DoorbellChecked, ListenerLost, ListenerUp, LoopFailed
from consumer.domain.intake_facts import DeliveryTurnedDown, Outcome
from consumer.domain.kafka_facts import BrokersAnswer, RecordsExpired
from consumer.domain.lag import Partition
from consumer.domain.overview import Trouble
from consumer.domain.routing import Path
from tests.docs.pages import DOCS, PLATFORM, anchors
from tests.fakes import HandClock, batch


def warnings_of(module: ModuleType) -> set[str]:
    """The lines that a module of the log writes as a warning or an error, as its text has them."""
    found = set(intake_log._MEANS.values()) if module is intake_log else set()
    for call in (node for node in ast.walk(ast.parse(inspect.getsource(module))) if isinstance(node, ast.Call)):
        constants = [argument.value for argument in call.args if isinstance(argument, ast.Constant)]
        names = [node.attr for node in (call.func, *call.args) if isinstance(node, ast.Attribute)]
        words = [word for word in constants if isinstance(word, str)]
        if words and {"warning", "error", "_tell"} & set(names):
            found.add(words[0])
    return found


@pytest.mark.parametrize(("module", "least"), [(log, 9), (kafka_log, 13), (intake_log, 9)])
def test_every_warning_leads_to_the_runbook(module: ModuleType, least: int) -> None:
    """Or is known to need none; and no section is missing."""
    lines = warnings_of(module)
    assert len(lines) >= least, lines
    assert {line for line in lines if not runbook_of(line)} <= SELF_EXPLANATORY
    assert not any(runbook_of(line) for line in SELF_EXPLANATORY)


def test_every_section_is_there_and_is_used() -> None:
    """The page has it, and some line begins with the words."""
    assert f"{PLATFORM}/blob/main/docs/operating.md" == PAGE
    assert set(SECTIONS.values()) <= anchors(DOCS / "operating.md")
    lines = {line for module in (log, kafka_log, intake_log) for line in warnings_of(module)}
    unused = [begin for begin in SECTIONS if not any(line.startswith(begin) for line in lines)]
    assert unused == []
    assert lines >= SELF_EXPLANATORY


def test_troubles_are_kept_of_all_halves_of_the_log() -> None:
    """In the words of the log, the latest first; what only informs is not among them."""
    observer = Log(summary_every=3600)
    with capture_logs() as lines:
        observer(ListenerUp())
        observer(ListenerLost(reason="gone\n\x1b[31m\u202e" + "x" * 2 * LONGEST))
        observer(BrokersAnswer(answer=False))
        observer(DeliveryTurnedDown(provider="whatsapp", outcome=Outcome.SIGNATURE))
        observer(RecordsExpired(partition=Partition("t", 3), records=7))
    lost, silent, signature, expired = reversed(observer.troubles())
    assert (expired.level, expired.details) == ("error", {"topic": "t", "partition": "3", "records": "7"})
    assert (signature.level, signature.details) == ("warning", {"provider": "whatsapp", "count": "1"})
    assert silent.event == "the Kafka brokers do not answer, waiting for them"
    assert silent.runbook == f"{PAGE}#webhookrouterkafkabrokerssilent"
    assert lost.details["reason"].startswith("gone \\x1b[31m\\u202ex")
    assert len(lost.details["reason"]) < LONGEST + 20
    assert [line["event"] for line in lines[1:]] == [trouble.event for trouble in (lost, silent, signature, expired)]


def test_without_a_log_the_troubles_are_kept() -> None:
    """Nothing is written, whatever happens."""
    observer = Log(summary_every=0.0, writes=False)
    with capture_logs() as lines:
        observer(BatchRouted(path=Path.HOT, batch=batch(3, parked=1)))
        observer(DoorbellChecked(state="disabled"))
        observer(LoopFailed(loop="hot", reason="gone", attempt=1, delay=0.1))
    assert lines == []
    assert [trouble.event.partition(" ")[0] for trouble in observer.troubles()] == ["cannot", "polling:", "events"]


def test_lines_that_differ_by_numbers_are_one() -> None:
    """With the numbers of the last; partitions are told apart, and so are reasons. The oldest are forgotten."""
    clock = HandClock(100.0)
    recent = Recent(None, now=clock.monotonic)
    recent.warning("events parked", parked=3)
    recent.warning("other", reason="a", partition=1)
    clock.now = 105.0
    recent.warning("events parked", parked=4)
    recent.warning("other", reason="b", partition=1)
    recent.warning("other", reason="a", partition=2)
    recent.info("nothing")
    recent.debug("nothing")
    assert [(trouble.event, trouble.count) for trouble in recent.troubles()] == [
        *[("other", 1)] * 2,
        ("events parked", 2),
        ("other", 1),
    ]
    assert recent.troubles()[2] == Trouble(
        at=105.0,
        first_at=100.0,
        count=2,
        level="warning",
        event="events parked",
        details={"parked": "4"},
        runbook=f"{PAGE}#webhookrouterparkedgrowing",
    )
    for number in range(2 * KEPT):
        recent.error("more", reason=f"r{number}")
    assert [trouble.details["reason"] for trouble in recent.troubles()] == [
        f"r{number}" for number in range(2 * KEPT - 1, KEPT - 1, -1)
    ]

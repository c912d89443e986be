"""What `status --watch` writes and draws, and how often it asks."""

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from rich.cells import cell_len

from consumer.adapters.postgres.operating import status as operating
from consumer.adapters.postgres.operating.status import Status
from consumer.cli import watching
from consumer.cli.watching import Drawing, Look, Watch, json_of, line_of
from consumer.domain.overview import ChannelBacklog, Replica

HOSTILE = "\u202e\x1b[31m" + "漢字" * 30
NOW = Status(
    ready=1_234_567, oldest_seconds=400_000.0, parked=1_000_000, dead=3, discarded=1_000_000,
    per_second_in_minute=12_345.6, per_second_in_hour=12_345.6, counted_seconds=180.0, last_routed_seconds_ago=1.0,
    replicas=2, sessions=12, awake=True, notification_queue=0.5, doorbell="disabled", by_channel_is_partial=True,
    by_channel=[ChannelBacklog(channel=f"{place} {HOSTILE}", ready=999_999, oldest_seconds=1e6) for place in range(9)],
    services=[Replica(name=f"{HOSTILE}:{number}", version=HOSTILE, seconds=None) for number in range(30)],
)  # fmt: skip
LOOK = Look(at=60.0, status=NOW, status_at=50.0, per_second_now=None, error="")


@pytest.mark.parametrize("width", [40, 80])
@pytest.mark.parametrize("error", ["", HOSTILE * 9])
def test_any_text_has_room(width: int, error: str) -> None:
    """However large figures are, and whatever is in names: 24 lines of this width, and no control."""
    drawn = Drawing(replace(LOOK, error=error), width=width, ready=range(500), rates=[0.0, 1.5])
    lines = drawn.text(HOSTILE, height=23, now=60.0).plain.split("\n")
    assert len(lines) == 23
    assert max(cell_len(line) for line in lines) <= width
    assert not {"\x1b", "\u202e"} & set("".join(lines))
    assert lines[-1] == "Ctrl-C ends"
    assert "more lines, in a higher window" in lines[-2]
    assert ("these figures are 10 s old" in lines) == bool(error)
    one = line_of(replace(LOOK, error=error))
    assert not {"\x1b", "\u202e", "\n"} & set(one)
    assert json.loads(json_of(replace(LOOK, error=error)))["by_channel"][0]["channel"] == f"0 {HOSTILE}"


async def test_it_never_asks_more_often_than_that_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    """It rests a hundred times as long as counting has taken; what is dearer still is looked at less often."""
    clock, rests, looks = [1000.0], [], []

    async def costs(name: str, seconds: float) -> None:
        clock[0] += seconds
        looks.append(name)

    async def status(_: object) -> Status:
        await costs("all", 1.0)
        return NOW

    async def counted_again(_: object, known: Status, *, within: float) -> Status:
        assert within > 400_000
        await costs("again", 0.1)
        return known

    async def routed_within(_: object, *, seconds: float) -> int:
        await costs("routed", 0.1)
        return round(seconds * 7)

    @asynccontextmanager
    async def session(_: str, *, name: str) -> AsyncIterator[None]:
        assert name
        yield None

    class Done(Exception):
        pass

    async def rest(_: Watch, seconds: float) -> None:
        clock[0] += seconds
        rests.append(round(seconds, 3))
        if len(rests) == 8:
            raise Done

    monkeypatch.setattr(operating, "status", status)
    monkeypatch.setattr(operating, "counted_again", counted_again)
    monkeypatch.setattr(operating, "routed_within", routed_within)
    monkeypatch.setattr(watching, "session", session)
    monkeypatch.setattr(Watch, "_rest", rest)
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    shown: list[Look] = []
    with pytest.raises(Done):
        await Watch("", every=2.0, show=shown.append, tick=lambda: None).run()
    assert rests == [2.0, 20.0, 20.0, 20.0, 20.0, 20.0, 10.0, 20.0]
    assert looks.count("all") == 2
    assert {round(look.per_second_now or 0) for look in shown[1:]} == {7}

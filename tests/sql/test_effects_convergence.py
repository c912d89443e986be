"""Any order, any repetition, any split into calls of statuses, reactions and watermarks ends in the same rows."""

import os
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.sql.effects import Line, apply, at, effect, make, reaction, read_until, status, sweep, waiting, write
from tests.sql.inbox import Inbox

_COMMON: dict[str, Any] = {"deadline": None, "suppress_health_check": list(HealthCheck)}
PROFILES = {
    "ci": settings(max_examples=150, derandomize=True, database=None, **_COMMON),
    "long": settings(max_examples=3000, print_blob=True, **_COMMON),
}
PROFILE = PROFILES.get(os.environ.get("HYPOTHESIS_PROFILE", "ci"), PROFILES["ci"])

MESSAGES = {"out 3": 3, "out 5": 5, "in 4": 4, "own 2": 2, "own 6": 6}
"""Message → the second at which it was sent; "own": the application inserts it by itself."""
RANKS = ["sent", "failed", "delivered", "read", "played"]
_SECONDS = st.integers(0, 9)

_EFFECTS = st.one_of(
    st.builds(status, st.sampled_from(RANKS), st.sampled_from(sorted(MESSAGES)), _SECONDS),
    st.builds(
        lambda target, second, code: effect(
            "status",
            f"status:{target}:failed:{second}:{code}",
            target,
            second,
            status="failed",
            errors=None if code is None else [{"code": code}],
        ),
        st.sampled_from(sorted(MESSAGES)),
        _SECONDS,
        st.sampled_from([None, 1, 2]),
    ),
    st.builds(
        lambda target, second, actor, emoji, name: reaction(name, target, second, *emoji, actor=actor),
        st.sampled_from(sorted(MESSAGES)),
        _SECONDS,
        st.sampled_from(["ana", "page"]),
        st.sampled_from([(), ("heart",), ("thumb", "fire")]),
        st.uuids(version=4).map(str),
    ),
    st.builds(read_until, _SECONDS, _SECONDS),
    st.builds(
        lambda until, told: effect("delivered_until", f"dlv:{until}:{told}", None, told, until=at(until)),
        _SECONDS,
        _SECONDS,
    ),
)


@dataclass(kw_only=True)
class Expected:
    """What the rows must come to, computed from the effects as a set."""

    effects: list[Line]
    delivery: dict[str, dict[str, Any]] = field(default_factory=dict)
    reactions: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        failures: dict[str, list[tuple[str, str]]] = {}
        reactions: dict[tuple[str, str], list[tuple[str, str, list[str]]]] = {}
        for line in self.effects:
            content = line["content"]
            if line["kind"] == "status":
                self._told(line["target"], content["status"], line["at"])
                if content["status"] == "failed":
                    errors = content.get("errors")
                    text = "~" if errors is None else f'[{{"code": {errors[0]["code"]}}}]'
                    failures.setdefault(line["target"], []).append((line["at"], text))
            elif line["kind"] == "reaction":
                key = (line["target"], content["actor"])
                reactions.setdefault(key, []).append((line["at"], line["ord"], content["emoji"]))
            else:
                name = "read" if line["kind"] == "read_until" else "delivered"
                for message, second in MESSAGES.items():
                    if at(second) <= content["until"]:
                        self._told(message, name, line["at"])
        for message, found in failures.items():
            text = min(found)[1]
            if message in self.delivery:
                self.delivery[message]["errors"] = None if text == "~" else text
        self.reactions = {key: max(found)[2] for key, found in reactions.items()}

    def _told(self, message: str, name: str, when: str) -> None:
        if message.startswith("in "):
            return
        row = self.delivery.setdefault(message, {"status": "sent", "errors": None})
        row["status"] = max(row["status"], name, key=RANKS.index)
        row[f"{name}_at"] = min(row.get(f"{name}_at", when), when)


def found_delivery(inbox: Inbox) -> dict[str, dict[str, Any]]:
    """The rows of message_delivery in the words of `Expected`."""
    columns = ", ".join(f"to_json(d.{name}_at) #>> '{{}}' as {name}_at" for name in RANKS)
    rows = inbox.rows(
        f"""
        select m.provider_message_id, d.status, d.errors::text as errors, {columns}
        from message_delivery d join messages m on m.id = d.message_id
        """
    )
    return {
        row.pop("provider_message_id"): {
            key: value for key, value in row.items() if value is not None or key == "errors"
        }
        for row in rows
    }


@pytest.fixture
def clear(inbox: Inbox) -> Inbox:
    """A session whose times are those of the tests."""
    inbox.run("set timezone = 'UTC'")
    return inbox


@PROFILE
@given(data=st.data())
def test_every_order_ends_in_the_same_rows(clear: Inbox, data: st.DataObject) -> None:
    """Effects come before and after their messages, several a call, and again."""
    clear.run(
        """
        delete from webhook_events; delete from messages; delete from conversations; delete from contacts;
        delete from router.waiting; delete from router.watermarks;
        """
    )
    effects = data.draw(st.lists(_EFFECTS, min_size=1, max_size=12), label="effects")
    again = data.draw(st.lists(st.sampled_from(effects), max_size=4), label="again")
    steps: list[Line | str] = data.draw(st.permutations([*effects, *again, *MESSAGES, "sweep"]), label="order")
    size = data.draw(st.integers(1, 5), label="effects a call")
    pending: list[Line] = []

    def flush() -> None:
        if pending:
            apply(clear, *pending)
            pending.clear()

    for step in steps:
        if not isinstance(step, str):
            pending.append(step)
            if len(pending) == size:
                flush()
            continue
        flush()
        if step == "sweep":
            sweep(clear, size)
        elif step.startswith("own"):
            write(clear, step, MESSAGES[step])
        else:
            make(clear, step, MESSAGES[step], direction="inbound" if step.startswith("in") else "outbound")
    flush()
    sweep(clear, size)

    expected = Expected(effects=effects)
    assert found_delivery(clear) == expected.delivery
    rows = clear.rows(
        "select provider_message_id as message, actor, emoji from message_reactions join messages on id = message_id"
    )
    assert {(row["message"], row["actor"]): row["emoji"] for row in rows} == expected.reactions
    assert waiting(clear) == []

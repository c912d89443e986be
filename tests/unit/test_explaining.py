"""What `explain` and the page say of an event, from what the database answers."""

from typing import Any

import pytest

from consumer.domain.explaining import Explanation, advice, facts, spellings, timeline

DELIVERY = {"id": 7, "provider": "whatsapp", "processed_at": "2026-01-01T12:00:03+00:00", "error": None, "attempts": 0}


def explanation(**known: Any) -> Explanation:
    """One of which only that much is known."""
    nothing: dict[str, Any] = dict.fromkeys(
        name for name, field in Explanation.__dataclass_fields__.items() if field.default_factory is not list
    )
    return Explanation(
        **nothing | {"state": "routed", "channel": "whatsapp", "event_id": "e1", "type": "message"} | known
    )


def effect(kind: str, at: str | None, **known: Any) -> dict[str, Any]:
    """A row of router.effects_told."""
    return {"kind": kind, "at": at, "number": None, "codes": None} | known


def test_the_timeline_is_in_the_order_of_time() -> None:
    """A redelivery comes when it came; what has no time, or one that Python lacks, stays behind what led to it."""
    found = explanation(
        event_date="infinity",
        deliveries=[
            DELIVERY | {"id": 8, "received_at": "2026-01-02T09:00:00+02:00", "processed_at": None, "error": "no"},
            DELIVERY | {"received_at": "2026-01-01T12:00:00+00:00"},
        ],
        created_at="2026-01-01T12:00:01.5+00:00",
        routed_at="2026-01-01T12:00:03+00:00",
        routed_after_seconds=1.5,
        routed_by="gateway",
        effects=[
            effect("delivered", "2026-01-02T07:30:00+00:00"),
            effect("failed", None, codes="131047, 1"),
            effect("reactions", "2026-01-03T00:00:00+00:00", number=1000),
        ],
        waiting=[
            {"kind": "edit", "received_at": "2026-01-04T00:00:00+00:00", "expires_at": "2026-02-03", "error": "X"}
        ],
    )
    assert [(step.what, step.details) for step in timeline(found)] == [
        ("dated", "by its provider, or by whoever stored it"),
        ("received", "in delivery 7 of whatsapp, in effect"),
        ("stored", "as a message of whatsapp"),
        ("routed", "2 s after it was stored, by the gateway, before the delivery was answered"),
        ("received", "in delivery 8 of whatsapp, not in effect: no"),
        ("delivered", ""),
        ("failed", "code 131047, 1"),
        ("reactions", "at least 1,000, the latest at this time"),
        ("edit waits", "until its message is there, or until 2026-02-03; refused: X"),
    ]
    told = dict(facts(found))
    assert told["routed"].endswith("2 s after that, by the gateway, before the delivery was answered")
    assert told["failed"] == "at a time that is not known, code 131047, 1"
    assert dict(facts(explanation(routed_at="infinity")))["routed"] == "infinity, by a path that is not recorded"


def test_a_deletion_is_told_once() -> None:
    """By the time of the message, or, where there is none, by when its delivery came."""
    deleted = explanation(deleted_at="2026-01-01T12:00:00+00:00")
    assert [step.what for step in timeline(deleted)].count("deleted") == 1
    both = explanation(
        deleted_at="2026-01-01T12:00:00+00:00", effects=[effect("deletion", "2026-01-01T11:00:00+00:00")]
    )
    assert [step.at for step in timeline(both) if step.what == "deleted"] == ["2026-01-01T11:00:00+00:00"]
    assert [name for name, _ in facts(both)].count("deletion") == 0


def test_advice_on_an_event_that_no_channel_has() -> None:
    """It says so, and offers no command without a channel."""
    said = [
        str(sentence)
        for sentence in advice(
            explanation(state="unknown", channel=None, event_id=" e1 ", channels=["tiktok", "whatsapp"]),
            host="h",
            database="d",
        )
    ]
    assert said[0] == "No row of webhook_events in the database d on h has this event_id, in any channel."
    assert said[1] == "There are events of tiktok, whatsapp."
    assert not any("explain" in sentence for sentence in said)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("+49 (151) 234-567", ["+49 (151) 234-567", "49151234567", "+49151234567"]),
        ("5215512345678", ["5215512345678", "525512345678", "+5215512345678"]),
        ("+55 11 98765-4321", ["+55 11 98765-4321", "5511987654321", "551187654321", "+5511987654321"]),
        ("12 34", ["12 34"]),
        ("m_1-2", ["m_1-2"]),
    ],
)
def test_spellings_of_numbers(text: str, found: list[str]) -> None:
    """A number is also looked for as WhatsApp writes it, in all spellings, and with a plus; an id is only itself."""
    assert spellings(text) == found

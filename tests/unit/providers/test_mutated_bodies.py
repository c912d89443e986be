"""Whatever comes in, a normaliser says something of it that the database can store."""

import json
import re
from datetime import datetime
from importlib.util import find_spec
from typing import Any, get_args

import orjson
import pytest

from consumer.domain.providers import PROVIDERS, lines, normaliser_of, shapes
from consumer.domain.providers.atoms import Atoms, Context, Effect, Message
from tests.unit.providers.mutation import mutated, seeds

EACH = 20_000
CHANNELS = {"whatsapp", "instagram", "facebook", "telegram", "tiktok"}
MESSAGE_TYPES = set(get_args(Message.__annotations__["message_type"]))
MESSAGE_KINDS = {"message", "echo", "echo_of_app", "postback", "callback", "comment", "history"}
STATUSES = {"sent", "delivered", "read", "played", "failed"}
EFFECTS = {
    "status", "read", "delivery", "reaction", "edit", "delete", "media", "read_until", "delivered_until", "handover",
    "referral", "marketing", "system",
}  # fmt: skip
CONTEXTS = (Context(bot="700001"), Context(bot="700001", own_app_ids=frozenset({"7", "1"})))
UNSTORABLE = re.compile("[\0\ud800-\udfff]")

THERE = [provider for provider in PROVIDERS if find_spec(f"consumer.domain.providers.{provider}")]


def check_id(value: str | None) -> None:
    """Ids are in keys: never blank, never long."""
    assert value is None or (value.strip() and len(value.encode()) <= 1300), value


def check_time(value: str | None) -> None:
    """Times have an offset."""
    assert value is None or datetime.fromisoformat(value).tzinfo is not None


def check_message(message: Message) -> None:
    """It can become a row."""
    assert message.kind in MESSAGE_KINDS
    assert message.channel in CHANNELS
    assert message.message_type in MESSAGE_TYPES
    assert message.id
    line = lines.line_of(message)
    for key, most in (("event_id", 512), ("author_id", 512), ("author_name", 1024), ("post_id", 512)):
        assert len(line[key] or "") <= most, key
    assert message.status is None or message.status in STATUSES
    for value in (message.id, message.account, message.post_id, message.reply_to, message.thread):
        check_id(value)
    for person in message.people:
        assert person.id
        check_id(person.id)
    check_time(message.sent_at)
    for attachment in message.metadata.get("attachments", ()):
        assert attachment["type"]
        assert isinstance(attachment.get("link", ""), str)
    assert isinstance(message.metadata.get("payload", ""), str)
    assert all(message.metadata.get(flag, True) is True for flag in ("echo", "history", "standby", "placeholder"))


def check_effect(effect: Effect) -> None:
    """It is about a message, or about a person."""
    assert effect.kind in EFFECTS
    assert effect.channel in CHANNELS
    assert effect.id
    assert effect.target or effect.person
    for value in (effect.id, effect.target, effect.account, effect.person.id if effect.person else None):
        check_id(value)
    check_time(effect.at)
    assert effect.ord or effect.kind not in {"edit", "reaction", "handover", "referral", "marketing"}
    match effect.kind:
        case "status" | "read" | "delivery":
            assert effect.values["status"] in STATUSES
        case "reaction":
            assert effect.values["actor"]
            assert all(isinstance(emoji, str) and emoji for emoji in effect.values["emoji"])
        case "read_until" | "delivered_until":
            assert effect.person
            assert effect.values["until"]
            check_time(effect.values["until"])
        case "marketing":
            assert effect.values["value"] in {"stop", "resume"}
        case "system":
            assert effect.person
            check_id(effect.values["id"])


def check(atoms: Atoms) -> None:
    """All that holds of any body."""
    assert atoms.messages or atoms.effects or atoms.recorded
    assert len({(message.channel, message.id) for message in atoms.messages}) == len(atoms.messages)
    assert len({(effect.channel, effect.id) for effect in atoms.effects}) == len(atoms.effects)
    for message in atoms.messages:
        check_message(message)
    for effect in atoms.effects:
        check_effect(effect)
    for channel, message_id in atoms.mentions:
        assert channel in CHANNELS
        check_id(message_id)


def check_lines(text: str) -> None:
    """One JSON object a line, with nothing that jsonb refuses."""
    for line in text.split("\n") if text else ():
        orjson.loads(line)
        assert "\\u0000" not in line
        assert not UNSTORABLE.search(line)


@pytest.mark.parametrize("provider", THERE)
def test_any_body_is_taken_apart(provider: str) -> None:
    """20,000 odd bodies of each provider: no error, and nothing that the database would refuse."""
    normalise = normaliser_of(provider)
    kinds: set[str] = set()
    for number, body in enumerate(mutated(provider, seed=1, count=EACH)):
        atoms = normalise(body, CONTEXTS[number % 2])
        check(atoms)
        kinds.update(recorded.kind for recorded in atoms.recorded)
        delivery = lines.Delivery(provider=provider, body=b"{}", atoms=atoms)
        call = lines.call_of([delivery], orjson.dumps)
        check_lines(call.lines)
        check_lines(call.effects)
        check_lines(call.deliveries)
    # Kinds are names of our own, or of the provider's list: none is made of what a body says.
    assert len(kinds) < 60
    assert all(re.fullmatch(r"[a-z_.]{1,50}", kind) for kind in kinds)


@pytest.mark.parametrize("provider", THERE)
def test_a_body_cut_off_is_no_json_and_nothing_worse(provider: str) -> None:
    """Half a body is not read, however it ends."""
    for body in seeds(provider):
        text = json.dumps(body).encode()
        for end in range(0, len(text), 97):
            with pytest.raises(ValueError, match=r".*"):
                shapes.loads(text[:end])


@pytest.mark.parametrize("provider", THERE)
def test_the_same_body_gives_the_same_atoms(provider: str) -> None:
    """A redelivery says the same, also where ids are hashes, and whatever the order of keys."""
    normalise = normaliser_of(provider)

    def reversed_keys(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: reversed_keys(item) for key, item in reversed(value.items())}
        return [reversed_keys(item) for item in value] if isinstance(value, list) else value

    for body in mutated(provider, seed=2, count=500):
        once, again = normalise(body, CONTEXTS[0]), normalise(reversed_keys(body), CONTEXTS[0])
        assert {message.id for message in once.messages} == {message.id for message in again.messages}
        assert {effect.id for effect in once.effects} == {effect.id for effect in again.effects}

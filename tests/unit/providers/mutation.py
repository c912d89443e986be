"""Bodies that no provider has ever sent: worked ones with something wrong in them, and values made up from nothing."""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from consumer.domain.providers.shapes import loads

CASES = Path(__file__).parents[2] / "cases"
BODIES = os.environ.get("WEBHOOK_ROUTER_TEST_BODIES")
"""A folder of real bodies, <provider>/*.json, where there is one."""

_DEEP: Any = "deep"
for _ in range(400):
    _DEEP = [_DEEP]
_ODD: list[Any] = [
    None, True, False, 0, -1, 1, 1.5, 1780000000, "1780000000", 1780000000000, 10**18, 10**30, -(10**400), 1e308,
    float("inf"), float("nan"), "", " ", "\0", "a\0b", "\ud83d", "\udc00\ud800", "\U0001f600", "x" * 5000, "{", "[]",
    "null", "wamid.", "wamid.HBgNNTUxNjk5MjMxODIyMhUCABEYEjgxQkVFRDVBQTVDODFDOTg3MQA=", "5511990000001", "BR.1", [],
    {}, [[]], [None], [{}], {"id": {}}, {"": None}, {"\0": "\0"}, {"\ud800": []}, _DEEP, {"a": _DEEP}, ["x"] * 50,
]  # fmt: skip
_KEYS = [
    "id", "mid", "from", "type", "text", "timestamp", "messages", "statuses", "entry", "changes", "messaging",
    "standby", "message", "sender", "recipient", "value", "field", "reaction", "edit", "content", "chat",
    "message_id", "date",
]  # fmt: skip

_MORE: dict[str, list[Any]] = {
    "whatsapp": [
        {"entry": [{"id": "8", "time": 1780000000, "changes": [{"field": field, "value": value}]}]}
        for field, value in (
            (
                "messages",
                {
                    "metadata": {"display_phone_number": "15550100001", "phone_number_id": "900100"},
                    "contacts": [{"wa_id": "5511990000001", "user_id": "BR.1", "profile": {"username": "ana"}}],
                    "messages": [
                        {"from": "551", "id": "w1", "type": "revoke", "revoke": {"original_message_id": "w0"}},
                        {"from": "551", "id": "w2", "type": "image", "image": {"id": "i", "url": "https://i"}},
                        {"from": "551", "id": "w3", "type": "order", "order": {"product_items": [{"quantity": 1}]}},
                        {"from": "551", "id": "w4", "type": "interactive", "interactive": {"list_reply": {"id": "l"}}},
                        {"from": "551", "id": "w5", "type": "text", "text": {"body": "x"}, "group_id": "g"},
                    ],
                },
            ),
            ("history", {"messages": [{"from": "551", "id": "w1", "type": "video", "video": {"id": "v"}}]}),
            (
                "user_preferences",
                {"user_preferences": [{"wa_id": "551", "category": "marketing_messages", "value": "stop"}]},
            ),
            (
                "user_id_update",
                {"user_id_update": [{"wa_id": "551", "user_id": {"previous": "BR.1", "current": "BR.2"}}]},
            ),
        )
    ],
    "tiktok": [
        {
            "event": event,
            "user_openid": "biz-900",
            "content": json.dumps({"from_user": {"id": "user-1"}, "to_user": {"id": "biz-900"}, **content}),
        }
        for event, content in (
            ("im_mark_read_msg", {"read": {"last_read_timestamp": 1780000000000}}),
            ("im_referral_msg", {"referral": {"ad": {"ad_id": "5"}}}),
            ("im_receive_msg", {"type": "image", "message_id": "t1", "image": {"media_id": "i"}}),
        )
    ],
}
"""Kinds that no case has."""


def seeds(provider: str) -> list[Any]:
    """What the mutations begin with."""
    found = list(_MORE.get(provider, ()))
    for path in sorted((CASES / provider).glob("*.json")):
        case = json.loads(path.read_bytes())
        bodies = [*case.get("given", ()), case["body"], *case.get("then", ())]
        found += [loads(body) if isinstance(body, str) else body for body in bodies]
    for path in sorted(Path(BODIES).glob(f"{provider}/*.json")) if BODIES else ():
        read = loads(path.read_bytes())
        found += read if isinstance(read, list) else [read]
    return found


def mutated(provider: str, seed: int, count: int) -> Iterator[Any]:
    """`count` values, the same ones for the same seed."""
    random = Random(f"{provider} {seed}")
    begin = seeds(provider)
    for _ in range(count):
        if random.random() < 0.03:
            yield invented(random, 5)
            continue
        body = random.choice(begin)
        for _ in range(random.choice((1, 1, 1, 2, 3, 6))):
            body = _changed(random, body, begin)
        yield body


def invented(random: Random, depth: int) -> Any:
    """Any JSON value, with keys that providers use."""
    choice = random.random()
    if depth and choice < 0.4:
        return {random.choice(_KEYS): invented(random, depth - 1) for _ in range(random.randrange(5))}
    if depth and choice < 0.6:
        return [invented(random, depth - 1) for _ in range(random.randrange(4))]
    return random.choice(_ODD)


def _changed(random: Random, value: Any, begin: list[Any]) -> Any:
    """The value with one place of it changed; what is beside the way to that place is shared with the old one."""
    if isinstance(value, dict) and value and random.random() < 0.9:
        key = random.choice(list(value))
        if random.random() < 0.1:
            return _with_other_keys(random, value, key)
        return {**value, key: _changed(random, value[key], begin)}
    if isinstance(value, list) and value and random.random() < 0.9:
        place = random.randrange(len(value))
        if random.random() < 0.15:
            return _with_other_items(random, value, place)
        return [*value[:place], _changed(random, value[place], begin), *value[place + 1 :]]
    if isinstance(value, str) and value.startswith('{"') and random.random() < 0.8:
        return _with_other_content(random, value, begin)
    return _another(random, value, begin)


def _with_other_keys(random: Random, value: dict[str, Any], key: str) -> dict[str, Any]:
    rest = {name: item for name, item in value.items() if name != key}
    match random.randrange(3):
        case 0:
            return rest
        case 1:
            return {**rest, random.choice([*_KEYS, "\0", "\ud800", key.upper()]): value[key]}
        case _:
            return {**value, random.choice(_KEYS): random.choice(_ODD)}


def _with_other_items(random: Random, value: list[Any], place: int) -> list[Any]:
    match random.randrange(3):
        case 0:
            return value[:place] + value[place + 1 :]
        case 1:
            return [*value, value[place]]
        case _:
            return [*value, random.choice(_ODD)]


def _with_other_content(random: Random, value: str, begin: list[Any]) -> str:
    """JSON in a text: changed inside, or broken off."""
    with contextlib.suppress(ValueError, RecursionError):
        value = json.dumps(_changed(random, loads(value), begin))
    return value[: random.randrange(len(value))] if random.random() < 0.1 else value


def _another(random: Random, value: Any, begin: list[Any]) -> Any:
    match random.randrange(6):
        case 0:
            return [value]
        case 1:
            return {"id": value}
        case 2:
            return str(value) if isinstance(value, int | float) else len(str(value)[:100])
        case 3:
            return random.choice(begin)
        case _:
            return random.choice(_ODD)

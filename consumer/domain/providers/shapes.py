"""Values of strangers, each asked for by the shape that it should have: whatever else is there counts as nothing."""

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

MAX_ID: Final = 512
"""Characters of an id; twice as many bytes. Two of them go into a key, and an entry of a B-tree has less than 2,700."""
_MAX_DEPTH: Final = 64
_EMPTY: Final[Mapping[str, Any]] = {}
# Postgres has no NUL in texts, and no encoding has halves of surrogate pairs.
_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")
_NUMBER: Final = re.compile(r"[0-9]{1,18}(?:\.[0-9]{1,9})?", re.ASCII)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# Times from 2000 to 2100 in seconds, milliseconds and microseconds: ranges that have no number in common.
_OLDEST: Final = 946_684_800
_NEWEST: Final = 4_102_444_800
_UNITS: Final = (1, 1_000, 1_000_000)
_MAX_INTEGER: Final = 2**63


def loads(body: bytes | str) -> Any:  # noqa: ANN401 - any JSON value
    """The JSON value, of texts as well that strict parsers refuse: halves of surrogate pairs, NaN, Infinity.

    Raises ValueError, and nothing else, where it is not JSON at all.
    """
    try:
        return json.loads(body, parse_constant=lambda _: None)
    except RecursionError as exc:
        raise ValueError("nested too deeply") from exc


def object_of(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else _EMPTY


def list_of(value: object) -> Sequence[Any]:
    return value if isinstance(value, list) else ()


def objects_of(value: object) -> list[Mapping[str, Any]]:
    """The objects of a list."""
    return [item for item in list_of(value) if isinstance(item, dict)]


def text_of(value: object) -> str | None:
    """The text, with U+FFFD for what Postgres cannot store; it may be empty."""
    if not isinstance(value, str):
        return None
    if value.isascii() and "\0" not in value:
        return value
    return _UNSTORABLE.sub("\ufffd", value)


def id_of(value: object) -> str | None:
    """The id, which may come as a number; None for one that is blank, or too long for a key."""
    if isinstance(value, str):
        text = text_of(value) if 0 < len(value) <= MAX_ID and not value.isspace() else None
        return text if text is None or text.isascii() or len(text.encode()) <= 2 * MAX_ID else None
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value) if -_MAX_INTEGER < value < 2 * _MAX_INTEGER else None
    return None


def number_of(value: object) -> int | float | None:
    """The number, if jsonb and arithmetic can have it: no more than 64 bits, neither NaN nor infinite."""
    return clean(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def time_of(value: object) -> str | None:
    """ISO 8601 in UTC, from seconds, milliseconds or microseconds, as a number or its digits, or from ISO 8601.

    None for anything else, also for numbers that are a time of no likely year.
    """
    found: datetime | None = None
    if isinstance(value, str):
        text = value.strip()
        if _NUMBER.fullmatch(text):
            found = _time_of_number(float(text) if "." in text else int(text))
        elif len(text) <= len("2026-05-28T20:26:40.000000000+00:00") and text.isascii():
            found = _time_of_text(text)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        found = _time_of_number(value)
    return found.isoformat().replace("+00:00", "Z") if found else None


def ord_of_edit(at: str | None, atom_id: str) -> str:
    """What edits of a message are ordered by, byte by byte: their time, to the microsecond, then their id.

    One without a time is the last: what it says cannot be older than the message.
    """
    if at is None:
        return f"~ {atom_id}"
    return f"{datetime.fromisoformat(at).astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ} {atom_id}"


def hash_of(*parts: object) -> str:
    """32 hexadecimal digits, the same for equal JSON values, whatever the order of keys."""
    text = json.dumps(clean(list(parts)), sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def attachment(
    kind: str,
    *,
    id: object = None,  # noqa: A002 - the name of the key
    link: object = None,
    mime: object = None,
    name: object = None,
    **more: object,
) -> dict[str, Any]:
    """An attachment as messages.metadata has it; what is not known is absent."""
    known = {"type": kind, "id": id_of(id), "link": text_of(link), "mime": text_of(mime), "name": text_of(name)}
    known |= {key: clean(value) for key, value in more.items()}
    return {key: value for key, value in known.items() if value is not None and value != ""}


def clean(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """The JSON value as jsonb can hold it: no NUL, no halves of surrogate pairs, no NaN, and no more than 64 levels."""
    return _clean(value, _MAX_DEPTH)


def _clean(value: Any, depth: int) -> Any:  # noqa: ANN401 - any JSON value
    cleaned: Any = None
    match value:
        case str():
            cleaned = text_of(value)
        case bool():
            cleaned = value
        case int() if -_MAX_INTEGER <= value < _MAX_INTEGER:
            cleaned = value
        case float() if math.isfinite(value):
            cleaned = value
        case dict() if depth:
            cleaned = {text_of(key): _clean(item, depth - 1) for key, item in value.items() if isinstance(key, str)}
        case list() | tuple() if depth:
            cleaned = [_clean(item, depth - 1) for item in value]
    return cleaned


def _time_of_number(value: float) -> datetime | None:
    for unit in _UNITS:
        if _OLDEST * unit <= value < _NEWEST * unit:
            # Whole microseconds, since a float of this size has no more.
            return _EPOCH + timedelta(microseconds=int(value * (1_000_000 // unit)))
    return None


def _time_of_text(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
        found = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return found if _EPOCH + timedelta(seconds=_OLDEST) <= found < _EPOCH + timedelta(seconds=_NEWEST) else None

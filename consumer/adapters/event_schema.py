"""Whether a line of JSON is an event as `schemas/events/webhook_event.v1.schema.json` says, and if not, why.

Nearly every line is one, so each is first checked by hand-written code that takes its limits from the schema; the
reasons come from a JSON Schema validator. A test proves that both accept the same lines.
"""

import difflib
import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, Final

import orjson
from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import ValidationError

from consumer.adapters.shipped_files import schemas_folder

_DATE_TIME: Final = re.compile(
    r"""
      (?!0000)(?P<year>\d{4}) - (?P<month>0[1-9]|1[0-2]) - (?P<day>0[1-9]|[12]\d|3[01])
      [Tt] (?:[01]\d|2[0-3]) : [0-5]\d : (?:[0-5]\d|60) (?:\.\d+)?
      (?:[Zz] | [+-] (?:0\d|1[0-5]) : [0-5]\d)
    """,
    re.VERBOSE | re.ASCII,
)
_UUID: Final = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_SHORT_MONTHS: Final = {"04": 30, "06": 30, "09": 30, "11": 30}
_LONGEST_REASON: Final = 1000

_JSON_TYPES: Final[dict[type, str]] = {
    dict: "an object", list: "an array", str: "a string", int: "a number", float: "a number", bool: "true or false",
    type(None): "null",
}  # fmt: skip
_FORMATS: Final = {
    "date-time": "is not a time such as 2026-01-31T09:30:00Z (RFC 3339, with its offset from UTC)",
    "uuid": "is not a UUID such as 7e1f9a54-1c7a-4f0e-9a43-0d5f3c2b1a00",
}


class EventSchema:
    """The schema, ready for use. Make it once: `event_schema()`."""

    def __init__(self, schema: dict[str, Any]) -> None:
        formats = FormatChecker(formats=())
        formats.checks("date-time")(lambda value: not isinstance(value, str) or is_date_time(value))
        formats.checks("uuid")(lambda value: not isinstance(value, str) or is_uuid(value))
        self.schema = schema
        self.validator = Draft202012Validator(schema, format_checker=formats)
        self._known = list(schema["properties"])
        self._required = frozenset(schema["required"])
        self._checks = {name: _check(of, name in self._required) for name, of in schema["properties"].items()}

    def refusal(self, line: bytes) -> str | None:
        """Why the line cannot be stored as an event; None when it can."""
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            return _why_not_json(line, error)
        if not self.accepts(record):
            return self._reason(record)
        if b"\\u0000" in line and (place := _holder_of_nul(record)):
            return f"{place} contains the character \\u0000, which Postgres cannot store"
        return None

    def accepts(self, record: object) -> bool:
        """Whether the record matches the schema, by the hand-written check."""
        if type(record) is not dict or not self._required <= record.keys():
            return False
        checks = self._checks
        for name, value in record.items():
            check = checks.get(name)
            if check is None or not check(value):
                return False
        return True

    def _reason(self, record: object) -> str:
        problems = [problem for error in self.validator.iter_errors(record) for problem in self._problems(error)]
        text = "; ".join(dict.fromkeys(problems)) or "is not an event"
        return text if len(text) <= _LONGEST_REASON else text[: _LONGEST_REASON - 1] + "…"

    def _problems(self, error: ValidationError) -> Iterator[str]:
        """The validator's finding in our words: its own quote the value, which may be as long as a line."""
        field = str(error.absolute_path[0]) if error.absolute_path else "the line"
        given: Any = error.instance
        limit: Any = error.validator_value
        match error.validator:
            case "required":
                yield from (f"{name} is missing" for name in sorted(self._required - given.keys()))
            case "additionalProperties":
                for name in sorted(given.keys() - self._checks.keys()):
                    near = difflib.get_close_matches(name, self._known, n=1)
                    meant = f" (is {near[0]} meant?)" if near else "; what is not a column goes into raw_payload"
                    yield f"unknown field {name[:80]!r}{meant}"
            case "type":
                kind = _JSON_TYPES[type(given)]
                wanted = [limit] if isinstance(limit, str) else limit
                hint = "; jq -c '.[]' makes lines of an array" if kind == "an array" and field == "the line" else ""
                yield f"{field} must be {' or '.join(_article(name) for name in wanted)}, not {kind}{hint}"
            case "enum":
                yield f"{field} must be message or comment"
            case "minLength":
                yield f"{field} is empty"
            case "maxLength":
                yield f"{field} is longer than {limit:,} characters"
            case "format":
                yield f"{field} {_FORMATS[limit]}"
            case _:
                yield f"{field} does not meet {error.validator!r} of the schema"


@cache
def event_schema() -> EventSchema:
    """The schema that belongs to this version."""
    text = schemas_folder().joinpath("events", "webhook_event.v1.schema.json").read_text(encoding="utf-8")
    return EventSchema(orjson.loads(text))


def is_date_time(text: str) -> bool:
    """RFC 3339 within the limits of Postgres: years 1 to 9999, offsets up to 15:59, leap seconds included."""
    found = _DATE_TIME.fullmatch(text)
    if found is None:
        return False
    if found["day"] <= "28":
        return True
    if found["month"] != "02":
        return int(found["day"]) <= _SHORT_MONTHS.get(found["month"], 31)
    year = int(found["year"])
    return found["day"] == "29" and year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


def is_uuid(text: str) -> bool:
    """The usual form, in either case; Postgres accepts others too, but JSON Schema does not."""
    return _UUID.fullmatch(text) is not None


def _check(field: dict[str, Any], required: bool) -> Callable[[object], bool]:  # noqa: FBT001 - private
    """The check of one field, built for speed: one call a value, with its limits in the closure."""
    if "enum" in field:
        # "in" would compare 1 and True, or hash a list.
        return lambda value: value is None or value == "message" or value == "comment"  # noqa: PLR1714
    if "type" not in field:
        return lambda _: True
    if "object" in field["type"]:
        return lambda value: value is None or type(value) is dict
    most = field.get("maxLength", 1 << 62)
    of_format = {"date-time": is_date_time, "uuid": is_uuid}.get(field.get("format", ""))
    if of_format is not None:
        return lambda value: value is None or (type(value) is str and len(value) <= most and of_format(value))
    if required:
        return lambda value: type(value) is str and 0 < len(value) <= most
    return lambda value: value is None or (type(value) is str and len(value) <= most)


def _why_not_json(line: bytes, error: orjson.JSONDecodeError) -> str:
    try:
        line.decode()
    except UnicodeDecodeError as not_text:
        return f"not UTF-8 text: byte {not_text.start + 1} of the line is wrong"
    return f"not JSON: {error.msg}, at character {error.pos + 1}"


def _holder_of_nul(record: dict[str, object]) -> str | None:
    """The field that contains a NUL, however deep."""
    for name, value in record.items():
        waiting: list[object] = [name, value]
        while waiting:
            match waiting.pop():
                case str() as text if "\0" in text:
                    return name.replace("\0", "\\u0000")
                case list() as several:
                    waiting.extend(several)
                case dict() as members:
                    waiting.extend(members)
                    waiting.extend(members.values())
                case _:
                    pass
    return None


def _article(kind: str) -> str:
    return "null" if kind == "null" else f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"

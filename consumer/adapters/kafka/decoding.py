"""JSON of records: orjson, and the event schema."""

from functools import cache
from typing import Any

import orjson

from consumer.adapters.event_schema import event_schema
from consumer.domain.records import Codec


@cache
def codec() -> Codec:
    """What `consumer.domain.forms.interpret` needs, ready for use."""
    schema = event_schema()

    def problem(event: dict[str, Any], text: str) -> str | None:
        # Nearly every event is valid, and then its text need not be parsed a second time.
        if schema.accepts(event) and "\\u0000" not in text:
            return None
        return schema.refusal(text.encode())

    return Codec(loads=orjson.loads, dumps=_dumps, problem=problem)


def _dumps(value: object) -> str:
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError as error:  # a TypeError: it reads 1,024 levels, and writes 254
        raise ValueError(str(error)) from None

"""traceparent: how somebody who sends something says of which trace it is a part (W3C Trace Context)."""

import re

_TRACE = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


def trace_of(value: object) -> str | None:
    """The value if it is a traceparent: what comes from outside is not copied into a log unchecked."""
    text = value.decode(errors="replace") if isinstance(value, bytes) else value
    return text if isinstance(text, str) and _TRACE.fullmatch(text) else None

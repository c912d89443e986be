"""Whether facts become spans: the usual variables of OpenTelemetry say so. Nothing of it is imported otherwise."""

import logging
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import urlsplit

import structlog

from consumer.ports import PartInfo

if TYPE_CHECKING:
    from consumer.adapters.telemetry.spans import Spans

Exporter = Literal["otlp", "console"]
ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
PROTOCOL: Final = "http/protobuf"
INSTALL: Final = "pip install 'webhook-router[otel]'"
TELL_EVERY: Final = 300.0
"""Seconds between lines about the same trouble of a part of OpenTelemetry."""
_QUERY = re.compile(r"\?\S*")


def from_environment(
    environment: Mapping[str, str], *, parts: Iterable[PartInfo], version: str, grace: float
) -> "Spans | None":
    """The sink that makes spans, if the environment asks for one and has all that it needs.

    What keeps it from being made is a line of the log, and no more: many a cluster gives these variables to everything
    that runs in it, and routing matters more.

    Args:
        grace: seconds that a stop may take, all in all.
    """
    exporters = wanted(environment)
    if not exporters:
        return None
    try:
        from consumer.adapters.telemetry import spans  # noqa: PLC0415 - an extra, and slow to import
    except ImportError as error:
        if not (error.name or "").startswith("opentelemetry"):
            raise
        _untraced("OpenTelemetry is not installed", advice=INSTALL)
        return None
    _keep_lines_few()
    try:
        return spans.made(exporters, parts=parts, version=version, grace=grace)
    except Exception as error:  # noqa: BLE001 - whatever it does not like about its variables
        _untraced(f"OpenTelemetry cannot be set up: {type(error).__name__}: {error}", advice="see its OTEL_ variables")
        return None


def wanted(environment: Mapping[str, str]) -> Sequence[Exporter]:
    """Where spans go; nowhere unless the variables say so, or if they say something that is not to be had."""

    def told(name: str) -> str:
        return environment.get(name, "").strip()

    if told("OTEL_SDK_DISABLED").lower() == "true":
        return ()
    endpoint = next((name for name in ENDPOINTS if told(name)), None)
    asked = told("OTEL_TRACES_EXPORTER").lower() or ("otlp" if endpoint else "none")
    names = {name.strip() for name in asked.split(",")} - {""}
    if "none" in names:
        return ()
    found: list[Exporter] = []
    for name in sorted(names):
        match name:
            case "console":
                found.append("console")
            case "otlp":
                protocol = next((name for name in PROTOCOLS if told(name)), PROTOCOLS[1])
                if told(protocol).lower() not in ("", PROTOCOL):
                    _untraced(
                        f"only {PROTOCOL} is spoken here",
                        advice=f"set {protocol}={PROTOCOL}, and the endpoint to the collector's port for it, "
                        "which is 4318 as a rule",
                    )
                elif endpoint is not None and not _is_url(told(endpoint)):
                    _untraced(f"{endpoint} is no URL", advice=f"set {endpoint}=http://collector:4318 or its like")
                else:
                    found.append("otlp")
            case _:
                _untraced("OTEL_TRACES_EXPORTER names what is not known here", advice="set it to otlp, console or none")
    return found


def _is_url(text: str) -> bool:
    try:
        url = urlsplit(text)
        return url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        return False


def _untraced(reason: str, *, advice: str) -> None:
    structlog.get_logger().warning("traces are configured and not sent", reason=reason, advice=advice)


def _keep_lines_few() -> None:
    """What OpenTelemetry has to say is said in the form of our log, and now and then."""
    theirs = logging.getLogger("opentelemetry")
    theirs.propagate = False
    theirs.handlers = [FewLines()]


class FewLines(logging.Handler):
    """Writes the first line of each of OpenTelemetry's modules at once, and later one of those that follow.

    A collector that is away would be a line for each attempt otherwise.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__(logging.WARNING)
        self._now = now
        self._told: dict[str, float] = {}
        self._untold: Counter[str] = Counter()

    def emit(self, record: logging.LogRecord) -> None:
        name = record.name
        self._untold[name] += 1
        if self._now() - self._told.get(name, float("-inf")) < TELL_EVERY:
            return
        self._told[name] = self._now()
        structlog.get_logger().warning("tracing: " + _words(record), logger=name, count=self._untold.pop(name))


def _words(record: logging.LogRecord) -> str:
    """The line without what may be a key: headers, and what is behind the question mark of an address."""
    if record.name == "opentelemetry.util.re":
        return "OTEL_EXPORTER_OTLP_HEADERS is no list like name=value,name=value whose values are URL-encoded"
    error = record.exc_info[1] if record.exc_info else None
    message = record.getMessage() if error is None else f"{record.getMessage()} ({type(error).__name__}: {error})"
    return _QUERY.sub("?…", message)

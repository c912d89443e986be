"""A collector of OpenTelemetry in this process: takes traces over OTLP/HTTP and keeps them."""

import contextlib
import gzip
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.waiting import wait_for

SERVER, CLIENT, CONSUMER = Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CLIENT, Span.SPAN_KIND_CONSUMER


@dataclass(frozen=True)
class Seen:
    """A span as it has arrived."""

    name: str
    kind: int
    trace: str
    id: str
    parent: str
    links: Sequence[tuple[str, str]]
    """Trace and span of each."""
    seconds: float
    is_error: bool
    attributes: Mapping[str, object]


class Collector:
    """What has arrived so far."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.spans: list[Seen] = []
        self.resource: Mapping[str, object] = {}
        self.headers: Mapping[str, str] = {}
        """Of the last request."""
        self.path = ""

    def take(self, path: str, headers: Mapping[str, str], body: bytes) -> None:
        """One export."""
        self.path, self.headers = path, {name.lower(): value for name, value in headers.items()}
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        for about in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.resource = _values(about.resource.attributes)
            self.spans += [_seen(span) for scope in about.scope_spans for span in scope.spans]

    def of(self, name: str) -> list[Seen]:
        """Those of this name."""
        return [span for span in self.spans if span.name == name]

    def until(self, found: Callable[[], object], what: str) -> None:
        """Waits for spans."""
        wait_for(found, what=f"{what} among {self.spans}")


def _values(attributes: Sequence[KeyValue]) -> dict[str, object]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value") or "string_value") for pair in attributes}


def _seen(span: Span) -> Seen:
    return Seen(
        name=span.name,
        kind=span.kind,
        trace=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        links=[(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
        seconds=(span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
        is_error=span.status.code == Status.STATUS_CODE_ERROR,
        attributes=_values(span.attributes),
    )


@contextlib.contextmanager
def collecting(*, holds: threading.Event | None = None) -> Iterator[Collector]:
    """One that listens; with `holds` it answers nobody before that is set."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if holds is not None:
                holds.wait()
                return
            collector.take(self.path, dict(self.headers), body)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - as the base has it
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector = Collector(f"http://127.0.0.1:{server.server_address[1]}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield collector
        finally:
            if holds is not None:
                holds.set()
            server.shutdown()
            thread.join()

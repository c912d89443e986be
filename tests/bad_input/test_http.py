"""Requests that no probe and no scraper sends, against the port of /livez, /readyz and /metrics."""

import contextlib
import resource
import socket
import ssl
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from tests.bad_input.conftest import Service

ANSWER_WITHIN = 60.0
"""Seconds for an answer or the end of the connection, on a busy machine; a client that gets neither found a hole."""

HALF_SENT = 1600
"""More than the 1,024 files that a process may open by default."""


@contextlib.contextmanager
def connected(service: Service) -> Iterator[socket.socket]:
    """A connection to the service."""
    parts = urlsplit(service.router.address)
    with socket.create_connection((parts.hostname, parts.port), timeout=ANSWER_WITHIN) as connection:
        yield connection


def answer(connection: socket.socket) -> bytes:
    """What comes until the service closes, or the end of the headers; TimeoutError when neither comes."""
    got = b""
    with contextlib.suppress(ConnectionError):
        while chunk := connection.recv(65_536):
            got += chunk
            if b"\r\n\r\n" in got:
                break
    return got


def request(line: str, *headers: str, body: bytes = b"") -> bytes:
    """A request as bytes."""
    return "\r\n".join([line, "Host: x", *headers, "", ""]).encode("latin-1") + body


REFUSED: dict[str, bytes] = {
    "an unknown path": request("GET /secrets HTTP/1.1"),
    "the root": request("GET /nothing/at/all HTTP/1.1"),
    "a path traversal": request("GET /../../../../etc/passwd HTTP/1.1"),
    "a path traversal, escaped": request("GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1"),
    "a path traversal behind a known path": request("GET /metrics/../../etc/passwd HTTP/1.1"),
    "a path with a NUL": request("GET /metrics%00.html HTTP/1.1"),
    "a path that is badly escaped": request("GET /%zz%c0%ae HTTP/1.1"),
    "a path of a megabyte": request("GET /" + "a" * 1_000_000 + " HTTP/1.1"),
    "a query of a megabyte": request("GET /metrics?" + "a" * 1_000_000 + " HTTP/1.1"),
    "a header of a megabyte": request("GET /livez HTTP/1.1", "X: " + "a" * 1_000_000),
    "a header without a colon": request("GET /livez HTTP/1.1", "nothing"),
    "a header with a NUL": request("GET /livez HTTP/1.1", "X: a\0b"),
    "a header folded over two lines": request("GET /livez HTTP/1.1", "X: a\r\n b"),
    "a POST": request("POST /metrics HTTP/1.1", "Content-Length: 2", body=b"{}"),
    "a DELETE": request("DELETE /livez HTTP/1.1"),
    "a PUT": request("PUT /readyz HTTP/1.1", "Content-Length: 0"),
    "a TRACE": request("TRACE /livez HTTP/1.1"),
    "a CONNECT": request("CONNECT example.org:443 HTTP/1.1"),
    "a method that nobody knows": request("BREW /livez HTTP/1.1"),
    "a method that is garbage": request("\x01\x02\x03 /livez HTTP/1.1"),
    "a version that nobody knows": request("GET /livez HTTP/9.9"),
    "HTTP/2 without asking": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a length that is negative": request("POST /livez HTTP/1.1", "Content-Length: -1"),
    "a length that is no number": request("POST /livez HTTP/1.1", "Content-Length: many"),
    "two lengths": request("POST /livez HTTP/1.1", "Content-Length: 1", "Content-Length: 2", body=b"xx"),
    "a length and chunks": request(
        "POST /livez HTTP/1.1", "Content-Length: 3", "Transfer-Encoding: chunked", body=b"0\r\n\r\n"
    ),
    "chunks that are none": request("POST /livez HTTP/1.1", "Transfer-Encoding: chunked", body=b"zz\r\n\r\n"),
    "an exabyte announced": request("POST /livez HTTP/1.1", "Content-Length: 1152921504606846976"),
    "TLS": ssl.OP_ALL.to_bytes(8, "big") + b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500) + b"\r\n\r\n",
    "random bytes": bytes(range(128, 256)) * 100 + b"\r\n\r\n",
    "nothing but line feeds": b"\r\n" * 10_000 + b"\x00\r\n\r\n",
    "a file of a browser": request("GET /.env HTTP/1.1"),
    "a script": request("GET /cgi-bin/%2e%2e/bin/sh?-c=id HTTP/1.1"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_request_that_is_refused(service: Service, name: str) -> None:
    """Status 4xx or 5xx, or the connection is closed; never content of the machine, never a traceback."""
    with service.undisturbed():
        with connected(service) as connection:
            with contextlib.suppress(ConnectionError):
                connection.sendall(REFUSED[name])
                connection.shutdown(socket.SHUT_WR)
            got = answer(connection)
        assert got == b"" or got.split(b" ")[1][:1] in {b"4", b"5"}, got[:200]
        assert b"Traceback" not in got
        assert b"root:" not in got


def test_two_hundred_slow_ones(service: Service) -> None:
    """Clients that send a header a byte at a time and never end it: probes are answered beside them."""
    with contextlib.ExitStack() as stack, service.undisturbed():
        slow = [stack.enter_context(connected(service)) for _ in range(200)]
        for letter in b"GET /livez HTTP/1.1\r\nX-Slow: ":
            for connection in slow:
                connection.sendall(bytes([letter]))
        assert service.router.get("/livez") == (200, "alive\n")
        assert service.router.get("/metrics")[0] == 200


def test_more_half_sent_requests_than_there_may_be_connections(service: Service) -> None:
    """Requests that never end, far more of them than connections are kept: probes are answered beside them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = HALF_SENT + 500
    if hard < wanted:
        pytest.skip(f"this user may open {hard} files at most")
    assert service.router.metric("process_max_fds") == hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    try:
        with contextlib.ExitStack() as stack, service.undisturbed():
            for number in range(HALF_SENT):
                connection = stack.enter_context(connected(service))
                with contextlib.suppress(ConnectionError):
                    connection.sendall(request("GET /livez HTTP/1.1", "X-Slow: ")[:-4])
                if number % 100 == 0:
                    assert service.router.get("/livez") == (200, "alive\n")
            for _ in range(20):
                assert service.router.get("/livez") == (200, "alive\n")
            assert service.router.metric("process_open_fds") < 400
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_hundred_that_do_not_read(service: Service) -> None:
    """Clients that ask for the metrics again and again and read nothing: neither time nor memory is lost to them."""
    with contextlib.ExitStack() as stack, service.undisturbed():
        before = service.router.metric("process_resident_memory_bytes")
        for _ in range(100):
            connection = stack.enter_context(connected(service))
            connection.settimeout(0.2)
            with contextlib.suppress(TimeoutError, ConnectionError):
                connection.sendall(request("GET /metrics HTTP/1.1") * 500)
        assert service.router.get("/livez")[0] == 200
        assert service.router.metric("process_resident_memory_bytes") < before + 150_000_000


def test_a_thousand_requests_in_a_row(service: Service) -> None:
    """On one connection, sent before the first answer is read: all are answered, in order."""
    with service.undisturbed(), connected(service) as connection:
        connection.sendall(request("GET /livez HTTP/1.1") * 999 + request("GET /livez HTTP/1.1", "Connection: close"))
        got = b""
        while chunk := connection.recv(65_536):
            got += chunk
        assert got.count(b"HTTP/1.1 200 OK") == 1000


def test_a_thousand_that_hang_up(service: Service) -> None:
    """Connections that end before, in the middle of, or right after a request."""
    with service.undisturbed():
        for number in range(1000):
            with connected(service) as connection:
                connection.sendall(request("GET /metrics HTTP/1.1")[: number % 40])
                if number % 3 == 0:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset
        assert service.router.metric("process_open_fds") < 100

"""Reads the streams of open pages, and throws away what comes: `python -m benchmarks.page_readers PORT PAGES`.

Says when all of them are open, and at the end of standard input how many messages and bytes came.
"""

import selectors
import socket
import sys

REQUEST = b"GET /stream HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAccept: text/event-stream\r\n\r\n"


def main(port: int, pages: int) -> int:
    """Until standard input ends; 1 when a stream cannot be read."""
    waiting = selectors.DefaultSelector()
    waiting.register(sys.stdin, selectors.EVENT_READ)
    for _ in range(pages):
        connection = socket.create_connection(("127.0.0.1", port), timeout=10)
        connection.sendall(REQUEST % port)
        connection.setblocking(False)  # noqa: FBT003 - as the library has it
        waiting.register(connection, selectors.EVENT_READ)
    opened: set[int] = set()
    messages = size = 0
    while True:
        for key, _ in waiting.select():
            if key.fileobj is sys.stdin:
                sys.stdout.write(f"{messages} {size}\n")
                return 0
            assert isinstance(key.fileobj, socket.socket)
            chunk = key.fileobj.recv(1 << 16)
            if not chunk:
                sys.stderr.write("a stream has ended\n")
                return 1
            size += len(chunk)
            messages += chunk.count(b"event: now")
            if key.fd in opened:
                continue
            if not chunk.startswith(b"HTTP/1.1 200"):
                sys.stderr.write(f"no stream: {chunk[:80]!r}\n")
                return 1
            opened.add(key.fd)
            if len(opened) == pages:
                sys.stdout.write("all are open\n")
                sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main(int(sys.argv[1]), int(sys.argv[2])))

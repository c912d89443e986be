"""An address that moves from one server to another, as a load balancer's or a floating one does in a failover.

Run as a program it is the process that carries the bytes: `python -m tests.chaos.relay PORT`, with orders as JSON lines
on its input.
"""

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
from types import TracebackType
from typing import Any, Self

from tests.ports import free_port

HOST = "127.0.0.1"


class Relay:
    """The address, for the duration of the `with` block."""

    def __init__(self, port: int) -> None:
        """`port` is where it leads at first."""
        self._to = port
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.relay", str(self.port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"up\n"
        self.lead_to(self._to)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.communicate()
            self._process = None

    def lead_to(self, port: int | None, *, silently: bool = False) -> None:
        """From now on connections lead there; None: to nobody, and they are refused.

        Args:
            port: of a server on this machine.
            silently: connections that exist are not closed, and nothing gets through them any more: what is seen of a
                machine that has lost its power.
        """
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"port": port, "silently": silently}).encode() + b"\n")
        self._process.stdin.flush()


class _Carrier:
    """The connections of the process."""

    def __init__(self) -> None:
        self._port: int | None = None
        self._open: set[asyncio.Task[None]] = set()
        self._writers: dict[asyncio.Task[None], tuple[asyncio.StreamWriter, ...]] = {}

    def obey(self, order: dict[str, Any]) -> None:
        self._port = order["port"]
        for task in list(self._open):
            if order["silently"]:
                for writer in self._writers.pop(task, ())[1:]:  # the server's side
                    writer.transport.abort()
            else:
                task.cancel()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            if self._port is None:
                return
            their_reader, their_writer = await asyncio.open_connection(HOST, self._port)
            self._writers[task] = (writer, their_writer)
            ways = [
                asyncio.create_task(_carry(reader, their_writer)),
                asyncio.create_task(_carry(their_reader, writer)),
            ]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                if task not in self._writers:  # it has gone silent: until the client gives up
                    await asyncio.gather(ways[0], return_exceptions=True)
                    while await reader.read(65_536):
                        pass
            finally:
                for way in ways:
                    way.cancel()
                their_writer.transport.abort()
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()
            self._open.discard(task)
            self._writers.pop(task, None)


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while some := await reader.read(65_536):
            writer.write(some)
            await writer.drain()


async def main(port: int) -> None:
    """The process of one relay. It ends when its input is closed, and ignores a terminal's signals."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    carrier = _Carrier()
    loop = asyncio.get_running_loop()
    orders = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    server = await asyncio.start_server(carrier.serve, HOST, port)
    sys.stdout.write("up\n")
    sys.stdout.flush()
    while line := await orders.readline():
        carrier.obey(json.loads(line))
    server.close()
    carrier.obey({"port": None, "silently": False})


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))

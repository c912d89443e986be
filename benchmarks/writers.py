"""Clients that insert events one a transaction, as gateways do, by pgbench: a Python writer would measure Python."""

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg

from benchmarks.harness import Bench
from consumer.embedded_postgres.server import all_binaries

# post_id carries the inserting transaction's id, by which its commit timestamp is found later.
INSERT = """
insert into public.webhook_events (channel, type, event_id, author_id, author_name, content, event_date, post_id,
                                   raw_payload)
values ('whatsapp', 'message', 'live-' || gen_random_uuid(), 'person-' || {person}, 'Person ' || {person},
        'Is the order that I placed last week on its way, and when will it be here?', now(),
        pg_current_xact_id()::text,
        '{{"object": "whatsapp_business_account", "entry": [{{"id": "page", "changes": [{{"field": "messages"}}]}}]}}')
"""
PEOPLE = 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What the writers did."""

    events: int
    per_second: float
    output: str


def pgbench_program(bench: Bench) -> Path | None:
    """A pgbench: the server's own, another installation's, or one on the PATH."""
    folders = [bench.server.binaries.folder, *(found.folder for found in all_binaries())]
    for folder in folders:
        if (folder / "pgbench").is_file():
            return folder / "pgbench"
    found = shutil.which("pgbench")
    return Path(found) if found else None


class Writers:
    """pgbench with the insert above; ends by itself after `seconds`, or with `stop`."""

    def __init__(
        self, bench: Bench, dsn: str, *, clients: int, seconds: float, rate: float | None = None, quiet: bool = False
    ) -> None:
        """`quiet`: these sessions are not logged, even where the database is."""
        program = pgbench_program(bench)
        if program is None:
            raise RuntimeError("no pgbench: install Postgres's client programs")
        self._script = tempfile.NamedTemporaryFile("w", suffix=".sql", encoding="utf-8")  # noqa: SIM115 - closed by finish
        self._script.write(
            f"\\set person random(1, {PEOPLE})\n" + " ".join(INSERT.format(person=":person").split()) + ";\n"
        )
        self._script.flush()
        command = [
            *(str(program), "--no-vacuum", "--protocol", "prepared", "--client", str(clients), "--jobs", "2"),
            *("--time", str(max(1, round(seconds))), "--file", self._script.name),
            *(("--rate", str(rate)) if rate else ()),
            dsn,
        ]
        self._process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **({"PGOPTIONS": "-c log_min_duration_statement=-1"} if quiet else {})},
        )

    def finish(self) -> Written:
        """Waits for the end.

        Raises:
            RuntimeError: pgbench failed.
        """
        output, errors = self._process.communicate()
        self._script.close()
        events = re.search(r"number of transactions actually processed: (\d+)", output)
        rate = re.search(r"^tps = ([\d.]+)", output, re.MULTILINE)
        if self._process.returncode or events is None or rate is None:
            raise RuntimeError(f"pgbench failed: {errors[-500:]}")
        return Written(events=int(events[1]), per_second=float(rate[1]), output=output)

    def stop(self) -> None:
        """Ends it early."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        self._process.communicate()
        self._script.close()


@contextlib.contextmanager
def writing(bench: Bench, dsn: str, *, clients: int, seconds: float, rate: float | None = None) -> Iterator[Writers]:
    """Writers that are gone after the block."""
    writers = Writers(bench, dsn, clients=clients, seconds=seconds, rate=rate)
    try:
        yield writers
    finally:
        writers.stop()


def write_one(connection: psycopg.Connection, number: int) -> str:
    """Inserts one event from here; returns its id."""
    row = connection.execute(
        f"{INSERT.format(person='%(person)s::text')} returning id::text".encode(), {"person": str(number)}
    ).fetchone()
    assert row is not None
    return str(row[0])

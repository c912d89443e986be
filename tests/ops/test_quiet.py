"""Pages that are open, and that are loaded again and again, ask the database for no more than the sampler does."""

import asyncio
import re
from pathlib import Path

import psycopg
from aiohttp import ClientSession, TCPConnector
from psycopg import sql

from tests.processes import running
from tests.servers import Server
from tests.waiting import await_for

STREAMS = 30
LOADS = 100
LOOKS = (r"router\.backlog_by_channel\(", r"select a\.application_name")
"""What is asked for people only."""


def since(log: Path, place: int) -> str:
    """What was written behind this place."""
    with log.open("rb") as opened:
        opened.seek(place)
        return opened.read().decode(errors="replace")


async def test_open_pages_ask_for_nothing(postgres_server: Server, database: str) -> None:
    """One look a sample, while somebody watches; no statement of their own, however often they come."""
    name = psycopg.conninfo.conninfo_to_dict(database)["dbname"]
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(sql.SQL("alter database {} set log_statement = 'all'").format(sql.Identifier(str(name))))
    log = postgres_server.folder / "server.log"
    with running(database, "--sample-interval", "0.3") as router:
        router.until_listening()
        async with ClientSession(connector=TCPConnector(limit=0)) as session:
            from_here = log.stat().st_size

            def said(pattern: str) -> int:
                return len(re.findall(pattern, since(log, from_here)))

            async def looks() -> bool:
                return said(LOOKS[0]) >= 2

            assert said(LOOKS[0]) == 0
            streams = [await session.get(f"{router.address}/stream") for _ in range(STREAMS)]
            for _ in range(LOADS // 10):
                for answer in await asyncio.gather(*(session.get(f"{router.address}/") for _ in range(10))):
                    assert answer.status == 200
                    await answer.read()
            await await_for(looks, what="looks for people")
            for stream in streams:
                assert not stream.content.at_eof()
                stream.close()
        statements = since(log, from_here)
    samples = len(re.findall(r"router\.(?:recent_)?backlog\b", statements))
    assert [len(re.findall(look, statements)) <= samples + 1 for look in LOOKS] == [True, True]
    kinds = re.findall(r"LOG:  (?:statement|execute [^:]*): *(.{1,60})", statements)
    assert max(kinds.count(kind) for kind in kinds) < LOADS / 2, kinds

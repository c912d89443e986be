"""Pages that are open, and that are loaded again and again, ask the database for no more than the sampler does."""

import asyncio
import re
from collections import Counter
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
SAMPLE = r"router\.(?:recent_)?backlog\b"


def since(log: Path, place: int) -> str:
    """What was written behind this place."""
    with log.open("rb") as opened:
        opened.seek(place)
        return opened.read().decode(errors="replace")


def kinds(statements: str) -> Counter[str]:
    """Statements by how they begin."""
    return Counter(re.findall(r"LOG:  (?:statement|execute [^:]*):\s*(\S.{1,60})", statements))


async def test_open_pages_ask_for_nothing(postgres_server: Server, database: str) -> None:
    """One look a sample, while somebody watches; no other statement than before, however often they come."""
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

            async def samples() -> bool:
                return said(SAMPLE) >= 3 and len(kinds(since(log, from_here))) >= 3

            await await_for(samples, what="samples that nobody watches")
            before = kinds(since(log, from_here))
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
    counted = len(re.findall(SAMPLE, statements))
    assert [len(re.findall(look, statements)) <= counted + 1 for look in LOOKS] == [True, True]
    news = kinds(statements)
    assert {kind: news[kind] for kind in news if kind not in before and news[kind] > counted + 1} == {}

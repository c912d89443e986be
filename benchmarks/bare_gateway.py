"""What a gateway written in an afternoon does: takes a body, inserts it in one statement, answers 200.

`python -m benchmarks.bare_gateway DSN`; it prints its URL. No signature is checked and nothing is routed.
"""

import asyncio
import sys

from aiohttp import web
from psycopg import AsyncConnection

TABLE = "create table if not exists public.bodies (id bigserial primary key, at timestamptz default now(), body bytea)"
INSERT = "insert into public.bodies (body) values (%s)"
CONNECTIONS = 8


async def main(dsn: str) -> None:
    """Runs until it is killed."""
    free: asyncio.Queue[AsyncConnection] = asyncio.Queue()
    for _ in range(CONNECTIONS):
        free.put_nowait(await AsyncConnection.connect(dsn, autocommit=True))
    connection = await free.get()
    await connection.execute(TABLE)
    free.put_nowait(connection)

    async def take(request: web.Request) -> web.Response:
        body = await request.read()
        connection = await free.get()
        await connection.execute(INSERT, (body,))
        free.put_nowait(connection)
        return web.Response()

    app = web.Application()
    app.add_routes([web.post("/webhooks/whatsapp", take)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert runner.addresses
    print(f"http://127.0.0.1:{runner.addresses[0][1]}/webhooks/whatsapp", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))

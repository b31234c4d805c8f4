"""The limit of a server: aiohttp and sqlite3, no checks and no users: `bare_server.py FILE`; tells its URL."""

from __future__ import annotations

import asyncio
import secrets
import sqlite3
import sys

import orjson
from aiohttp import web
from turns import memory, tell  # type: ignore[import-not-found] # beside this script, wherever it runs


def make_app(path: str) -> web.Application:
    """Make the application: create, get, and list a hundred."""
    database = sqlite3.connect(path, isolation_level=None)
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL"):
        database.execute(f"PRAGMA {pragma}")
    database.execute("CREATE TABLE runs (seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE, config TEXT)")

    async def create(request: web.Request) -> web.Response:
        config = orjson.dumps(orjson.loads(await request.read())["config"]).decode()
        id = secrets.token_hex(12)
        database.execute("INSERT INTO runs (id, config) VALUES (?, ?)", (id, config))
        return _answer({"id": id, "config": orjson.Fragment(config)}, 201)

    async def get(request: web.Request) -> web.Response:
        row = database.execute("SELECT id, config FROM runs WHERE id = ?", (request.match_info["id"],)).fetchone()
        return _answer({"id": row[0], "config": orjson.Fragment(row[1])})

    async def listed(_: web.Request) -> web.Response:
        rows = database.execute("SELECT id, config FROM runs ORDER BY seq DESC LIMIT 100").fetchall()
        return _answer({"items": [{"id": id, "config": orjson.Fragment(config)} for id, config in rows]})

    app = web.Application()
    app.add_routes([web.post("/runs", create), web.get("/runs", listed), web.get("/runs/{id}", get)])
    return app


def _answer(value: object, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(value), status=status, content_type="application/json")


async def main(path: str) -> None:
    """Serve until stdin ends; a line tells this process' memory."""
    runner = web.AppRunner(make_app(path), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    tell({"url": f"http://127.0.0.1:{runner.addresses[0][1]}"})
    while await asyncio.to_thread(sys.stdin.readline):
        tell(memory())
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))

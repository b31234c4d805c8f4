"""Many runs in a database at once, as no client could submit them, and a browser's way through the pages."""

from __future__ import annotations

import json
import random
import re
from typing import Any, Final
from urllib.parse import urlencode

import aiohttp
import attrs
from sqlalchemy import insert

from finetuner.api.names import memorable_name
from finetuner.server.store import experiments, users
from finetuner.server.store.database import Database
from finetuner.server.store.tables import RUN_TAGS, RUNS
from tests.server.serving import Answer, Client, run_body

STATUSES: Final = ("FINISHED", "FINISHED", "FINISHED", "FAILED")
HOSTILE: Final = (
    "<script>document.title='hacked'</script> \x1b[31mred \u202etxt.exe </textarea><img src=x onerror=alert(1)>"
)
"""What no page may take for anything but text."""
CONFIG: Final[dict[str, Any]] = {
    **run_body(callbacks=[{"name": "EvaluationCallback", "options": {"query_data": "questions", "limit": 20}}])[
        "config"
    ],
    "public": False,
}


async def insert_runs(database: Database, count: int, *, user: str = "local", seed: int = 0) -> list[dict[str, Any]]:
    """Insert ended runs, and give their rows, oldest first."""
    chance = random.Random(seed)  # noqa: S311 - a test's dice
    async with database.write() as tx:
        owner = await users.by_name(tx, user)
        assert owner is not None
        experiment_ids = [await experiments.ensure(tx, owner.id, name) for name in ("default", "night", "support")]
        first = int(
            await tx.scalar(RUNS.select().with_only_columns(RUNS.c.seq).order_by(RUNS.c.seq.desc()).limit(1)) or 0
        )
        rows = [_row(first + number + 1, owner.id, chance.choice(experiment_ids), chance) for number in range(count)]
        for start in range(0, count, 5000):
            some = rows[start : start + 5000]
            await tx.run(insert(RUNS), some)
            tags = [{"run_seq": row["seq"], "tag": tag} for row in some for tag in json.loads(row["tags"])]
            if tags:
                await tx.run(insert(RUN_TAGS), tags)
    return rows


def _row(seq: int, owner_id: int, experiment_id: int, chance: random.Random) -> dict[str, Any]:
    status = chance.choice(STATUSES)
    day, minute = 1 + seq % 28, seq % 60
    length_s = chance.randrange(1, 50)
    old = chance.random() / 2
    metrics = {"before": {"recall_at_1": old}, "after": {"recall_at_1": old + chance.random() / 2}}
    return {
        "seq": seq,
        "id": f"{seq:024x}",
        "owner_id": owner_id,
        "experiment_id": experiment_id,
        "name": f"{memorable_name(seq)}-{seq}",
        "status": status,
        "details": "" if status == "FINISHED" else "OutOfMemoryError: the batch did not fit",
        "failure": None,
        "task": "generation" if chance.random() < 0.1 else "training",
        "description": "",
        "tags": json.dumps(["nightly"] if chance.random() < 0.2 else []),
        "config": json.dumps(CONFIG),
        "artifact_id": f"{seq + 2**64:024x}",
        "artifact_sha256": None,
        "artifact_size": None,
        "progress": None,
        "metrics": json.dumps(metrics if status == "FINISHED" else {}),
        "examples": "{}",
        "device": "cpu",
        "cpus": 2,
        "gpus": 0,
        "public": False,
        "runtime": None,
        "created_at": f"2026-01-{day:02}T10:{minute:02}:00.000000Z",
        "started_at": f"2026-01-{day:02}T11:{minute:02}:00.000000Z",
        "finished_at": f"2026-01-{day:02}T11:{minute:02}:{length_s:02}.500000Z",
        "events_offset": 0,
        "cancel_requested": False,
        "deleting": False,
    }


@attrs.define(kw_only=True)
class Visitor:
    """A browser without scripts: cookies, links, forms and redirects."""

    client: Client
    session: aiohttp.ClientSession
    headers: dict[str, str] = attrs.field(factory=lambda: {"Accept": "text/html", "Sec-Fetch-Site": "same-origin"})

    async def get(self, path: str, **headers: str) -> Answer:
        """Ask for a page; a redirect is given as it is."""
        url = f"{self.client.url}{path}"
        async with self.session.get(url, headers={**self.headers, **headers}, allow_redirects=False) as response:
            return Answer(status=response.status, headers=response.headers, body=await response.read())

    async def post(self, path: str, fields: dict[str, str], **headers: str) -> Answer:
        """Send a form."""
        given = {**self.headers, "Content-Type": "application/x-www-form-urlencoded", **headers}
        url = f"{self.client.url}{path}"
        data = urlencode(fields)
        async with self.session.post(url, data=data, headers=given, allow_redirects=False) as response:
            return Answer(status=response.status, headers=response.headers, body=await response.read())

    async def log_in(self) -> Answer:
        """Log in with the client's token."""
        return await self.post("/console/login", {"token": self.client.token})

    async def form_key(self) -> str:
        """Give what this session's forms carry."""
        found = re.search(rb'name="form_key" value="([^"]+)"', (await self.get("/console/")).body)
        assert found is not None
        return found[1].decode()

"""A server that lists fine-tuning jobs as OpenAI's API does: `openai_stub.py COUNT`; tells its URL."""

from __future__ import annotations

import asyncio
import sys

import orjson
from aiohttp import web
from turns import tell  # type: ignore[import-not-found] # beside this script, wherever it runs

PAGE = 100


def _job(number: int) -> dict[str, object]:
    return {
        "object": "fine_tuning.job",
        "id": f"ftjob-{number:016x}",
        "model": "gpt-4o-mini-2024-07-18",
        "created_at": 1_760_000_000 + number,
        "finished_at": 1_760_000_900 + number,
        "fine_tuned_model": f"ft:gpt-4o-mini-2024-07-18:org::{number:08x}",
        "organization_id": "org-123",
        "result_files": [f"file-{number:016x}"],
        "status": "succeeded",
        "validation_file": None,
        "training_file": f"file-t{number:016x}",
        "hyperparameters": {"n_epochs": 4, "batch_size": 1, "learning_rate_multiplier": 1.0},
        "trained_tokens": 5768,
        "integrations": [],
        "seed": number,
        "estimated_finish": None,
        "error": {},
        "method": {
            "type": "supervised",
            "supervised": {"hyperparameters": {"n_epochs": 4, "batch_size": 1, "learning_rate_multiplier": 1.0}},
        },
        "metadata": {"tag": "nightly"},
    }


def pages(count: int) -> dict[str, bytes]:
    """Give the answers by what a request has as `after`."""
    jobs = [_job(number) for number in range(count, 0, -1)]
    return {
        "" if not start else str(jobs[start - 1]["id"]): orjson.dumps(
            {"object": "list", "data": jobs[start : start + PAGE], "has_more": start + PAGE < count}
        )
        for start in range(0, count, PAGE)
    }


async def main(count: int) -> None:
    """Serve until stdin ends."""
    answers = pages(count)

    async def jobs(request: web.Request) -> web.Response:
        return web.Response(body=answers[request.query.get("after", "")], content_type="application/json")

    app = web.Application()
    app.router.add_get("/v1/fine_tuning/jobs", jobs)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    tell({"url": f"http://127.0.0.1:{runner.addresses[0][1]}"})
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))

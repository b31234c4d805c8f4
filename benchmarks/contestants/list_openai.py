"""OpenAI's client lists fine-tuning jobs with its own pager: `list_openai.py URL`."""

from __future__ import annotations

import sys
from typing import Any

from openai import OpenAI  # type: ignore[import-not-found] # in its own environment
from turns import take_turns  # type: ignore[import-not-found] # beside this script, wherever it runs

client = OpenAI(base_url=f"{sys.argv[1]}/v1", api_key="none")


def work() -> dict[str, Any]:
    """List all jobs, a hundred a page."""
    found = list(client.fine_tuning.jobs.list(limit=100))
    return {"count": len(found), "different": len({job.id for job in found})}


if __name__ == "__main__":
    take_turns(work)

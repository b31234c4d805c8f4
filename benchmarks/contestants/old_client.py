"""What contestants of the old client share: it, without its hub, on this project's server, whose wire it knows."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

os.environ["JINA_FINETUNER_REGISTRY"] = os.environ["FINETUNER_HOST"]
os.environ["JINA_AUTH_TOKEN"] = os.environ["FINETUNER_TOKEN"]


def old_client() -> Any:
    """Make its client; the hub that knew its users is gone, and is not asked."""
    # By name: in this project's own environment its modules are others.
    base: Any = import_module("finetuner.client.base")._BaseClient  # noqa: SLF001 - the hub's part of it
    base._get_hubble_user_id = lambda _: "nobody"  # noqa: SLF001
    client = import_module("finetuner.client").FinetunerV1Client()
    client._session.headers["Authorization"] = f"token {os.environ['FINETUNER_TOKEN']}"  # noqa: SLF001
    return client


def experiments(client: Any) -> list[Any]:
    """Give all experiments."""
    kind = import_module("finetuner.experiment").Experiment
    return [
        kind(client=client, name=one["name"], status="ACTIVE", created_at=one["created_at"], description="")
        for one in client.list_experiments()["items"]
    ]

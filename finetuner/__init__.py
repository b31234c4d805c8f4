"""Fine-tune embedding models as runs: an async-first SDK, its sync twin, and the service itself.

Public names are loaded when first used: `import finetuner` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # the import of `typing` would double what this module costs
if TYPE_CHECKING:
    from typing import Any, Final

_SYNC: Final = (
    "Client Completed Experiment LogStream ManyLogs Run RunIterator Watch as_completed build_model cancel_runs close "
    "console_url count_runs create_experiment create_run create_synthesis_run create_training_run delete_dataset "
    "delete_experiment delete_experiments delete_run delete_runs describe_models encode fit get_artifact get_dataset "
    "get_experiment get_model get_run get_run_by_id get_token iter_runs list_callbacks list_datasets "
    "list_experiments list_model_options list_models list_runs login rerun stream_logs synthesize tag_runs "
    "upload_dataset wait_all watch"
).split()
_MODULES: Final = "aio api callback cli data errors experiment local model portal run sync".split()
_PLACES: Final = {
    **dict.fromkeys(_SYNC, "finetuner.sync"),
    "AsyncClient": "finetuner.aio.client",
    "AsyncCompleted": "finetuner.aio.completed",
    "AsyncExperiment": "finetuner.aio.experiment",
    "AsyncLogStream": "finetuner.aio.logstream",
    "AsyncManyLogs": "finetuner.aio.manylogs",
    "AsyncRun": "finetuner.aio.run",
    "AsyncRunIterator": "finetuner.aio.listing",
    "AsyncWatch": "finetuner.aio.watch",
    "ArtifactFile": "finetuner.api.types",
    "ArtifactInfo": "finetuner.api.types",
    "CSVOptions": "finetuner.data",
    "EmbeddingModel": "finetuner.model",
    "Change": "finetuner.api.types",
    "DatasetInfo": "finetuner.api.types",
    "Failure": "finetuner.errors",
    "LogLine": "finetuner.api.types",
    "Plan": "finetuner.api.plan",
    "FinetunerError": "finetuner.errors",
    "RunList": "finetuner.aio.notebook",
    "RunFilter": "finetuner.api.selecting",
    "RunInfo": "finetuner.api.types",
    "RunStatus": "finetuner.api.types",
    "cos_sim": "finetuner.model",
}
_IMPORTABLE: Final = [*_PLACES, *_MODULES]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        value: Any = import_module("finetuner.api.embedded").package_version()
    elif name in _PLACES:
        value = getattr(import_module(_PLACES[name]), name)
    elif name in _MODULES:
        value = import_module(f"finetuner.{name}")
    else:
        raise AttributeError(f"module 'finetuner' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*_IMPORTABLE, "__version__", "__doc__", "__file__", "__name__", "__path__"})

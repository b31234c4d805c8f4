"""Whether a submission can be run: every refused field is named with its path, before anything is created."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import attrs

from finetuner.api.checks import caught, config_errors, refusal
from finetuner.api.config import RunRequest, TrainingConfig
from finetuner.api.convert import read, write
from finetuner.api.names import check_name
from finetuner.api.types import Task
from finetuner.callback import CALLBACKS, from_wire
from finetuner.errors import FieldError

MAX_TAGS: Final = 64
MAX_TAG_CHARS: Final = 128
MAX_DESCRIPTION_CHARS: Final = 10_000
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_STEERING: Final = re.compile(
    r"(LD|DYLD|PYTHON|GIT|BASH|XDG|CUDA|NVIDIA|NCCL|OMP|GOMP|KMP|MKL|OPENBLAS|SSL|CURL|REQUESTS|LC|MALLOC|GLIBC)\w*"
    r"|(TORCH|PYTORCH|TORCHINDUCTOR|TRITON|TRANSFORMERS|SENTENCE_TRANSFORMERS)_\w*"
    r"|HF_(?!TOKEN$)\w*|HUGGINGFACE_HUB_CACHE|PATH|HOME|USER|LOGNAME|SHELL|TMPDIR|TEMP|TMP|ENV|IFS|PS4|CDPATH|LANG\w*"
    r"|GCONV_PATH|HOSTALIASES|LOCALDOMAIN|RES_OPTIONS|LOCPATH|NLSPATH|VIRTUAL_ENV|\w*_PROXY|CC|CXX|CFLAGS|LDFLAGS"
)
"""Names by which a user of a shared server could have its interpreter, linker or libraries load something else."""


@attrs.frozen(kw_only=True)
class Checked:
    """A submission that can be run, if its data sets and its artifact exist."""

    config: dict[str, Any]
    """As JSON has it, the defaults filled in."""
    data: dict[str, str]
    """Each path of the config that names a data set, and that name."""
    artifact_id: str | None
    """The artifact to go on from."""


def check(request: RunRequest, *, is_embedded: bool) -> Checked:
    """Check a submission.

    Args:
        request: Its body.
        is_embedded: The server is its caller's own, and may be told the caller's interpreter.

    Raises:
        InvalidInput: `.errors` has each refused field.
    """
    errors = list(_request_errors(request, is_embedded=is_embedded))
    if errors:
        raise refusal(errors)
    config = read(request.config, TrainingConfig, root="$.config")
    errors = [*config_errors(config), *_callback_errors(config)]
    if errors:
        raise refusal(errors)
    return Checked(config=write(config), data=_data_names(config), artifact_id=config.model.artifact)


def _request_errors(request: RunRequest, *, is_embedded: bool) -> Iterator[FieldError]:
    if request.task is not Task.TRAINING:
        yield FieldError(path="$.task", message=f"{request.task.value!r} is not offered by this server; 'training' is")
    if request.name is not None:
        yield from caught("$.name", check_name, request.name)
    if request.runtime is not None and not is_embedded:
        yield FieldError(path="$.runtime", message="only the embedded server runs jobs with its caller's interpreter")
    if len(request.description) > MAX_DESCRIPTION_CHARS:
        yield FieldError(path="$.description", message=f"must have at most {MAX_DESCRIPTION_CHARS} characters")
    if len(request.tags) > MAX_TAGS:
        yield FieldError(path="$.tags", message=f"must be at most {MAX_TAGS}")
    for index, tag in enumerate(request.tags):
        if not 1 <= len(tag) <= MAX_TAG_CHARS or not tag.isprintable():
            yield FieldError(path=f"$.tags[{index}]", message=f"must have 1 to {MAX_TAG_CHARS} printable characters")
    yield from _secret_errors(request.secrets, is_embedded=is_embedded)


def _secret_errors(secrets: Mapping[str, str], *, is_embedded: bool) -> Iterator[FieldError]:
    for name, value in secrets.items():
        if not _VARIABLE.fullmatch(name) or name.startswith("FINETUNER_"):
            yield FieldError(path=f"$.secrets.{name}", message="is no name that an environment variable here can have")
        elif not is_embedded and _STEERING.fullmatch(name.upper()):
            message = "steers how programs of the server's machine run: a shared server takes it from nobody"
            yield FieldError(path=f"$.secrets.{name}", message=message)
        elif "\0" in value:
            yield FieldError(path=f"$.secrets.{name}", message="holds a NUL character")


def _callback_errors(config: TrainingConfig) -> Iterator[FieldError]:
    for index, callback in enumerate(config.callbacks):
        path = f"$.config.callbacks[{index}]"
        yield from caught(path, from_wire, callback.name, callback.options)
        for field in _data_fields(callback.name):
            value = callback.options.get(field)
            if value is not None and not isinstance(value, str):
                yield FieldError(path=f"{path}.options.{field}", message="must be the name of a data set")


def _data_fields(callback: str) -> tuple[str, ...]:
    kind = CALLBACKS.get(callback)
    return () if kind is None else kind.data_fields


def _data_names(config: TrainingConfig) -> dict[str, str]:
    named: dict[str, str | None] = {
        "$.config.data.train_data": config.data.train_data,
        "$.config.data.eval_data": config.data.eval_data,
    }
    for index, callback in enumerate(config.callbacks):
        for field in _data_fields(callback.name):
            named[f"$.config.callbacks[{index}].options.{field}"] = callback.options.get(field)
    return {path: name for path, name in named.items() if name is not None}

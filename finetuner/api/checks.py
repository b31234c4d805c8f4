"""Whether a training run's config can be carried out: decided here for the client, the server and the worker alike."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from finetuner.api import catalog
from finetuner.api.callbacks import monitor_errors, together_errors
from finetuner.api.config import HyperParameters, ModelConfig, RunRequest, RunUpdate, TrainingConfig
from finetuner.api.models import resolve
from finetuner.api.names import check_name, is_id
from finetuner.api.optimizers import optimizer_errors
from finetuner.errors import FieldError, InvalidInput, ModelNotSupported

_CHOICES: Final[tuple[tuple[catalog.Kind, str], ...]] = (
    ("loss", "loss"),
    ("miner", "miner"),
    ("optimizer", "optimizer"),
    ("optimizer", "loss_optimizer"),
    ("scheduler", "scheduler"),
)
_KINDS: Final[Mapping[str, str]] = {
    "pairs": "pairs",
    "triplets": "triplets",
    "labelled": "labelled texts (CSVOptions(is_labeled=True))",
    "texts": "a single column of texts",
    "scored": "scored pairs (two texts and a number)",
    "margins": "margins (query, positive, negative and a number)",
}
_WITH_RATE: Final = {"loss_optimizer"}
"""Fields whose options may have `lr` too: there is one `learning_rate`, and it is the model's."""
_WITH_FLOOR: Final = {"cosine_with_min_lr", "cosine_warmup_with_min_lr"}
_MODEL_OPTIONS: Final = ("max_seq_length",)
_MAX_TAGS: Final = 64
_MAX_TAG_CHARS: Final = 128
_MAX_DESCRIPTION_CHARS: Final = 10_000
_KEY: Final = re.compile(r"[!-~]([ -~]{0,253}[!-~])?")
"""What goes through a header unchanged."""
_MAX_SECRET_BYTES: Final = 64 * 1024
"""A system starts no process with a variable of 128 KiB or more."""
_MAX_SECRETS_BYTES: Final = 256 * 1024
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_STEERING: Final = re.compile(
    r"(LD|DYLD|GIT|XDG|CUDA|NVIDIA|CUDNN|CUBLAS|NCCL|OMP|GOMP|KMP|MKL|OPENBLAS|SSL|OPENSSL|CURL|REQUESTS|LC|MALLOC"
    r"|GLIBC|TORCH|PYTORCH|TORCHINDUCTOR|TRITON|TRANSFORMERS|SENTENCE_TRANSFORMERS|NUMBA|HUGGINGFACE_HUB)_\w*"
    r"|(PYTHON|BASH)\w*|HF_(?!TOKEN\Z)\w*|_?WANDB_(?!(API_KEY|BASE_URL|MODE|PROJECT|ENTITY|TAGS|NOTES)\Z)\w*|PATH|HOME|USER|LOGNAME|SHELL|TMPDIR|TEMP|TMP|ENV|IFS|PS4|CDPATH|LANG\w*"
    r"|GCONV_PATH|HOSTALIASES|LOCALDOMAIN|RES_OPTIONS|LOCPATH|NLSPATH|VIRTUAL_ENV|\w*_PROXY|CC|CXX|CFLAGS|LDFLAGS"
)
"""Names by which a user of a shared server could have its interpreter, linker or libraries load something else."""


def check_config(config: TrainingConfig) -> None:
    """Refuse a config that the worker cannot carry out.

    Raises:
        ModelNotSupported: The model is one of the old table that cannot be trained.
        InvalidInput: A name or an option is unknown, or not offered; `.errors` has each field.
    """
    if config.model.artifact is None and config.model.name is not None:
        _refuse_unsupported(config.model.name)
    errors = list(config_errors(config))
    if errors:
        raise refusal(errors)


def refusal(errors: Sequence[FieldError]) -> InvalidInput:
    """Make one exception of all refused fields."""
    return InvalidInput("; ".join(f"{one.path}: {one.message}" for one in errors[:5]), errors=errors)


def caught(path: str, function: Callable[..., object], *args: object) -> Iterator[FieldError]:
    """Give what a check refuses as the error of a field."""
    try:
        function(*args)
    except InvalidInput as error:
        yield FieldError(path=path, message=str(error))


def config_errors(config: TrainingConfig) -> Iterator[FieldError]:
    """Give each field of a config that the worker could not carry out, with its path; callbacks' options aside."""
    yield from _model_errors(config.model)
    yield from together_errors(config)
    yield from monitor_errors(config)
    hyper = config.hyper_parameters
    for kind, field in _CHOICES:
        yield from _choice_errors(kind, field, getattr(hyper, field), getattr(hyper, f"{field}_options"))
    for field in ("optimizer", "loss_optimizer"):
        if getattr(hyper, field) is not None:
            yield from optimizer_errors(field, getattr(hyper, field), getattr(hyper, f"{field}_options"))
    yield from _loss_errors(hyper)
    yield from _scheduler_errors(hyper.scheduler, hyper.scheduler_options)


def check_data_kind(field: str, kind: str, loss: str = "") -> None:
    """Refuse a kind of data set that a field cannot have.

    Args:
        field: What names the data set: `train_data`, a synthesis run's `query_data` or `corpus_data`, or the path of
            a callback's, such as `callbacks[0].query_data`.
        kind: `pairs`, `triplets`, `labelled`, `texts`, ...
        loss: What is trained with it, in a training run.

    Raises:
        InvalidInput: The worker could do nothing with it.
    """
    name = field.rpartition(".")[2]
    if name in {"train_data", "eval_data"}:
        check_training_kind(kind, loss)
    elif "callbacks[" in field:
        check_evaluation_kind(name, kind)
    else:
        check_synthesis_kind(name, kind)


def check_training_kind(kind: str, loss: str) -> None:
    """Refuse a kind of data set that a loss does not train on.

    Raises:
        InvalidInput: It is another; the message says what the loss takes, and which losses take such data.
    """
    wanted = catalog.find("loss", loss).data
    if kind in wanted:
        return
    others = [one.name for one in catalog.entries("loss").values() if kind in one.data]
    hint = f" {kind} is for {', '.join(others[:3])}{'...' if others[3:] else ''}." if others else ""
    raise InvalidInput(f"{loss} cannot be trained on {_KINDS[kind]}; it takes {_either(wanted)}.{hint}")


def _either(kinds: Sequence[str]) -> str:
    *first, last = [_KINDS[kind] for kind in kinds]
    return f"{', '.join(first)} or {last}" if first else last


def check_eval_kind(kind: str, train_kind: str) -> None:
    """Refuse validation data that is of another kind than the training data: no loss compares the two.

    Raises:
        InvalidInput: It is.
    """
    if kind != train_kind:
        raise InvalidInput(f"eval_data is {kind}, and train_data is {train_kind}: the two must be of the same kind")


def check_evaluation_kind(field: str, kind: str) -> None:
    """Refuse a kind of data set that an EvaluationCallback cannot use.

    Raises:
        InvalidInput: It has not two columns.
    """
    if kind not in {"pairs", "labelled"}:
        raise InvalidInput(f"{field} must have two columns, a text and its label; it is {kind}")


def check_synthesis_kind(field: str, kind: str) -> None:
    """Refuse a kind of data set that nothing can be synthesized from.

    Raises:
        InvalidInput: The queries are neither texts nor pairs, or the corpus is no texts.
    """
    if field == "query_data" and kind not in {"texts", "pairs"}:
        raise InvalidInput(
            f"query_data must have one column, queries, or two, each query with a text that answers it; it is {kind}"
        )
    if field == "corpus_data" and kind != "texts":
        raise InvalidInput(f"corpus_data must have one column, the texts to search; it is {kind}")


def request_errors(request: RunRequest, *, is_embedded: bool) -> Iterator[FieldError]:
    """Give each field of a submission, its config aside, that a server would refuse.

    Args:
        request: The submission.
        is_embedded: The server is its caller's own: it takes a runtime, and any variable.
    """
    if request.name is not None:
        yield from caught("$.name", check_name, request.name)
    if request.runtime is not None and not is_embedded:
        yield FieldError(path="$.runtime", message="only the embedded server runs jobs with its caller's interpreter")
    yield from _description_errors(request.description)
    yield from tag_errors("$.tags", request.tags)
    yield from _secret_errors(request.secrets, is_embedded=is_embedded)


def update_errors(update: RunUpdate) -> Iterator[FieldError]:
    """Give each field of an update of a run that a server would refuse."""
    yield from _description_errors(update.description or "")
    for field, tags in (
        ("tags", update.tags or []),
        ("add_tags", update.add_tags),
        ("remove_tags", update.remove_tags),
    ):
        yield from tag_errors(f"$.{field}", tags)
    if both := set(update.add_tags) & set(update.remove_tags):
        yield FieldError(path="$.remove_tags", message=f"has {min(both)!r}, which add_tags has too")


def tag_errors(path: str, tags: Sequence[str]) -> Iterator[FieldError]:
    """Give each tag that a run cannot have, and that there are too many."""
    if len(tags) > _MAX_TAGS:
        yield FieldError(path=path, message=f"must be at most {_MAX_TAGS}")
    for index, tag in enumerate(tags):
        if not 1 <= len(tag) <= _MAX_TAG_CHARS or not tag.isprintable():
            yield FieldError(path=f"{path}[{index}]", message=f"must have 1 to {_MAX_TAG_CHARS} printable characters")


def _description_errors(description: str) -> Iterator[FieldError]:
    if len(description) > _MAX_DESCRIPTION_CHARS:
        yield FieldError(path="$.description", message=f"must have at most {_MAX_DESCRIPTION_CHARS} characters")


def check_key(key: object) -> None:
    """Refuse an idempotency key that no header carries unchanged.

    Raises:
        InvalidInput: It is no text, empty, too long, or holds more than printable ASCII.
    """
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        raise InvalidInput("must have 1 to 255 printable ASCII characters, and no space around them")


def _secret_errors(secrets: Mapping[str, str], *, is_embedded: bool) -> Iterator[FieldError]:
    for name, value in secrets.items():
        if not _VARIABLE.fullmatch(name) or name.startswith("FINETUNER_"):
            yield FieldError(path=f"$.secrets.{name}", message="is no name that an environment variable here can have")
        elif not is_embedded and _STEERING.fullmatch(name.upper()):
            message = "steers how programs of the server's machine run: a shared server takes it from nobody"
            yield FieldError(path=f"$.secrets.{name}", message=message)
        elif "\0" in value:
            yield FieldError(path=f"$.secrets.{name}", message="holds a NUL character")
        elif _size_bytes(value) > _MAX_SECRET_BYTES:
            yield FieldError(path=f"$.secrets.{name}", message=f"has more than {_MAX_SECRET_BYTES} bytes")
    if sum(map(_size_bytes, secrets.values())) > _MAX_SECRETS_BYTES:
        yield FieldError(path="$.secrets", message=f"have more than {_MAX_SECRETS_BYTES} bytes together")


def _size_bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def _refuse_unsupported(name: str) -> None:
    try:
        resolve(name)
    except ModelNotSupported:
        raise
    except InvalidInput:
        return


def _model_errors(model: ModelConfig) -> Iterator[FieldError]:
    if model.name is None and model.artifact is None:
        yield FieldError(path="$.config.model", message="needs a name, or an artifact to go on from")
    if model.artifact is not None and not is_id(model.artifact):
        message = f"must be a run's artifact_id (24 hexadecimal digits), not {model.artifact[:80]!r}"
        yield FieldError(path="$.config.model.artifact", message=message)
    if model.name is not None:
        yield from caught("$.config.model.name", resolve, model.name)
    for name, value in model.options.items():
        path = f"$.config.model.options.{name}"
        if name not in _MODEL_OPTIONS:
            known = ", ".join(map(repr, _MODEL_OPTIONS))
            yield FieldError(path=path, message=f"there is no model option {name!r}; there is: {known}")
        elif not isinstance(value, int) or isinstance(value, bool) or value < 2:
            yield FieldError(path=path, message=f"must be a whole number of at least 2, not {value!r}")


def _choice_errors(
    kind: catalog.Kind, field: str, name: str | None, options: Mapping[str, Any]
) -> Iterator[FieldError]:
    path = f"$.config.hyper_parameters.{field}"
    if name is not None:
        yield from caught(path, catalog.check, kind, name, _without_rate(options) if field in _WITH_RATE else options)
    elif options:
        yield FieldError(path=f"{path}_options", message=f"are given without a {field}")


def _without_rate(options: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in options.items() if key != "lr"}


def _loss_errors(hyper: HyperParameters) -> Iterator[FieldError]:
    """Give what does not go together with a loss that is known."""
    entry = catalog.entries("loss").get(hyper.loss)
    if entry is None:
        return
    if hyper.miner is not None and not entry.takes_miner:
        message = f"{hyper.loss} takes all of a batch as it is; leave the miner out"
        yield FieldError(path="$.config.hyper_parameters.miner", message=message)
    path = "$.config.hyper_parameters.loss_optimizer"
    if hyper.loss_optimizer is not None and not has_weights(entry, hyper.loss_options):
        yield FieldError(path=path, message=f"{hyper.loss} has no weights of its own; leave the loss_optimizer out")
    rate = hyper.loss_optimizer_options.get("lr", 1.0)
    if isinstance(rate, bool) or not isinstance(rate, int | float) or rate <= 0:
        yield FieldError(path=f"{path}_options.lr", message=f"must be a number greater than 0, not {rate!r}")


def has_weights(loss: catalog.Entry, options: Mapping[str, Any]) -> bool:
    """Whether a loss is trained itself, along with the model."""
    return bool(loss.given) or options.get("learn_beta") is True


def _scheduler_errors(name: str | None, options: Mapping[str, Any]) -> Iterator[FieldError]:
    """Give what an option of a scheduler cannot be, where its type is right."""
    path = "$.config.hyper_parameters.scheduler_options"
    for key, value in options.items():
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if is_number and key.endswith(("_steps", "_ratio", "_rate")) and value < 0:
            yield FieldError(path=f"{path}.{key}", message=f"must be at least 0, not {value}")
        elif is_number and key == "warmup_ratio" and value > 1:
            yield FieldError(path=f"{path}.{key}", message=f"is a share of the steps, from 0 to 1, not {value}")
    for one, other in (("num_warmup_steps", "warmup_ratio"), ("min_lr", "min_lr_rate")):
        if options.get(one) is not None and options.get(other) is not None:
            yield FieldError(path=f"{path}.{other}", message=f"says the same as {one}; give one of them")
    if name in _WITH_FLOOR and options.get("min_lr") is None and options.get("min_lr_rate") is None:
        yield FieldError(path=path, message=f"the scheduler {name!r} needs the option 'min_lr' or 'min_lr_rate'")

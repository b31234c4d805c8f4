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
import transformers.optimization
from sentence_transformers.sentence_transformer import losses as sentence_losses
from torch.optim.lr_scheduler import ReduceLROnPlateau
from transformers.optimization import TYPE_TO_SCHEDULER_FUNCTION, GreedyLR

TARGET = Path(__file__).parents[1] / "finetuner" / "api" / "catalog.json"

METRIC_LOSSES = (
    "AngularLoss ArcFaceLoss CircleLoss ContrastiveLoss CosFaceLoss DynamicSoftMarginLoss FastAPLoss "
    "GeneralizedLiftedStructureLoss HistogramLoss InstanceLoss IntraPairVarianceLoss LargeMarginSoftmaxLoss "
    "LiftedStructureLoss ManifoldLoss MarginLoss MultiSimilarityLoss NCALoss NPairsLoss NTXentLoss "
    "NormalizedSoftmaxLoss P2SGradLoss PNPLoss ProxyAnchorLoss ProxyNCALoss RankedListLoss "
    "SignalToNoiseRatioContrastiveLoss SmoothAPLoss SoftTripleLoss SphereFaceLoss SubCenterArcFaceLoss SupConLoss "
    "ThresholdConsistentMarginLoss TripletMarginLoss TupletMarginLoss VICRegLoss"
).split()
SENTENCE_LOSSES = {
    "MultipleNegativesRankingLoss": ("scale", "hardness_mode", "hardness_strength"),
    "MarginMSELoss": (),
    "CosineSimilarityLoss": (),
}
MINERS = (
    "AngularMiner BatchEasyHardMiner BatchHardMiner DistanceWeightedMiner HDCMiner MultiSimilarityMiner "
    "PairMarginMiner TripletMarginMiner UniformHistogramMiner"
).split()
OPTIMIZERS = "Adam AdamW SGD RMSprop Adagrad Adadelta Adamax NAdam RAdam Rprop ASGD Adafactor".split()
SCHEDULERS = {
    "greedy": GreedyLR.__init__,
    "reduce_lr_on_plateau": ReduceLROnPlateau.__init__,
}
"""What makes a scheduler, where the library's own function takes anything."""
CALLBACKS = {
    "BestModelCheckpoint",
    "EarlyStopping",
    "EvaluationCallback",
    "TrainingCheckpoint",
    "WandBLogger",
    "WiSEFTCallback",
}
"""Those that the job carries out."""

NOT_OFFERED: dict[str, dict[str, str]] = {
    "loss": {
        "BaseMetricLossFunction": "it is what other losses are made from",
        "CrossBatchMemory": "it wraps another loss, and a run has one",
        "GenericPairLoss": "it is what other losses are made from",
        "MultipleLosses": "it wraps other losses, and a run has one",
        "SelfSupervisedLoss": "it wraps another loss, and a run has one; give pairs to that loss instead",
    },
    "miner": {
        "BaseMiner": "it is what other miners are made from",
        "EmbeddingsAlreadyPackagedAsTriplets": "no batch is made of triplets in a row; give triplets as data",
    },
    "optimizer": {
        "LBFGS": "it computes the loss of a batch again several times a step",
        "Muon": "it moves matrices alone, and a model has biases and norms too",
        "SparseAdam": "it takes sparse gradients, and those of a model are dense",
    },
    "scheduler": {},
}
"""Known by their names in the libraries, with the reason why a run cannot have them."""

TEXT_KINDS = ("pairs", "triplets", "labelled")
DATA = {"CosineSimilarityLoss": ("scored",), "MarginMSELoss": ("margins",), "VICRegLoss": ("pairs", "labelled")}
"""Kinds of data set that a loss trains on, where they are not `TEXT_KINDS`."""
WITHOUT_MINER = {"InstanceLoss", "ManifoldLoss", "P2SGradLoss", "PNPLoss", "RankedListLoss", "VICRegLoss"}
"""Losses of pytorch-metric-learning that use all pairs of a batch, whatever a miner would find."""
GIVEN = ("num_classes", "embedding_size", "descriptors_dim", "l")
"""What the job tells a loss by itself, from data and model: its weights have that shape."""
LEFT_OUT = {
    "self",
    "optimizer",
    "params",
    "lr",
    "last_epoch",
    "num_training_steps",
    "mode",
    "verbose",
    "model",
    "similarity_fct",
    "foreach",
    "fused",
    "capturable",
    "differentiable",
    "maximize",
}
"""What the job tells by itself, and what changes how a result is computed and not the result."""

WHOLE_NUMBERS = {
    "K",
    "n_bins",
    "num_bins",
    "pos_per_bin",
    "neg_per_bin",
    "centers_per_class",
    "sub_centers",
    "num_warmup_steps",
    "num_decay_steps",
    "num_stable_steps",
    "timescale",
    "patience",
    "cooldown",
    "warmup",
    "window_size",
    "reset_start",
    "LargeMarginSoftmaxLoss.margin",
    "SphereFaceLoss.margin",
    "cosine_with_restarts.num_cycles",
}
FREE = {"triplets_per_anchor"}
"""Options that take values of several types."""
STRATEGIES = ["hard", "semihard", "easy", "all"]
CHOICES: dict[str, list[str]] = {
    "hardness_mode": ["in_batch_negatives", "hard_negatives", "all_negatives"],
    "similarity": ["dot", "cosine"],
    "variant": ["Ds", "Dq", "Iu", "Ib", "O"],
    "type_of_triplets": STRATEGIES,
    "pos_strategy": STRATEGIES,
    "neg_strategy": STRATEGIES,
    "warmup_type": ["linear", "cosine", "1-sqrt"],
    "decay_type": ["linear", "cosine", "1-sqrt"],
    "threshold_mode": ["rel", "abs"],
    "scheduler_step": ["batch", "epoch"],
}
"""The values that a text may have."""
DEFAULTS: dict[str, Any] = {
    "greedy.min_lr": 0.0,
    "num_warmup_steps": 0,
    "ManifoldLoss.K": None,
    "ManifoldLoss.margin": 0.1,
}
"""Our own where the library has none, or one that does not fit: a learning rate above any of a fine-tuning; more
proxies than classes; a margin at which ManifoldLoss was seen to push classes together.
"""
OWN_OPTIONS: dict[str, dict[str, Any]] = {
    "MarginMSELoss": {"similarity": "dot", "scale": 1.0},
}
"""Options that the job carries out by itself."""


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
    names = ("pytorch-metric-learning", "sentence-transformers", "torch", "transformers")
    return {name: version(name).split("+")[0] for name in names}


def entries() -> dict[str, dict[str, Any]]:
    """Give all entries by kind and name."""
    metric, miners = pytorch_metric_learning.losses, pytorch_metric_learning.miners
    losses = {name: loss(metric, name) for name in METRIC_LOSSES}
    losses |= {name: loss(sentence_losses, name, only=only) for name, only in SENTENCE_LOSSES.items()}
    offered = {
        "loss": losses,
        "miner": {name: entry(miners, name) for name in MINERS},
        "optimizer": {name: entry(torch.optim, name) for name in OPTIMIZERS},
        "scheduler": {kind.value: scheduler(kind.value) for kind in TYPE_TO_SCHEDULER_FUNCTION},
    }
    modules = {"loss": metric, "miner": miners, "optimizer": torch.optim}
    refused = {
        kind: {name: {"source": f"{modules[kind].__name__}:{name}", "reason": reason} for name, reason in named.items()}
        for kind, named in NOT_OFFERED.items()
    }
    made = {kind: dict(sorted({**offered[kind], **refused[kind]}.items())) for kind in offered}
    return {**made, "callback": callbacks()}


def entry(module: Any, name: str, *, only: tuple[str, ...] | None = None) -> dict[str, Any]:
    """Describe a class by the signature of what makes it."""
    options = [option for option in signature(name, getattr(module, name)) if only is None or option["name"] in only]
    own = [described(name, key, default) for key, default in OWN_OPTIONS.get(name, {}).items()]
    return {"source": f"{module.__name__}:{name}", "options": options + own}


def loss(module: Any, name: str, *, only: tuple[str, ...] | None = None) -> dict[str, Any]:
    """Describe a loss: also what data it trains on, whether a miner helps it, and what the job tells it."""
    made = entry(module, name, only=only)
    is_metric = module is pytorch_metric_learning.losses
    given = [one for one in GIVEN if is_metric and one in required(getattr(module, name))]
    facts = {
        "data": list(DATA.get(name, TEXT_KINDS)),
        "takes_miner": is_metric and name not in WITHOUT_MINER,
        "given": given,
    }
    return {**made, "options": [one for one in made["options"] if one["name"] not in GIVEN], **facts}


def scheduler(name: str) -> dict[str, Any]:
    """Describe a scheduler: what its function takes, and what the job adds to that."""
    function = TYPE_TO_SCHEDULER_FUNCTION[transformers.SchedulerType(name)]
    options = signature(name, SCHEDULERS.get(name, function))
    if any(option["name"] == "num_warmup_steps" for option in options):
        options.append(described(name, "warmup_ratio", None))
    options.append(described(name, "scheduler_step", "epoch" if name in SCHEDULERS else "batch"))
    return {"source": f"transformers.optimization:{function.__name__}", "options": options}


def required(kind: type) -> set[str]:
    """Give what must be told to make a class, the bases to which it hands its arguments on included."""
    found: set[str] = set()
    for base in kind.__mro__:
        parameters = inspect.signature(base.__init__).parameters.values()  # type: ignore[misc] # of a class, not of an object
        found |= {one.name for one in parameters if one.default is inspect.Parameter.empty}
        if not any(one.kind is inspect.Parameter.VAR_POSITIONAL for one in parameters):
            return found
    return found


def signature(name: str, function: Any) -> list[dict[str, Any]]:
    """Describe the options that a class or a function takes."""
    kinds = {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}
    return [
        described(name, parameter.name, parameter.default)
        for parameter in inspect.signature(function).parameters.values()
        if parameter.kind in kinds and parameter.name not in LEFT_OUT
    ]


def described(owner: str, name: str, default: Any) -> dict[str, Any]:
    """Describe one option."""
    default = DEFAULTS.get(f"{owner}.{name}", DEFAULTS.get(name, default))
    is_required = default is inspect.Parameter.empty
    shown = None if is_required else list(default) if isinstance(default, tuple) else default
    choices = CHOICES.get(name)
    return {
        "name": name,
        "type": type_name(owner, name, shown),
        "default": shown,
        "is_required": is_required,
        **({"choices": choices} if choices else {}),
    }


def type_name(owner: str, name: str, default: Any) -> str:
    """Give the word for an option's type; a whole number as default does not mean that only those are taken."""
    if name in FREE:
        return "any"
    if name in WHOLE_NUMBERS or f"{owner}.{name}" in WHOLE_NUMBERS:
        return "int"
    if isinstance(default, bool):
        return "bool"
    if isinstance(default, str) or name in CHOICES:
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
            "reason": "" if name in CALLBACKS else "no job of this version carries it out",
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

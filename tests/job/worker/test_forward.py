from __future__ import annotations

from pathlib import Path

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer

from finetuner.job.worker.forward import embed
from tests.models_support import FILLERS


def test_vectors_are_the_same_as_with_all_the_padding(tiny_model: Path) -> None:
    model = SentenceTransformer(str(tiny_model), device="cpu").eval()

    @given(st.lists(st.lists(st.sampled_from(FILLERS), max_size=12), min_size=1, max_size=12))
    @settings(max_examples=40, deadline=None)
    def check(texts: list[list[str]]) -> None:
        features = model.preprocess([" ".join(words) for words in texts])
        with torch.no_grad():
            padded = model(dict(features))["sentence_embedding"]
            torch.testing.assert_close(embed(model, features), padded, atol=1e-5, rtol=1e-4)

    check()


def test_short_rows_are_not_padded_to_the_longest(tiny_model: Path) -> None:
    model = SentenceTransformer(str(tiny_model), device="cpu").eval()
    widths: list[int] = []
    model[0].register_forward_pre_hook(lambda _, given: widths.append(given[0]["input_ids"].shape[1]))
    embed(model, model.preprocess(["dog", "the dog", "a cat", "the small old dog and the big new cat"]))
    assert len(widths) == 4
    assert sorted(set(widths))[:2] == [3, 4]


def test_padding_on_the_left_is_left_alone(tiny_model: Path) -> None:
    model = SentenceTransformer(str(tiny_model), device="cpu").eval()
    model.tokenizer.padding_side = "left"
    features = model.preprocess(["dog", "the small old dog"])
    with torch.no_grad():
        expected = model(dict(features))["sentence_embedding"]
        torch.testing.assert_close(embed(model, features), expected)

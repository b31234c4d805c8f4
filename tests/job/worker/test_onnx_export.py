"""The model in ONNX: what a job leaves, what is compared, and what is refused."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from finetuner.errors import InvalidInput, MissingExtra, NotFound
from finetuner.job.worker import onnx_export
from finetuner.job.worker.onnx_export import OnnxExportError, check_packages, export_onnx
from finetuner.model import encode, load_model, unpack
from tests.models_support import ROOT, WorkerRun, labelled_rows, run_worker, write_spec

pytestmark = pytest.mark.xdist_group("onnx")
TEXTS = ["the dog", "A song!  today", "", "bread " * 40, "some snow near a horse"]


@pytest.fixture(scope="module")
def done(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> WorkerRun:
    run_dir = tmp_path_factory.mktemp("onnx")
    write_spec(run_dir, tiny_model, {"train": labelled_rows(32)}, epochs=1)
    spec = json.loads((run_dir / "spec.json").read_text())
    spec["config"]["model"] |= {"to_onnx": True, "output_dim": 8}
    (run_dir / "spec.json").write_text(json.dumps(spec))
    return run_worker(run_dir)


@pytest.mark.train
def test_a_job_leaves_the_same_model_in_onnx(done: WorkerRun, tmp_path: Path) -> None:
    assert done.returncode == 0, done.log
    assert "exported to ONNX: " in done.log
    assert "embeddings of 32 texts differ by " in done.log
    artifact = done.run_dir / "artifact.zip.part"
    plain = load_model(artifact, "cpu", cache_dir=tmp_path)
    model = load_model(artifact, "cpu", cache_dir=tmp_path, is_onnx=True)
    assert (model.dim, plain.dim) == (8, 8)
    assert "device='cpu'" in repr(model)
    for batch_size in (1, 3, 32):
        assert np.allclose(encode(model, TEXTS, batch_size), plain.encode(TEXTS), atol=1e-5)
    assert encode(model, []).shape == (0, 8)


@pytest.mark.train
def test_it_is_read_without_torch(done: WorkerRun, tmp_path: Path) -> None:
    script = f"""
import sys
sys.modules["torch"] = sys.modules["transformers"] = None
from pathlib import Path
from finetuner.model import load_model
model = load_model({str(done.run_dir / "artifact.zip.part")!r}, cache_dir=Path({str(tmp_path)!r}), is_onnx=True)
print(model.encode(["the dog"]).shape)
"""
    ran = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.stdout == "(1, 8)\n", ran.stderr


def test_what_holds_no_onnx_is_not_loaded_as_if(tiny_model: Path) -> None:
    with pytest.raises(NotFound, match="holds no model in ONNX: train with to_onnx=True"):
        load_model(tiny_model, "cpu", is_onnx=True)


@pytest.fixture
def model(tiny_model: Path) -> SentenceTransformer:
    return SentenceTransformer(str(tiny_model), device="cpu")


def _saved(model: SentenceTransformer, folder: Path) -> Path:
    model.save_pretrained(str(folder), create_model_card=False)
    return folder


@pytest.mark.train
def test_other_embeddings_fail_the_run(done: WorkerRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = unpack(done.run_dir / "artifact.zip.part", tmp_path)
    model = SentenceTransformer(str(folder), device="cpu")
    model[-1].linear.weight.data.mul_(1.001)
    old = folder / "onnx" / "model.onnx"
    monkeypatch.setattr(onnx_export, "_export", lambda *given: shutil.copyfile(old, given[-1]))
    with pytest.raises(OnnxExportError, match=r"gives other embeddings: they differ by .*e-04, and may by 1e-04"):
        export_onnx(model, _saved(model, tmp_path / "model"), TEXTS)


def test_what_the_exporter_raises_is_said(
    model: SentenceTransformer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("no such operator\nmore")

    monkeypatch.setattr(onnx_export, "_export", fail)
    with pytest.raises(OnnxExportError, match=r"cannot be exported to ONNX: no such operator$"):
        export_onnx(model, _saved(model, tmp_path / "model"), ["the dog"])


def test_a_model_that_takes_more_than_tokens_is_refused(
    model: SentenceTransformer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = model.preprocess(["a"])
    features = {**made, "pixel_values": made["input_ids"]}
    monkeypatch.setattr(SentenceTransformer, "preprocess", lambda *_, **__: features)
    with pytest.raises(InvalidInput, match="this one takes pixel_values too"):
        export_onnx(model, _saved(model, tmp_path / "model"), ["the dog"])


def test_without_its_packages_no_run_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(onnx_export, "find_spec", lambda name: None if name == "onnxscript" else find(name))
    with pytest.raises(MissingExtra, match=r"finetuner\[onnx\].*not installed: onnxscript"):
        check_packages()

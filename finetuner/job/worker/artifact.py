"""The artifact: a zip with a manifest; of a model's folder, so that plain sentence-transformers can load it."""

from __future__ import annotations

import hashlib
import os
import platform
import zipfile
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import orjson
from sentence_transformers import SentenceTransformer

from finetuner.job.worker.spec import RunSpec, Spec
from finetuner.model import ARTIFACT_FORMAT, MANIFEST

CHECKPOINTS: Final = "checkpoints"
"""The folder of the run, and of the artifact, that holds the models of single epochs, where the run keeps any."""
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
_CHUNK_BYTES: Final = 1 << 20
_LIBRARIES: Final = ("finetuner", "sentence-transformers", "torch", "transformers", "pytorch-metric-learning")


def write_artifact(model: SentenceTransformer, spec: Spec, run_dir: Path) -> Path:
    """Save a model as `artifact.zip.part` in the run's directory; the same weights give the same bytes.

    Raises:
        OSError: There is no room.
    """
    folder = run_dir / "model"
    model.save_pretrained(str(folder), create_model_card=False, safe_serialization=True)
    if (run_dir / CHECKPOINTS).is_dir():
        (run_dir / CHECKPOINTS).rename(folder / CHECKPOINTS)
    manifest = {"format": ARTIFACT_FORMAT, "seed": spec.config.hyper_parameters.seed}
    return pack(folder, manifest, spec, run_dir)


def pack(folder: Path, manifest: Mapping[str, Any], spec: RunSpec, run_dir: Path) -> Path:
    """Write the files of a folder as `artifact.zip.part` in the run's directory.

    The entries are stored uncompressed, in the order of their names after the manifest, with one fixed time, so that
    the same files give the same bytes.

    Args:
        folder: The files.
        manifest: What the manifest has besides run, config, versions and files.
        spec: The run.
        run_dir: Its directory.

    Raises:
        OSError: There is no room.
    """
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    entries = {name: {"sha256": _sha256(path), "size": path.stat().st_size} for name, path in sorted(files.items())}
    whole = {
        **manifest,
        "run_id": spec.run_id,
        "run_name": spec.run_name,
        "experiment_name": spec.experiment_name,
        "config": spec.raw_config,
        "versions": _versions(),
        "files": entries,
    }
    target = run_dir / "artifact.zip.part"
    with target.open("wb") as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            archive.writestr(_entry(MANIFEST), orjson.dumps(whole, option=orjson.OPT_INDENT_2))
            for name in entries:
                with files[name].open("rb") as source, archive.open(_entry(name), "w", force_zip64=True) as entry:
                    while chunk := source.read(_CHUNK_BYTES):
                        entry.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    return target


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.external_attr = 0o644 << 16
    return entry


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _versions() -> dict[str, Any]:
    found: dict[str, Any] = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found

"""Load a tuned model and encode texts with it; name the models of a synthesis.

torch is imported when a model is loaded, never before. Past 400 lines, since what opens an artifact, checks it and
keeps it in the cache must agree on what a whole one is.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import os
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias, overload

import attrs
import numpy as np
import numpy.typing as npt
import orjson
import platformdirs

from finetuner.api import synthesis
from finetuner.api.encodable import texts_of
from finetuner.api.models import ModelChoice, model_names, resolve
from finetuner.api.sources import DocumentsT, Frame, is_a
from finetuner.api.storing import explained
from finetuner.api.zips import DAMAGE, complaint
from finetuner.errors import ArtifactCorrupt, FinetunerError, InvalidInput, MissingExtra, NotFound
from finetuner.onnx_model import OnnxBackend

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

MANIFEST: Final = "manifest.json"
ARTIFACT_FORMAT: Final = "finetuner-artifact/1"
DATA_NOT_MODEL: Final = "the training data of a synthesis run, no model: give it to fit(train_data=...)"
_HUB_FILES: Final = ("*.json", "*.txt", "*.model", "*.safetensors")
"""What a model's folder needs; weights in pickle are never fetched."""
_CHUNK_BYTES: Final = 1 << 20
_FREE_BYTES: Final = 256 << 20
_MAX_RATIO: Final = 20
"""Of what is unpacked to the zip, past the bytes that are free."""

Floats = npt.NDArray[np.float32]


class HasArtifact(Protocol):
    """A run: what has the id of an artifact."""

    @property
    def artifact_id(self) -> str:
        """24 hexadecimal digits."""


ModelSource: TypeAlias = str | Path | HasArtifact
"""A model's short name, a hub's `org/name`, a folder, a run, or its `artifact_id`."""


def _name_of(source: object) -> str:
    if isinstance(source, Path):
        return str(source) if len(source.parts) > 1 or source.is_absolute() else f".{os.sep}{source}"
    name = getattr(source, "artifact_id", source)
    if not isinstance(name, str) or not name.strip():
        raise InvalidInput(f"SynthesisModels: a model is a name, a folder, a run or its artifact_id, not {source!r}")
    return name


def _names_of(source: ModelSource | Sequence[ModelSource]) -> tuple[str, ...]:
    return tuple(map(_name_of, source)) if isinstance(source, list | tuple) else (_name_of(source),)


def _name_or_none(source: ModelSource | None) -> str | None:
    return None if source is None else _name_of(source)


@attrs.frozen
class SynthesisModels:
    """The models that `synthesize` makes training data with.

    Args:
        relation_miner: The embedding model, or several, that finds for each query the texts of the corpus that are
            nearest to it: short names of `list_models()`, `org/name` of a hub, folders on the server's machine, runs,
            or their `artifact_id`.
        cross_encoder: The model that reads a query and a text at once and scores how well they go together: `org/name`
            of a hub, or a folder. None: the last relation miner scores them, by the cosine of their vectors.

    Raises:
        InvalidInput: A value is no model.

    Example:
        >>> SynthesisModels("all-minilm-l6-v2", None).relation_miner
        ('all-minilm-l6-v2',)
    """

    relation_miner: tuple[str, ...] = attrs.field(converter=_names_of)
    cross_encoder: str | None = attrs.field(converter=_name_or_none)


synthesis_model_en: Final = SynthesisModels("sbert-base-en", synthesis.CROSS_ENCODER_EN)
"""For texts in English."""
synthesis_model_multi: Final = SynthesisModels("distiluse-base-multi", synthesis.CROSS_ENCODER_MULTI)
"""For texts in many languages."""


@attrs.frozen(kw_only=True, repr=False, eq=False)
class EmbeddingModel:
    """A model that turns texts into vectors."""

    name: str
    """Where it came from: a name or a path."""
    dim: int
    """Length of its vectors."""
    batch_size: int = 32
    backend: SentenceTransformer | OnnxBackend
    """The sentence-transformers model itself, or what encodes with its form in ONNX."""

    @overload
    def encode(self, texts: DocumentsT, batch_size: int | None = None) -> DocumentsT: ...

    @overload
    def encode(self, texts: Iterable[str] | Frame, batch_size: int | None = None) -> Floats: ...

    def encode(self, texts: Any, batch_size: int | None = None) -> Any:
        """Encode texts.

        Args:
            texts: n texts: a list or another iterable, a series or an array, a frame of one column; or a DocumentArray.
            batch_size: Texts at a time; by default the model's own.

        Returns:
            An array of shape (n, dim), float32; row i belongs to text i. Of a DocumentArray itself, its `embeddings`
            filled.

        Raises:
            InvalidInput: `texts` is one text, or holds something else than texts; or `batch_size` is below 1.
        """
        if batch_size is not None and batch_size < 1:
            raise InvalidInput(f"batch_size must be 1 or more, not {batch_size}")
        values = texts_of(texts)
        vectors = np.zeros((0, self.dim), dtype=np.float32)
        if values:
            found = self.backend.encode(
                values, batch_size=batch_size or self.batch_size, convert_to_numpy=True, show_progress_bar=False
            )
            vectors = np.asarray(found, dtype=np.float32)
        if not is_a(texts, "docarray", "DocumentArray"):
            return vectors
        if values:
            texts.embeddings = vectors
        return texts

    def __repr__(self) -> str:
        return f"EmbeddingModel({self.name!r}, dim={self.dim}, device='{self.backend.device}')"


def load_model(
    source: str | Path,
    device: str | None = None,
    batch_size: int = 32,
    *,
    cache_dir: Path | None = None,
    is_onnx: bool = False,
) -> EmbeddingModel:
    """Load a model to encode with.

    Args:
        source: An artifact's zip, a model's folder, or a name (`all-minilm-l6-v2`, `org/name`).
        device: `cpu`, `cuda`, ...; by default the best there is.
        batch_size: Texts to encode at a time.
        cache_dir: Where zips are unpacked, by their sha256; by default the user's cache folder.
        is_onnx: Load what a run with `to_onnx=True` left in its artifact: onnxruntime is needed, torch is not.

    Raises:
        ArtifactCorrupt: The zip is damaged, or is none of Finetuner's.
        NotFound: There is no such file or folder, or the model cannot be fetched; the message says where it looked.
        MissingExtra: torch or sentence-transformers is not installed.
    """
    path = Path(source).expanduser()
    try:
        is_file = path.is_file()
    except OSError as error:
        raise InvalidInput(f"{str(source)[:60]!r} can be no model: {error.strerror}") from error
    folder = unpack(path, cache_dir or default_cache_dir()) if is_file else find_model(str(source))
    backend = OnnxBackend(folder, device) if is_onnx else open_folder(folder, device)
    dim = backend.get_embedding_dimension()
    return EmbeddingModel(name=str(source), dim=int(dim or 0), batch_size=batch_size, backend=backend)


@overload
def encode(model: EmbeddingModel, data: DocumentsT, batch_size: int = 32) -> DocumentsT: ...


@overload
def encode(model: EmbeddingModel, data: Iterable[str] | Frame, batch_size: int = 32) -> Floats: ...


def encode(model: EmbeddingModel, data: Any, batch_size: int = 32) -> Any:
    """Encode texts with a model: an array of shape (n, dim), float32; or a DocumentArray, its `embeddings` filled.

    Raises:
        InvalidInput: `data` is not a list of texts, or another form of them.
    """
    return model.encode(data, batch_size)


def cos_sim(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """Give the cosine of the angle between two vectors; 0.0 where one of them has no length.

    Raises:
        InvalidInput: They are not vectors of the same length.

    Example:
        >>> cos_sim([1.0, 0.0], [1.0, 0.0])
        1.0
    """
    try:
        first, second = (np.asarray(one, dtype=np.float64).squeeze() for one in (a, b))
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"cos_sim takes two vectors of numbers: {error}") from error
    if first.ndim != 1 or first.shape != second.shape:
        raise InvalidInput(f"cos_sim takes two vectors of the same length, not shapes {first.shape} and {second.shape}")
    lengths = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(first @ second) / lengths if lengths else 0.0


def default_cache_dir() -> Path:
    """Give the folder for what can be fetched again: `FINETUNER_CACHE_DIR`, or the user's cache folder."""
    given = os.environ.get("FINETUNER_CACHE_DIR")
    return Path(given) if given else platformdirs.user_cache_path("finetuner", appauthor=False)


def check_packages() -> None:
    """Check, without importing them, that what loads a model is installed here.

    Raises:
        MissingExtra: It is not; the message names the command that installs it.
    """
    missing = [name for name in ("torch", "sentence_transformers") if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingExtra(
            f"loading a model needs packages that are not installed ({', '.join(missing)}): "
            'pip install "finetuner[local]"'
        )


def open_folder(folder: Path, device: str | None = None) -> SentenceTransformer:
    """Load a model's folder with sentence-transformers.

    Raises:
        MissingExtra: torch or sentence-transformers is not installed.
        NotFound: The folder holds no model.
    """
    try:
        from sentence_transformers import SentenceTransformer  # noqa: PLC0415 - takes seconds
    except ImportError as error:
        raise MissingExtra(
            f'loading a model needs torch and sentence-transformers ({error}): pip install "finetuner[local]"'
        ) from error
    if not any((folder / name).is_file() for name in ("modules.json", "config.json")):
        raise NotFound(f"{folder} holds no model: neither modules.json nor config.json is in it")
    _check_device(device)
    with _no_progress_bar():
        return SentenceTransformer(
            str(folder), device=device, local_files_only=True, model_kwargs={"use_safetensors": True}
        )


def _check_device(device: str | None) -> None:
    torch: Any = importlib.import_module("torch")
    try:
        if device is not None:
            torch.empty(0, device=device)
    except (RuntimeError, AssertionError, ValueError) as error:
        raise InvalidInput(
            f"device {device!r} cannot be used here ({_first_line(error)}); leave it out for the best there is, or "
            "give 'cpu' or 'cuda'"
        ) from error


@contextlib.contextmanager
def _no_progress_bar() -> Iterator[None]:
    logging: Any = importlib.import_module("transformers.utils.logging")

    was_enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_enabled:
            logging.enable_progress_bar()


def find_model(name: str) -> Path:
    """Find the folder of a model by its name, fetching it from the hub where it is nowhere else.

    Args:
        name: As `finetuner.api.models.resolve` takes it.

    Raises:
        InvalidInput: It cannot be a model's name.
        NotFound: It is nowhere; the message says where it was looked for.
        MissingExtra: The hub's library is not installed.
    """
    choice = resolve(name)
    looked: list[str] = []
    if name not in model_names():
        folder = Path(choice.folder or name).expanduser()
        if folder.is_dir():
            return folder
        looked.append(f"folder {folder.absolute()} (there is none)")
    found = _in_package(choice, looked) or (_on_hub(choice.hub_id, looked) if choice.hub_id else None)
    if found is None:
        raise NotFound(f"model {name!r} cannot be loaded. Looked in: {'; '.join(looked)}")
    return found


def _in_package(choice: ModelChoice, looked: list[str]) -> Path | None:
    if choice.package is None:
        return None
    try:
        path = Path(importlib.import_module(choice.package).get_model_path())
    except ImportError:
        looked.append(f"package {choice.package.replace('_', '-')} (not installed)")
        return None
    if path.is_dir():
        return path
    looked.append(f"package {choice.package.replace('_', '-')} ({path} is missing)")
    return None


def _on_hub(hub_id: str, looked: list[str]) -> Path | None:
    os.environ.setdefault("HF_HUB_ETAG_TIMEOUT", "10")
    os.environ.setdefault("HF_HUB_DOWNLOAD_TIMEOUT", "20")
    try:
        from huggingface_hub import constants, snapshot_download  # noqa: PLC0415 - part of the extra
    except ImportError as error:
        raise MissingExtra(
            f'fetching a model needs the hub\'s library: pip install "finetuner[local]" ({error})'
        ) from (error)
    for place, is_local in ((f"hub cache {constants.HF_HUB_CACHE}", True), (f"{constants.ENDPOINT}/{hub_id}", False)):
        try:
            return Path(snapshot_download(hub_id, allow_patterns=list(_HUB_FILES), local_files_only=is_local))
        except Exception as error:  # noqa: BLE001 - the library raises its HTTP client's errors too; all mean "not there"
            looked.append(f"{place} ({'not there' if is_local else _first_line(error)})")
    return None


def _first_line(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


def unpack(artifact: Path, cache_dir: Path) -> Path:
    """Unpack an artifact's zip into the cache, checking every file against its manifest; once for each content.

    A folder in the cache whose files are not as long as the zip's is unpacked again.

    Raises:
        ArtifactCorrupt: A file is missing, too many, damaged, or would land outside of the folder.
        InvalidInput: It is what a synthesis run left: no model; or the cache cannot be written.
        StorageFull: The disk is full.
    """
    digest = hashlib.sha256()
    with artifact.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    target = cache_dir / "models" / digest.hexdigest()
    if _is_whole(target, artifact):
        return target
    with explained(target, "set FINETUNER_CACHE_DIR to a folder that you may write to"):
        target.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(dir=target.parent, prefix=".part-"))
        try:
            _extract(artifact, part / "new")
            if target.exists() and not _is_whole(target, artifact):
                with contextlib.suppress(FileNotFoundError):  # another process moved it away
                    target.replace(part / "damaged")
            with contextlib.suppress(OSError):  # another process was first, with the same content
                (part / "new").replace(target)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    if not _is_whole(target, artifact):
        raise ArtifactCorrupt(f"{artifact} could not be unpacked into {target}")
    return target


def _is_whole(folder: Path, artifact: Path) -> bool:
    """Whether each file of the zip is in the folder, as long as it is there: cheaper than its sha256."""
    try:
        with zipfile.ZipFile(artifact) as archive:
            return folder.is_dir() and all(
                (folder / entry.filename).stat().st_size == entry.file_size for entry in archive.infolist()
            )
    except (OSError, *DAMAGE):
        return False


def _extract(artifact: Path, folder: Path) -> None:
    try:
        with zipfile.ZipFile(artifact) as archive:
            entries = {entry.filename: entry for entry in archive.infolist()}
            files = _checked_files(artifact, archive, entries)
            for name, entry in entries.items():
                sha256 = _extract_one(archive, entry, folder / name)
                if name != MANIFEST and sha256 != files[name]:
                    raise ArtifactCorrupt(f"{artifact}: {name!r} is damaged: its sha256 is not the manifest's")
                if (folder / name).stat().st_size != entry.file_size:
                    raise ArtifactCorrupt(f"{artifact}: {name!r} is damaged: it is not as long as the zip says")
    except FinetunerError:
        raise
    except DAMAGE as error:
        raise ArtifactCorrupt(f"{artifact} is not a whole zip: {error}") from error


def _checked_files(artifact: Path, archive: zipfile.ZipFile, entries: Mapping[str, zipfile.ZipInfo]) -> dict[str, str]:
    """Check what a zip says of itself, before anything is unpacked; give the sha256 of each file by its name."""
    if found := complaint(archive.infolist()):
        raise ArtifactCorrupt(f"{artifact}: {found}")
    if MANIFEST not in entries:
        raise ArtifactCorrupt(f"{artifact} is no artifact of Finetuner: {MANIFEST} is not in it")
    _check_size(artifact, entries.values())
    files = _manifest_files(archive.read(MANIFEST), artifact)
    for name, entry in entries.items():
        _check_entry(artifact, entry)
        if name != MANIFEST and name not in files:
            raise ArtifactCorrupt(f"{artifact}: {name!r} is not in its manifest")
    missing = sorted(set(files) - set(entries))
    if missing:
        raise ArtifactCorrupt(f"{artifact}: {missing[0]!r} is in its manifest and not in the zip")
    return files


def _manifest_files(content: bytes, artifact: Path) -> dict[str, str]:
    try:
        manifest: dict[str, Any] = orjson.loads(content)
        if manifest["format"] == synthesis.DATA_FORMAT:
            raise InvalidInput(f"{artifact} is {DATA_NOT_MODEL}")
        if manifest["format"] != ARTIFACT_FORMAT:
            raise ArtifactCorrupt(
                f"{artifact}: its format {manifest['format']!r} is not known; a newer version reads it"
            )
        return {name: entry["sha256"] for name, entry in manifest["files"].items()}
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactCorrupt(f"{artifact}: its manifest cannot be read: {error}") from error


def _check_size(artifact: Path, entries: Iterable[zipfile.ZipInfo]) -> None:
    """Refuse what was made to fill the disk: weights are hardly compressed."""
    size_bytes, bound = sum(entry.file_size for entry in entries), _FREE_BYTES + _MAX_RATIO * artifact.stat().st_size
    if size_bytes > bound:
        raise ArtifactCorrupt(f"{artifact} says that it holds {size_bytes} bytes, more than one of its size can")


def _check_entry(artifact: Path, entry: zipfile.ZipInfo) -> None:
    path = PurePosixPath(entry.filename)
    is_plain = bool(path.parts) and not path.is_absolute() and ".." not in path.parts
    is_special = stat.S_IFMT(entry.external_attr >> 16) not in {0, stat.S_IFREG}  # a link, a device, a pipe
    if not is_plain or is_special or "\\" in entry.filename or ":" in path.parts[0] or entry.is_dir():
        raise ArtifactCorrupt(f"{artifact}: the entry {entry.filename!r} would not land inside of the folder")


def _extract_one(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path) -> str:
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with archive.open(entry) as source, target.open("xb") as file:
        while chunk := source.read(_CHUNK_BYTES):
            digest.update(chunk)
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()

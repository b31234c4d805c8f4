from __future__ import annotations

import hashlib
import json
import os
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from finetuner.errors import ArtifactCorrupt, InvalidInput, MissingExtra, NotFound, StorageFull
from finetuner.model import EmbeddingModel, cos_sim, encode, find_model, load_model, unpack
from tests.models_support import make_tiny_model

TEXTS = ["the dog", "a cat and a dog", "rain today"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="module")
def model(folder: Path) -> EmbeddingModel:
    return load_model(folder, device="cpu")


def _artifact(path: Path, content: Mapping[str, bytes], **manifest: Any) -> Path:
    described = {
        name: {"sha256": hashlib.sha256(text).hexdigest(), "size": len(text)} for name, text in content.items()
    }
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("manifest.json", json.dumps({"format": "finetuner-artifact/1", "files": described} | manifest))
        for name, text in content.items():
            archive.writestr(name, text)
    return path


def test_a_folder_a_zip_and_plain_sentence_transformers_agree(
    folder: Path, model: EmbeddingModel, tmp_path: Path
) -> None:
    from sentence_transformers import SentenceTransformer

    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    artifact = _artifact(tmp_path / "tuned.zip", files)
    zipped = load_model(artifact, device="cpu", cache_dir=tmp_path / "cache")
    expected = SentenceTransformer(str(folder), device="cpu").encode(TEXTS)
    for one in (model, zipped):
        vectors = one.encode(TEXTS)
        assert (vectors.dtype.name, vectors.shape, one.dim) == ("float32", (3, 32), 32)
        np.testing.assert_allclose(vectors, expected, atol=1e-6)
    assert repr(zipped) == f"EmbeddingModel({str(artifact)!r}, dim=32, device='cpu')"


def test_encode(model: EmbeddingModel) -> None:
    np.testing.assert_allclose(encode(model, TEXTS, batch_size=1), model.encode(TEXTS), atol=1e-6)
    assert encode(model, []).shape == (0, 32)
    assert model.encode(tuple(TEXTS)).shape == (3, 32)


@pytest.mark.parametrize("data", ["one text", ["a", 3], [None]])
def test_encode_takes_lists_of_texts_alone(model: EmbeddingModel, data: Any) -> None:
    with pytest.raises(InvalidInput, match="encode takes"):
        encode(model, data)


def test_documents_are_given_back_with_their_vectors(model: EmbeddingModel) -> None:
    from docarray import Document, DocumentArray

    documents = DocumentArray([Document(text=text) for text in TEXTS])
    assert encode(model, documents) is documents
    np.testing.assert_allclose(documents.embeddings, model.encode(TEXTS), atol=1e-6)
    assert encode(model, DocumentArray()).embeddings is None


def test_the_functions_of_a_client_and_of_the_package_encode_alike(model: EmbeddingModel) -> None:
    import finetuner

    with finetuner.Client(host="http://127.0.0.1:9", token="none") as client:  # it needs no server
        np.testing.assert_allclose(client.encode(model, (text for text in TEXTS)), model.encode(TEXTS), atol=1e-6)
        with pytest.raises(InvalidInput, match="encode takes"):
            client.encode(model, "a text")


def test_the_packaged_model_is_found_without_a_network() -> None:
    assert (find_model("all-minilm-l6-v2") / "model.safetensors").is_file()
    assert find_model("all-minilm-l6-v2") == find_model("sentence-transformers/all-MiniLM-L6-v2")


def test_a_folder_named_like_a_short_name_does_not_hide_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "all-minilm-l6-v2").mkdir()
    monkeypatch.chdir(tmp_path)
    assert (find_model("all-minilm-l6-v2") / "model.safetensors").is_file()


def test_a_model_that_is_nowhere_is_named_with_where_it_was_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotFound) as caught:
        find_model("somebody/their-model")
    for words in ("'somebody/their-model'", f"folder {tmp_path}/somebody/their-model", "hub cache", constants.ENDPOINT):
        assert words in str(caught.value)
    with pytest.raises(NotFound, match=r"Looked in: folder .*nothing-here"):
        find_model("./nothing-here")
    with pytest.raises(InvalidInput, match="Near: 'all-minilm-l6-v2'"):
        find_model("all-minilm-l6")


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"neither modules\.json nor config\.json"):
        load_model(tmp_path)


def test_without_torch_the_message_says_what_to_install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(MissingExtra, match=r'pip install "finetuner\[local\]"'):
        load_model(folder)


def test_one_content_is_unpacked_once(tmp_path: Path) -> None:
    artifact = _artifact(tmp_path / "a.zip", {"config.json": b"{}", "1_Pooling/config.json": b"[]"})
    first = unpack(artifact, tmp_path / "cache")
    (first / "mark").touch()
    assert unpack(artifact.rename(tmp_path / "b.zip"), tmp_path / "cache") == first
    assert (first / "mark").exists()
    assert sorted(path.relative_to(first).as_posix() for path in first.rglob("*.json")) == [
        "1_Pooling/config.json",
        "config.json",
        "manifest.json",
    ]


@pytest.mark.parametrize(
    "name", ["../evil", "/evil", "a/../../evil", "..\\evil", "C:/evil", "C:\\evil", "folder/", "a\\b"]
)
def test_nothing_lands_outside_of_the_folder(tmp_path: Path, name: str) -> None:
    artifact = _artifact(tmp_path / "a.zip", {name: b"x"})
    with pytest.raises(ArtifactCorrupt):
        unpack(artifact, tmp_path / "cache")
    _nothing_unpacked(tmp_path)


@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(b"t"), lambda path: path.unlink()])
def test_a_damaged_folder_in_the_cache_is_unpacked_again(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    artifact = _artifact(tmp_path / "a.zip", {"model.safetensors": b"tensors", "1/config.json": b"{}"})
    folder = unpack(artifact, tmp_path / "cache")
    damage(folder / "model.safetensors")
    assert unpack(artifact, tmp_path / "cache") == folder
    assert (folder / "model.safetensors").read_bytes() == b"tensors"
    assert list(folder.parent.iterdir()) == [folder]


def test_a_cache_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    artifact = _artifact(tmp_path / "a.zip", {"config.json": b"{}"})
    with pytest.raises(InvalidInput, match=r"/dev/null/models/.* cannot be written .*FINETUNER_CACHE_DIR") as caught:
        unpack(artifact, Path(os.devnull))
    assert isinstance(caught.value.__cause__, OSError)


def test_a_disk_without_room_is_told_and_the_next_try_goes_on(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    artifact = _artifact(tmp_path / "a.zip", {"model.safetensors": os.urandom(3_000_000)})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))
    try:
        with pytest.raises(StorageFull, match=r"no room for .*/models/.*: free some space"):
            unpack(artifact, tmp_path / "cache")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    _nothing_unpacked(tmp_path)
    assert (unpack(artifact, tmp_path / "cache") / "model.safetensors").stat().st_size == 3_000_000


def _nothing_unpacked(tmp_path: Path) -> None:
    assert [path.name for path in tmp_path.iterdir() if path.name != "cache"] == ["a.zip"]
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file() or path.parent.name == "models"]


@given(st.lists(st.sampled_from(["..", ".", "a", "", "b.json"]), min_size=1, max_size=5), st.booleans())
def test_no_made_up_path_leaves_the_folder(parts: list[str], is_absolute: bool) -> None:
    import tempfile

    name = ("/" if is_absolute else "") + "/".join(parts) or "."
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        artifact = _artifact(root / "a.zip", {name: b"x"})
        try:
            target = unpack(artifact, root / "cache")
        except ArtifactCorrupt:
            _nothing_unpacked(root)
        else:
            found = {path.resolve() for path in root.rglob("*") if path.is_file()} - {artifact.resolve()}
            assert all(path.is_relative_to(target.resolve()) for path in found)


def test_a_zip_that_was_made_to_fill_the_disk_is_refused(tmp_path: Path) -> None:
    path = _artifact(tmp_path / "a.zip", {"model": b"weights"})
    with zipfile.ZipFile(path) as archive:
        place = archive.start_dir
    content = bytearray(path.read_bytes())
    content[place + 24 : place + 28] = (1 << 31).to_bytes(4, "little")  # the size that the first entry claims
    path.write_bytes(content)
    with pytest.raises(ArtifactCorrupt, match="more than one of its size can"):
        unpack(path, tmp_path / "cache")
    _nothing_unpacked(tmp_path)


def test_an_encrypted_zip_and_one_of_absurdly_many_files_are_refused(tmp_path: Path) -> None:
    path = _artifact(tmp_path / "a.zip", {"model": b"weights"})
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        content[archive.start_dir + 8] |= 1  # the flag of the first entry, the manifest
    path.write_bytes(content)
    with pytest.raises(ArtifactCorrupt, match=r"a\.zip: 'manifest\.json' in it is encrypted"):
        unpack(path, tmp_path / "cache")
    _nothing_unpacked(tmp_path)
    _artifact(path, {f"{number}.json": b"" for number in range(10_000)})
    with pytest.raises(ArtifactCorrupt, match=r"a\.zip: it holds 10,001 files"):
        unpack(path, tmp_path / "cache")
    _nothing_unpacked(tmp_path)


def test_a_manifest_that_was_made_to_fill_the_memory_is_not_read(tmp_path: Path) -> None:
    with (
        zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("manifest.json", "w") as manifest,
    ):
        for _ in range(300):
            manifest.write(bytes(1 << 20))
    with pytest.raises(ArtifactCorrupt, match="more than one of its size can"):
        unpack(tmp_path / "a.zip", tmp_path / "cache")
    _nothing_unpacked(tmp_path)


@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
@example(place=0.76953125, bit=0)  # of the size that the zip's directory says
def test_a_bit_that_flips_anywhere_is_an_error_of_ours_or_no_matter(place: float, bit: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        path = _artifact(root / "a.zip", {"model": b"weights" * 20, "1/config.json": b"{}"})
        content = bytearray(path.read_bytes())
        content[int(place * len(content))] ^= 1 << bit
        path.write_bytes(content)
        try:
            target = unpack(path, root / "cache")
        except (ArtifactCorrupt, InvalidInput):
            _nothing_unpacked(root)
        else:
            assert (target / "model").read_bytes() == b"weights" * 20


@pytest.mark.parametrize("kind", [0o120777, 0o020666, 0o060666, 0o010666])
def test_a_link_device_or_pipe_in_a_zip_is_refused(tmp_path: Path, kind: int) -> None:
    link = zipfile.ZipInfo("config.json")
    link.external_attr = kind << 16
    target = b"/etc/passwd"
    described = {"config.json": {"sha256": hashlib.sha256(target).hexdigest(), "size": len(target)}}
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("manifest.json", json.dumps({"format": "finetuner-artifact/1", "files": described}))
        archive.writestr(link, target)
    with pytest.raises(ArtifactCorrupt, match="inside of the folder"):
        unpack(tmp_path / "a.zip", tmp_path / "cache")


def test_damage_is_found(tmp_path: Path) -> None:
    content = b"weights" * 100
    path = tmp_path / "a.zip"

    def refused(words: str) -> None:
        with pytest.raises(ArtifactCorrupt, match=words):
            unpack(path, tmp_path / "cache")
        _nothing_unpacked(tmp_path)

    whole = _artifact(path, {"model": content}).read_bytes()
    path.write_bytes(whole.replace(b"weightsweights", b"weightsWeights", 1))
    refused("damaged|not a whole zip")
    path.write_bytes(whole[: len(whole) // 2])
    refused("not a whole zip")
    path.write_bytes(b"no zip")
    refused("not a whole zip")
    wrong = {"model": {"sha256": "0" * 64, "size": len(content)}}
    _artifact(path, {"model": content}, files=wrong)
    refused("'model' is damaged")
    _artifact(path, {"model": content, "extra": b""}, files={"model": wrong["model"]})
    refused("'extra' is not in its manifest")
    _artifact(path, {}, files=wrong)
    refused("'model' is in its manifest and not in the zip")
    _artifact(path, {}, format="finetuner-artifact/9")
    refused("a newer version")
    _artifact(path, {}, files=3)
    refused("its manifest cannot be read")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model", content)
    refused(r"manifest\.json is not in it")


def test_cos_sim() -> None:
    assert cos_sim([1, 0], [0, 2]) == 0
    assert cos_sim(np.array([[1.0, 1.0]]), [2, 2]) == pytest.approx(1)
    assert cos_sim([1, 0], [-3, 0]) == -1
    assert cos_sim([0, 0], [1, 0]) == 0
    for pair in (([1], [1, 2]), ([[1, 2], [3, 4]], [[1, 2], [3, 4]])):
        with pytest.raises(InvalidInput, match="same length"):
            cos_sim(*pair)

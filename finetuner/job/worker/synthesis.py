"""A synthesis run, from its spec to its artifact: mine relations, score them, write rows to train on.

`docs/synthesis.md` says what is done and why.
"""

from __future__ import annotations

import shutil
import time
import zipfile
from pathlib import Path

import attrs

from finetuner.api.models import model_names
from finetuner.api.synthesis import DATA_FORMAT, SYNTHESIZED, check_synthesis
from finetuner.errors import InvalidInput
from finetuner.job.worker.artifact import pack
from finetuner.job.worker.device import usable_device
from finetuner.job.worker.meter import Meter
from finetuner.job.worker.mining import Found, memory_bytes, search
from finetuner.job.worker.relations import Texts, candidates, pairs, rows
from finetuner.job.worker.report import Report
from finetuner.job.worker.scoring import cosine_scores, cross_scores, open_cross_encoder
from finetuner.job.worker.spec import SynthesisSpec
from finetuner.job.worker.trainset import TrainSet, write_trainset
from finetuner.job.worker.vectors import Vectors, encode
from finetuner.model import find_model, open_folder, unpack


class NothingMinedError(InvalidInput):
    """No query has a related text in the corpus, or none but the best."""


@attrs.frozen(kw_only=True, eq=False)
class Mined:
    """What one relation miner found, and the vectors that it found it with."""

    found: Found
    queries: Vectors
    documents: Vectors


def synthesize(run_dir: Path, report: Report) -> None:
    """Do the synthesis of a run directory.

    Raises:
        NotFound: A model cannot be had; the message says where it was looked for.
        InvalidInput: A model is of another kind, or nothing could be mined.
    """
    started_at = time.monotonic()
    spec = SynthesisSpec.load(run_dir)
    check_synthesis(spec.config)
    device = usable_device(spec.device, report, "working")
    texts = _texts(spec, report)
    # All models are found before the first one works for an hour.
    folders = {name: _folder(name, spec, run_dir) for name in _names(spec)}
    cross_encoder = spec.config.models.cross_encoder
    scorer = None if cross_encoder is None else open_cross_encoder(folders[cross_encoder], device)
    mined = _mine(spec, texts, folders, device, run_dir, report)
    related = candidates([one.found for one in mined])
    to_score = pairs(texts, related)
    meter = Meter(report, "scoring", len(to_score), "pairs")
    if scorer is None:
        report.say(
            "there is no cross encoder: margins are differences of the cosine scores of the last relation miner, "
            f"{spec.config.models.relation_miner[-1]}"
        )
        scores = cosine_scores(mined[-1].queries, mined[-1].documents, to_score, on_block=meter.add)
    else:
        report.say(f"scoring {len(to_score)} pairs with the cross encoder {cross_encoder}; scores are from 0 to 1")
        scores = cross_scores(scorer, texts.queries, texts.documents, to_score, on_block=meter.add)
    report.progress(phase="saving")
    written = write_trainset(run_dir / "trainset", rows(texts, related, scores))
    _check_written(written, texts)
    report.say(
        f"{written.rows} rows of query, positive, negative and margin; margins from {written.low:.3f} to "
        f"{written.high:.3f}, mean {written.mean:.3f}, {written.below_zero} of them below 0"
    )
    manifest = {
        "format": DATA_FORMAT,
        "kind": SYNTHESIZED,
        "rows": written.rows,
        "scores": "cosine" if scorer is None else "sigmoid",
        "models": {"relation_miner": spec.config.models.relation_miner, "cross_encoder": cross_encoder},
    }
    size = pack(run_dir / "trainset", manifest, spec, run_dir).stat().st_size
    for folder in ("trainset", "vectors", "base"):
        shutil.rmtree(run_dir / folder, ignore_errors=True)
    report.say(f"artifact of {size / 1e6:.1f} MB written; done in {time.monotonic() - started_at:.1f} s")


def _texts(spec: SynthesisSpec, report: Report) -> Texts:
    data = spec.config.data
    texts = Texts.of(spec.data_set(data.query_data), spec.data_set(data.corpus_data))
    known = sum(map(len, texts.positives))
    report.say(
        f"{len(texts.queries)} queries of {data.query_data}"
        + (f" with {known} known answers" if known else "")
        + f", {texts.corpus_size} texts of {data.corpus_data}"
        + (f"; {texts.repeated} repeated ones left out" if texts.repeated else "")
    )
    return texts


def _names(spec: SynthesisSpec) -> list[str]:
    models = spec.config.models
    return [*models.relation_miner, *([models.cross_encoder] if models.cross_encoder else [])]


def _folder(name: str, spec: SynthesisSpec, run_dir: Path) -> Path:
    """Find a model: an artifact that the server gave, the zip of one, or what `find_model` finds."""
    path = spec.data.get(name, Path(name).expanduser())
    is_zip = name not in model_names() and zipfile.is_zipfile(path)
    return unpack(path, run_dir / "base") if is_zip else find_model(name)


def _mine(
    spec: SynthesisSpec,
    texts: Texts,
    folders: dict[str, Path],
    device: str,
    run_dir: Path,
    report: Report,
) -> list[Mined]:
    miners = spec.config.models.relation_miner
    wanted = texts.to_mine(spec.config.data.num_relations)
    place = run_dir / "vectors"
    place.mkdir(exist_ok=True)
    meter = Meter(report, "mining", len(miners) * (len(texts.queries) + len(texts.documents)), "texts")
    mined: list[Mined] = []
    for number, name in enumerate(miners):
        report.say(f"mining with {name} from {folders[name]}: the {wanted} nearest texts of each query")
        model = open_folder(folders[name], device)
        queries = encode(model, texts.queries, place / f"{number}-queries", on_block=meter.add)
        documents = encode(model, texts.documents, place / f"{number}-documents", on_block=meter.add)
        bound = memory_bytes(len(texts.queries), wanted, queries.dim)
        report.say(f"the search takes {bound / 1e6:.0f} MB of memory at most; the vectors are in files")
        found = search(
            queries, documents, wanted, among=texts.corpus_size, excluded=texts.excluded, device=str(model.device)
        )
        mined.append(Mined(found=found, queries=queries, documents=documents))
    return mined


def _check_written(written: TrainSet, texts: Texts) -> None:
    if not written.rows:
        raise NothingMinedError(
            f"no row could be made of {len(texts.queries)} queries and {texts.corpus_size} texts of the corpus: each "
            "query needs two texts in it that are not the query itself, or, where its answer is known, one more"
        )

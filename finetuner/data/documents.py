"""Documents of DocArray, as the old client took them; the package is not imported here."""

from __future__ import annotations

import numbers
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, TypeGuard

from finetuner.api.sources import is_a
from finetuner.data.kinds import Row, as_number
from finetuner.errors import InvalidData

LABEL: Final = "finetuner_label"
"""The tag that holds a document's class."""
SCORE: Final = "finetuner_score"
"""The tag that holds how alike the chunks of a document are; with three chunks their margin."""


def is_documents(value: object) -> TypeGuard[Iterable[Any]]:
    """Whether it is a DocumentArray."""
    return is_a(value, "docarray", "DocumentArray")


def read_documents(documents: Iterable[Any]) -> tuple[Iterator[Row], bool]:
    """Give the rows of documents, numbered from 1, and whether they are texts with their labels.

    A document is its text and the tag `finetuner_label`; two chunks that belong together, with `finetuner_score` a
    scored pair; three chunks: anchor, positive, negative, with `finetuner_score` the margin; a text and its matches, a
    pair for each; or a text alone.

    Raises:
        InvalidData: A document has no text, or is made otherwise than those before it; with its number.
    """
    rows = _rows(documents)
    first = next(rows, None)
    if first is None:
        return iter(()), False
    begun, is_labelled = first

    def read() -> Iterator[Row]:
        yield begun
        for row, is_label in rows:
            if is_label != is_labelled:
                has = "has no tag" if is_labelled else "has the tag"
                raise _refused(f"it {has} {LABEL!r}, unlike those before it", row[0])
            yield row

    return read(), is_labelled


def text_of(document: Any, number: int, what: str = "it") -> str:
    """Give the text of a document.

    Raises:
        InvalidData: It has none.
    """
    text = document.text
    if not isinstance(text, str) or not text.strip():
        raise _refused(f"{what} has no text; images and meshes are not read here", number)
    return text


def _rows(documents: Iterable[Any]) -> Iterator[tuple[Row, bool]]:
    for number, document in enumerate(documents, start=1):
        tags: Mapping[str, Any] = document.tags
        if document.chunks:
            yield (number, _of_chunks(document, tags, number)), False
        elif LABEL in tags:
            yield (number, [text_of(document, number), _label(tags[LABEL], number)]), True
        elif document.matches:
            for match in document.matches:
                if LABEL in match.tags:
                    raise _refused(f"a match of it has the tag {LABEL!r}: give labelled documents, or pairs", number)
                yield (number, [text_of(document, number), text_of(match, number, "a match of it")]), False
        else:
            yield (number, [text_of(document, number)]), False


def _of_chunks(document: Any, tags: Mapping[str, Any], number: int) -> list[str | float]:
    texts = [text_of(chunk, number, f"its chunk {place}") for place, chunk in enumerate(document.chunks, start=1)]
    if len(texts) not in {2, 3}:
        shown = "1 chunk" if len(texts) == 1 else f"{len(texts)} chunks"
        raise _refused(f"it has {shown}; two are a pair, three anchor, positive and negative", number)
    if SCORE not in tags:
        return [*texts]
    score = as_number(tags[SCORE]) if isinstance(tags[SCORE], str | numbers.Real) else None
    if score is None:
        raise _refused(f"its tag {SCORE!r} must be a finite number, not {tags[SCORE]!r}", number)
    return [*texts, score]


def _label(value: Any, number: int) -> str:
    if isinstance(value, str) and value.strip():
        return value
    if isinstance(value, numbers.Real) and float(value).is_integer():
        return str(int(float(value)))  # a document that was sent holds numbers as floats
    raise _refused(f"its tag {LABEL!r} must be a text or a whole number, not {value!r}", number)


def _refused(message: str, number: int) -> InvalidData:
    return InvalidData(f"document {number}: {message}", line=number)

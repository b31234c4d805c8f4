"""How to read a CSV file."""

from __future__ import annotations

import csv
from typing import Any

import attrs

from finetuner.errors import InvalidInput


def _check_size(_: object, __: object, value: Any) -> None:
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
        raise InvalidInput(f"CSVOptions: size must be a whole number of at least 1, not {value!r}")


def _check_rate(_: object, __: object, value: Any) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if value is not None and (not is_number or not 0 < value <= 1):
        raise InvalidInput(f"CSVOptions: sampling_rate must be above 0 and at most 1, not {value!r}")


def _check_encoding(_: object, __: object, value: Any) -> None:
    try:
        "".encode(value)  # refuses codecs of bytes to bytes, such as base64, too
    except (LookupError, TypeError, ValueError) as error:
        raise InvalidInput(f"CSVOptions: there is no encoding {value!r}; 'utf-8' and 'latin-1' are common") from error


def _check_dialect(_: object, __: object, value: object) -> None:
    if isinstance(value, str) and value not in {"auto", *csv.list_dialects()}:
        raise InvalidInput(f"CSVOptions: there is no dialect {value!r}: 'auto', {', '.join(csv.list_dialects())}")


@attrs.frozen
class CSVOptions:
    """How to read a CSV file; `is_labeled` holds for lists too.

    Args:
        size: Rows to take at most; None takes all.
        sampling_rate: Share of the rows to take, always the same ones of the same file.
        dialect: `auto` tells the delimiter from the file's beginning; or a name or class of Python's `csv` module.
        encoding: Of the file.
        is_labeled: Two columns are a text and its label, not two texts that belong together.
        convert_to_blob: For images; taken for old callers.
        create_point_clouds: For meshes; taken for old callers.
        point_cloud_size: For meshes; taken for old callers.

    Raises:
        InvalidInput: A value cannot be used.
    """

    size: int | None = attrs.field(default=None, validator=_check_size)
    sampling_rate: float | None = attrs.field(default=None, validator=_check_rate)
    dialect: str | csv.Dialect | type[csv.Dialect] = attrs.field(default="auto", validator=_check_dialect)
    encoding: str = attrs.field(default="utf-8", validator=_check_encoding)
    is_labeled: bool = False
    convert_to_blob: bool = True
    create_point_clouds: bool = True
    point_cloud_size: int = 2048

"""How to read a CSV file."""

from __future__ import annotations

import codecs
import encodings.aliases
import numbers
from typing import Any

import attrs

from finetuner.api.names import near_hint
from finetuner.data.dialects import AUTO, GivenDialect, check_dialect
from finetuner.errors import InvalidInput


def _check_whole(_: object, field: attrs.Attribute[Any], value: Any) -> None:
    is_whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if value is not None and (not is_whole or value < 1):
        raise InvalidInput(f"CSVOptions: {field.name} must be a whole number of at least 1, not {value!r}")


def _check_rate(_: object, __: object, value: Any) -> None:
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if value is not None and (not is_number or not 0 < value <= 1):
        raise InvalidInput(f"CSVOptions: sampling_rate must be above 0 and at most 1, not {value!r}")


def _check_encoding(_: object, __: object, value: Any) -> None:
    try:
        "".encode(value)  # refuses codecs of bytes to bytes, such as base64, too
        codecs.getincrementaldecoder(value)
    except (LookupError, TypeError, ValueError) as error:
        near = near_hint(value.replace("-", "_"), encodings.aliases.aliases.values()) if isinstance(value, str) else ""
        raise InvalidInput(
            f"CSVOptions: there is no encoding {value!r}; 'utf-8' and 'latin-1' are common.{near}"
        ) from error


def _check_dialect(_: object, __: object, value: object) -> None:
    check_dialect(value)


def _check_flag(_: object, field: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, bool):
        raise InvalidInput(f"CSVOptions: {field.name} must be True or False, not {value!r}")


@attrs.frozen
class CSVOptions:
    """How to read a CSV file; `is_labeled` holds for lists too.

    Args:
        size: Rows to take at most; None takes all.
        sampling_rate: Share of the rows to take, always the same ones of the same file.
        dialect: How the file is written. `auto` tells it from the file's beginning, or says that it does not tell; else
            the parameters of Python's `csv`, such as `{"delimiter": ";", "quotechar": None}`, or a name, a class or an
            object of that module.
        encoding: Of the file; a byte order mark of UTF-16 or UTF-32 stands above the default.
        is_labeled: Two columns are a text and its label, not two texts that belong together.
        convert_to_blob: For images; taken for old callers.
        create_point_clouds: For meshes; taken for old callers.
        point_cloud_size: For meshes; taken for old callers.

    Raises:
        InvalidInput: A value cannot be used.
    """

    size: int | None = attrs.field(default=None, validator=_check_whole)
    sampling_rate: float | None = attrs.field(default=None, validator=_check_rate)
    dialect: GivenDialect = attrs.field(default=AUTO, validator=_check_dialect)
    encoding: str = attrs.field(default="utf-8", validator=_check_encoding)
    is_labeled: bool = attrs.field(default=False, validator=_check_flag)
    convert_to_blob: bool = attrs.field(default=True, validator=_check_flag)
    create_point_clouds: bool = attrs.field(default=True, validator=_check_flag)
    point_cloud_size: int = attrs.field(default=2048, validator=_check_whole)

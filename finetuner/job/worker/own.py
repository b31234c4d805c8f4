"""Callbacks of the user's own, imported from the folders of the caller."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from finetuner.callback import CustomCallback
from finetuner.errors import InvalidInput


def make_own(name: str, options: Mapping[str, Any], folders: Sequence[str]) -> CustomCallback:
    """Import a callback's class and make the callback.

    The folders come first while the module is imported, as they did where it was made, and last from then on: files in
    them never stand in for libraries that the job imports later.

    Args:
        name: `module:Class`.
        options: What to make it with.
        folders: Where its module may lie.

    Raises:
        InvalidInput: It cannot be imported, or is no CustomCallback.
    """
    module_name, _, class_name = name.partition(":")
    before = list(sys.path)
    sys.path[:0] = folders
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        where = ", ".join(folders) or "the job's own path"
        raise InvalidInput(f"the callback {name!r} cannot be imported from {where}: {error}") from error
    finally:
        sys.path[:] = [*before, *(folder for folder in folders if folder not in before)]
    kind = getattr(module, class_name, None)
    if not isinstance(kind, type) or not issubclass(kind, CustomCallback):
        raise InvalidInput(f"{class_name!r} in {module.__file__} is no subclass of finetuner.callback.CustomCallback")
    return kind(**options)

from __future__ import annotations

import zipfile

import pytest

from finetuner.api.zips import MAX_ENTRIES, complaint


def _entry(**fields: int) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo("a.json")
    for name, value in fields.items():
        setattr(entry, name, value)
    return entry


@pytest.mark.parametrize("kind", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_what_finetuner_writes_is_taken(kind: int) -> None:
    assert complaint([_entry(compress_type=kind, flag_bits=0x800)] * MAX_ENTRIES) is None
    assert complaint([]) is None


def test_what_it_never_writes_is_named() -> None:
    assert (
        complaint([_entry()] * (MAX_ENTRIES + 1)) == "it holds 10,001 files, and none of Finetuner has more than 10,000"
    )
    assert complaint([_entry(), _entry(flag_bits=1)]) == "'a.json' in it is encrypted, which nothing of Finetuner is"
    for kind in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA, 99):
        assert "compressed in a way" in (complaint([_entry(compress_type=kind)]) or "")

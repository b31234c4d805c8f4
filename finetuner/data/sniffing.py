"""Telling from the beginning of a CSV file how it is written, or that it does not tell.

Python's `csv.Sniffer` and CleverCSV take the commas and apostrophes of prose for marks of a table, and guess where they
cannot know. Here a dialect must cut every row alike, as that of a CSV writer does; where two do, and neither reads like
prose, the caller is asked.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

import attrs

from finetuner.data.dialects import Dialect
from finetuner.errors import InvalidData

DELIMITERS: Final = ",\t;|"
NO_DELIMITER: Final = "\x1f"
"""For a file of one column whose commas are prose: it stands in no text."""
SURE_ROWS: Final = 5
"""So many rows of prose do not have the same number of commas by chance."""
_NAMES: Final = {",": "a comma", "\t": "a tab", ";": "a semicolon", "|": "a pipe"}
_ENDS: Final = r"\r\n|\r|\n|\Z"


@attrs.frozen(kw_only=True)
class Reading:
    """A sample as it reads in one dialect."""

    dialect: Dialect
    rows: list[list[str]]
    """Whole rows, without blank lines; up to the first that the dialect cannot read."""
    is_broken: bool
    """Whether there is one."""
    quoted: int = 0
    """Cells in quotes."""
    told: int = 0
    """Of them those that could not stand without."""
    bare: int = 0
    """Texts without quotes that are no numbers; not those of a first row that has no quotes, as a header has none."""
    leftover: int = 0
    """Quotes outside of quoted cells, which a writer of this dialect never leaves."""
    stray: int = 0
    """Escapes before what needs none."""
    cuts: int = 0
    """Delimiters outside of quotes."""
    prose_cuts: int = 0
    """Of them those that read like punctuation: a blank follows, or digits stand around a comma."""
    doubt: str = ""
    """Why it may be read otherwise just as well."""

    @property
    def usual(self) -> tuple[int, float]:
        """The cells of most rows, and the share of the rows that have so many."""
        widths = Counter(map(len, self.rows))
        width, count = widths.most_common(1)[0] if widths else (1, 0)
        return width, count / len(self.rows) if self.rows else 1.0

    @property
    def is_even(self) -> bool:
        """Whether it reads to its end, each row as wide as the others."""
        return not self.is_broken and self.usual[1] == 1

    @property
    def is_prose(self) -> bool:
        """Whether each delimiter could be punctuation."""
        return self.cuts == self.prose_cuts

    @property
    def is_torn(self) -> bool:
        """Whether a line ends between quotes of which others say that they are text: they may belong to two lines."""
        return self.leftover > 0 and any("\n" in cell or "\r" in cell for row in self.rows for cell in row)

    @property
    def is_table(self) -> bool:
        """Whether it has columns."""
        return self.is_even and self.usual[0] > 1


def sniff(sample: str, *, is_whole: bool, header_words: frozenset[str]) -> Dialect | None:
    """Tell the dialect of a sample; None where it holds no whole row.

    Args:
        sample: The file's beginning; it ends with a line.
        is_whole: Whether nothing follows.
        header_words: A first row of these alone is a header, and tells how many columns there are.

    Raises:
        InvalidData: It reads well in several ways; the message says how to name the right one.
    """
    readings = [_quoted_best(sample, delimiter, is_whole=is_whole) for delimiter in DELIMITERS]
    if not is_whole and not any(reading.rows for reading in readings):
        return None
    headed = [one for one in readings if one.rows and header_words.issuperset(map(_plain, one.rows[0]))]
    wide = [one for one in headed if len(one.rows[0]) > 1]
    tables = wide or _likely(readings)
    if not tables or (headed and not wide):
        single = _quoted_best(sample, NO_DELIMITER, is_whole=is_whole)
        found = single if headed else _column(readings, single)
    elif len(tables) == 1:
        found = tables[0]
    else:
        first, second = (_NAMES[one.dialect.delimiter] for one in tables[:2])
        raise InvalidData(
            f"{first} and {second} both cut each of its rows alike, so the delimiter is not told. {name_it()}"
        )
    if found.doubt:
        raise InvalidData(found.doubt)
    if found.is_torn:
        raise InvalidData(
            f"quotes in it stand around lines, and in texts without being doubled. {without_quotes(found.dialect)}"
        )
    if found.is_table and found.is_prose and not headed and not found.quoted and len(found.rows) < SURE_ROWS:
        raise InvalidData(
            f"{_NAMES[found.dialect.delimiter]} with a blank after it may be the delimiter of its few rows, or a mark "
            f"in them. Write it without the blank, or give the file a header, or: {name_it(found.dialect.delimiter)}"
        )
    return found.dialect


def _likely(readings: Sequence[Reading]) -> list[Reading]:
    """Give the tables among them that no other is better than: with less leftover, in quotes, cut by no punctuation."""
    tables = [one for one in readings if one.is_table and not one.is_torn]
    clean = [one for one in tables if not one.leftover]
    if not clean and any(one.is_even and one.quoted and not one.leftover for one in readings):
        return []  # all of a row stands in quotes
    tables = clean or tables
    tables = [one for one in tables if one.quoted] or tables
    better = [one for one in tables if not one.is_prose]
    if len(better) == 1 and len(better[0].rows) < SURE_ROWS and better[0].dialect.delimiter == ";":
        return tables  # in few rows, one of a text; other delimiters are rarer there, or nobody puts a blank after them
    return better or tables


def name_it(delimiter: str = ";") -> str:
    """Say how to name a dialect."""
    return f"Name the dialect: CSVOptions(dialect={{'delimiter': {delimiter!r}}})"


def without_quotes(dialect: Dialect) -> str:
    """Say how to name a dialect without quotes."""
    return f"Where they are text: CSVOptions(dialect={{'delimiter': {dialect.delimiter!r}, 'quotechar': None}})"


def _plain(cell: str) -> str:
    return cell.strip().lower()


def _column(readings: Sequence[Reading], single: Reading) -> Reading:
    """Choose where no delimiter cuts every row alike: one column, unless a table seems to be broken."""
    absent = [one for one in readings if one.is_even and not one.cuts]
    for one in absent:
        if any(one.dialect.delimiter in row[0] for row in one.rows):
            return one  # in quotes, or escaped: why else would it be
    if ragged := [one for one in readings if one.is_broken or (one.cuts and not (one.is_prose and one.usual[0] == 1))]:
        return max(ragged, key=lambda one: (one.usual[0] > 1, one.usual[1]))  # reading it says where it is broken
    return readings[0] if len(absent) == len(readings) else single


def _quoted_best(sample: str, delimiter: str, *, is_whole: bool) -> Reading:
    """Choose, for a delimiter, what quotes are and how a quote stands in a text."""
    usual = _escaped_best(sample, Dialect(delimiter=delimiter), is_whole=is_whole)
    if "\\'" not in sample and not _begins_with(sample, usual.dialect, " *'"):
        return usual
    other = _escaped_best(sample, Dialect(delimiter=delimiter, quotechar="'"), is_whole=is_whole)
    is_clean = other.is_even and not other.leftover and (other.quoted > 0 or other.dialect.escapechar is not None)
    if not is_clean or (usual.quoted and usual.is_even):
        return usual  # an apostrophe of English
    if not other.bare or _holds_quotes(other) or (other.is_table and not usual.is_even):
        return other
    if not other.told:
        return usual
    return attrs.evolve(
        usual if usual.is_even else other,
        doubt="single quotes at the ends of its cells may be text, or enclose the cells. Name the dialect: "
        f"CSVOptions(dialect={{'delimiter': {delimiter!r}, 'quotechar': \"'\"}}), or with '\"' where they are text",
    )


def _escaped_best(sample: str, dialect: Dialect, *, is_whole: bool) -> Reading:
    """Choose whether backslashes are text or escapes."""
    doubled = _spaced_best(sample, dialect, is_whole=is_whole)
    if not re.search(rf"\\[\\{re.escape(dialect.delimiter)}{dialect.quotechar}\r\n]", sample):
        return doubled
    escaped = _spaced_best(sample, attrs.evolve(dialect, doublequote=False, escapechar="\\"), is_whole=is_whole)
    if not escaped.is_even or escaped.stray or escaped.leftover > doubled.leftover or doubled.rows == escaped.rows:
        return doubled
    if not doubled.is_even or escaped.leftover < doubled.leftover:
        return escaped
    return attrs.evolve(
        doubled,
        doubt="each backslash in it stands before a quote, a delimiter or another, so they may be text, or escapes. "
        f"Name the dialect: CSVOptions(dialect={{'delimiter': {dialect.delimiter!r}, 'escapechar': '\\\\', "
        "'doublequote': False}), or without the last two where they are text",
    )


def _spaced_best(sample: str, dialect: Dialect, *, is_whole: bool) -> Reading:
    """Choose whether a blank before a quote belongs to nothing."""
    if _begins_with(sample, dialect, f" +{dialect.quotechar}"):
        skipping = _read(sample, attrs.evolve(dialect, skipinitialspace=True), is_whole=is_whole)
        if skipping.is_even:
            return skipping
    return _read(sample, dialect, is_whole=is_whole)


def _begins_with(sample: str, dialect: Dialect, pattern: str) -> bool:
    """Whether a cell may begin so."""
    return re.search(rf"(?:\A|[{re.escape(dialect.delimiter)}\r\n]){pattern}", sample) is not None


def _holds_quotes(reading: Reading) -> bool:
    """Whether quotes stand in quoted cells."""
    return any(str(reading.dialect.quotechar) in cell for row in reading.rows for cell in row)


def _read(sample: str, dialect: Dialect, *, is_whole: bool) -> Reading:
    """Cut a sample into rows, counting what speaks for the dialect and against it."""
    rows: list[list[str]] = []
    row: list[str] = []
    quoted = told = bare = leftover = stray = cuts = prose_cuts = 0
    is_broken = False
    quote, escape, delimiter = dialect.quotechar or "", dialect.escapechar, dialect.delimiter
    special = f"{quote}{delimiter}\\\r\n"
    for cell, is_quoted, begun, end in _cells(sample, dialect):
        if end is None:
            # A sample may end in the midst of a quoted cell; an apostrophe may open one that nothing closes.
            is_broken = is_whole or not is_quoted or (quote == "'" and begun < len(sample) / 2)
            break
        if not is_whole and end == "":
            break
        plain = cell
        if escape:
            stray += sum(mark[1] not in special for mark in re.findall(r"\\.", cell, re.DOTALL))
            plain = re.sub(r"\\(.)", r"\1", cell, flags=re.DOTALL)
        elif is_quoted:
            plain = cell.replace(quote * 2, quote)
        quoted += is_quoted
        told += is_quoted and any(mark in plain for mark in (quote, delimiter, "\r", "\n"))
        if not is_quoted:
            leftover += (re.sub(r"\\.", "", cell, flags=re.DOTALL) if escape else cell).count(quote)
            bare += re.fullmatch(r"\s*[-+.\d]*\s*", cell) is None
        row.append(plain)
        if end == delimiter:
            cuts += 1
            prose_cuts += _is_punctuation(sample, begun, delimiter)
        else:
            if row != [""]:
                rows.append(row)
                bare *= len(rows) > 1 or quoted > 0
            row = []
    return Reading(
        dialect=dialect,
        rows=rows,
        is_broken=is_broken,
        quoted=quoted,
        told=told,
        bare=bare,
        leftover=leftover,
        stray=stray,
        cuts=cuts,
        prose_cuts=prose_cuts,
    )


def _is_punctuation(sample: str, after: int, delimiter: str) -> bool:
    """Whether the delimiter that ends at a place reads like one of prose; a backslash begins an escaped quote."""
    behind = sample[after : after + 1]
    return behind in {" ", "\r", "\n", "", "\\"} or (
        delimiter == "," and behind.isdigit() and sample[after - 2 : after - 1].isdigit()
    )


def _cells(sample: str, dialect: Dialect) -> Iterator[tuple[str, bool, int, str | None]]:
    """Give each cell as it is written, whether it is in quotes, where the next begins, and what ends it.

    None ends a cell that is not closed (in quotes), or has text after its quote (not in quotes); it is the last one.
    """
    delimiter, quote = re.escape(dialect.delimiter), dialect.quotechar or ""
    blanks = " *+" if dialect.skipinitialspace else ""
    if dialect.escapechar:
        inside, outside = rf"(?:[^{quote}\\]|\\.)*+", rf"(?:[^{delimiter}\\\r\n]|\\.)*+"
    else:
        inside, outside = rf"[^{quote}]*+(?:{quote}{quote}[^{quote}]*+)*+", rf"[^{delimiter}\r\n]*+"
    cell = re.compile(
        rf"{blanks}(?:{quote}(?P<inside>{inside}){quote}|(?!{quote})(?P<outside>{outside}))"
        rf"(?P<end>{delimiter}|{_ENDS})",
        re.DOTALL,
    )
    opened = re.compile(rf"{blanks}{quote}{inside}\Z", re.DOTALL)
    place = 0
    while place < len(sample):
        found = cell.match(sample, place)
        if found is None:
            yield "", opened.match(sample, place) is not None, place, None
            return
        text = found["inside"]
        place = found.end()
        yield (found["outside"] if text is None else text), text is not None, place, found["end"]
        if found["end"] == "":
            return
    if sample.endswith(dialect.delimiter):
        yield "", False, place, ""

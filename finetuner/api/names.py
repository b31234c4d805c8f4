"""Names of runs, experiments and data sets: checked, quoted and made up in this one place."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import quote

from finetuner.errors import InvalidName

DEFAULT_EXPERIMENT: Final = "default"
NAME_PATTERN: Final = r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}"
_NAME: Final = re.compile(NAME_PATTERN)
_ID: Final = re.compile(r"[0-9a-f]{24}")

_ADJECTIVES: Final = (
    "admiring agile amber ancient ardent balanced bold brave bright brisk calm candid careful cheerful clever "
    "cobalt curious daring dazzling deft eager earnest elated elegant epic fearless festive focused frosty "
    "gallant gentle golden gracious happy hardy hopeful humble inspired intrepid jolly jovial keen kind lively "
    "loyal lucid magical mellow merry modest nifty nimble noble optimistic patient peaceful pensive playful "
    "polite proud quick quiet quirky radiant relaxed resolute rustic serene sharp silent silver sleek smooth "
    "steady stoic sunny swift tender thirsty tranquil trusting upbeat vibrant vigilant vivid warm wise witty "
    "wonderful youthful zealous zen"
).split()
_SURNAMES: Final = (
    "agnesi albattani almeida archimedes ardinghelli aryabhata austin babbage banach bardeen bartik bassi bell "
    "bhabha blackwell bohr booth borg bose boyd brattain cannon carson cartwright chandrasekhar clarke colden "
    "cori cray curie curran darwin davinci dijkstra dirac easley edison einstein elion engelbart euclid euler "
    "faraday fermat fermi feynman franklin galileo galois gauss germain goldberg golick goodall haibt hamilton "
    "hawking heisenberg heyrovsky hodgkin hopper hugle hypatia jang jemison jennings johnson joliot jones "
    "kalam kare keller kepler khorana kilby kirch knuth kowalevski lalande lamarr lamport leakey leavitt "
    "lewin lichterman liskov lovelace lumiere mahavira mayer mccarthy mcclintock mclean meitner mendel "
    "mendeleev mestorf minsky mirzakhani morse murdock nash neumann newton nightingale nobel noether noyce "
    "panini pare pasteur payne perlman pike poincare poitras ptolemy raman ramanujan ride ritchie roentgen "
    "rosalind saha sammet shannon shaw shirley shockley sinoussi snyder spence stallman stonebraker swanson "
    "swartz swirles tereshkova tesla thompson torvalds turing varahamihira visvesvaraya volhard wescoff wiles "
    "williams wing wozniak wright yalow yonath"
).split()
MEMORABLE_NAMES: Final = len(_ADJECTIVES) * len(_SURNAMES)


def check_name(name: object, what: str = "run") -> str:
    """Give the name back if a run, experiment or data set can have it.

    Args:
        name: The candidate.
        what: What it names, for the message.

    Raises:
        InvalidName: It is empty, too long, or holds a character that names cannot have.
    """
    if not isinstance(name, str):
        raise InvalidName(f"the {what} name must be a string, not {type(name).__name__}")
    if not name:
        raise InvalidName(f"the {what} name is empty; leave it out (None) or give one")
    if not _NAME.fullmatch(name):
        raise InvalidName(
            f"{_shown(name)} cannot be {_article(what)} {what} name: it must have 1 to 128 characters, start with a "
            "letter or a digit, and go on with letters, digits, '.', '_' or '-' (all ASCII)"
        )
    return name


def _shown(name: str) -> str:
    return repr(name if len(name) <= 80 else f"{name[:77]}...")


def check_experiment_name(name: object) -> str:
    """Give an experiment's name back if one can have it; None becomes `default`."""
    return DEFAULT_EXPERIMENT if name is None else check_name(name, "experiment")


def safe_name(text: str, fallback: str = "data") -> str:
    """Make a valid name out of any text, such as a file's stem; at most 100 characters."""
    kept = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._")[:100]
    return kept or fallback


def is_id(text: str) -> bool:
    """Whether a text has the form of a run's or an artifact's id (24 hexadecimal digits)."""
    return _ID.fullmatch(text) is not None


def path_segment(text: str) -> str:
    """Quote one segment of a URL's path; refuses the empty one, which would name the collection.

    Raises:
        InvalidName: The segment is empty or a dot segment.
    """
    if text in {"", ".", ".."}:
        raise InvalidName(f"{text!r} cannot stand in a path")
    return quote(text, safe="")


def memorable_name(number: int) -> str:
    """Give the memorable name of a number, such as `vigilant-tereshkova`.

    Consecutive numbers give unrelated names; `MEMORABLE_NAMES` of them differ.
    """
    spread = number * 7919 % MEMORABLE_NAMES
    first, second = divmod(spread, len(_SURNAMES))
    return f"{_ADJECTIVES[first]}-{_SURNAMES[second]}"


def near_names(name: str, known: Iterable[str], count: int = 3) -> list[str]:
    """Give the known names most like a wrong one, best first: case aside, and by the initials of their words too."""
    folded: dict[str, str] = {}
    for one in known:
        folded.setdefault(one.casefold(), one)
    near = [folded[one] for one in difflib.get_close_matches(name.casefold(), list(folded), n=count, cutoff=0.6)]
    shortened = [one for one in folded.values() if len(name) > 1 and _initials(one) == name.upper()]
    return list(dict.fromkeys([*shortened, *near]))[:count]


def _initials(name: str) -> str:
    return "".join(letter for letter in name if letter.isupper())


def near_hint(name: str, known: Iterable[str]) -> str:
    """Give a sentence that names what was probably meant, or nothing."""
    near = near_names(name, known)
    return f" Near: {', '.join(repr(one) for one in near)}." if near else ""


def _article(word: str) -> str:
    return "an" if word[:1] in "aeiou" else "a"

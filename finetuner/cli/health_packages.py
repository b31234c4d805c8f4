"""Whether Python and the packages are what this version needs, and what it was tested with."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata, resources
from pathlib import Path
from typing import Any, Final

import attrs

from finetuner.api.embedded import is_newer, source_root
from finetuner.api.words import count
from finetuner.cli.finding import Finding

MIN_PYTHON: Final = (3, 11)
TORCH_TIMEOUT_S: Final = 120.0
"""A cold disk takes its time over torch."""
EXTRAS: Final[Mapping[str, str]] = {
    "local": "to train on this machine and to load models",
    "demo": "for `finetuner demo` and for all-minilm-l6-v2 without the hub",
}
_REQUIREMENT: Final = re.compile(
    r"(?P<name>[A-Za-z0-9._-]+)\s*(?:>=(?P<minimum>[^;,\s]+))?[^;]*(?:;\s*extra == '(?P<extra>[\w-]+)')?"
)
_ASK_TORCH: Final = """
import json, torch
gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
print(json.dumps({"version": torch.__version__, "cuda": torch.version.cuda, "gpus": gpus}))
"""


@attrs.frozen(kw_only=True)
class Requirement:
    """A package that this one needs."""

    name: str
    minimum: str | None
    extra: str | None
    """Of this extra; None: always."""
    installed: str | None


def packages() -> Iterator[Finding]:
    """Look at Python, finetuner itself, its packages by extra, and torch."""
    yield _python()
    needed = requirements()
    yield _itself(is_installed=needed is not None)
    if needed is None:
        return
    tested = tested_versions()
    yield _base([one for one in needed if one.extra is None], tested)
    for extra, purpose in EXTRAS.items():
        yield _extra(extra, purpose, [one for one in needed if one.extra == extra], tested)
    if any(one.name == "torch" and one.installed for one in needed):
        yield _torch()


def _python() -> Finding:
    shown = f"{platform.python_version()} on {platform.system()} {platform.machine()}, {count(_cores(), 'core')}"
    if sys.version_info < MIN_PYTHON:
        return Finding(name="python", state="broken", message=shown, hint="Python 3.11 or newer is needed.")
    return Finding(name="python", state="ok", message=f"{shown} ({sys.executable})")


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _itself(*, is_installed: bool) -> Finding:
    where = Path(__file__).parents[1]
    if not is_installed:
        return Finding(
            name="finetuner",
            state="warning",
            message=f"run from its source, not installed ({where})",
            hint='What it needs is not known: pip install -c constraints.txt "[local,demo]" in that folder.',
        )
    return Finding(name="finetuner", state="ok", message=f"{metadata.version('finetuner')} ({where})")


def requirements() -> list[Requirement] | None:
    """Give what the installed package says it needs; None where it is not installed."""
    try:
        lines = metadata.requires("finetuner") or []
    except metadata.PackageNotFoundError:
        return None
    found = [match for line in lines if (match := _REQUIREMENT.match(line))]
    return [
        Requirement(name=one["name"], minimum=one["minimum"], extra=one["extra"], installed=_installed(one["name"]))
        for one in found
    ]


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def tested_versions() -> dict[str, str]:
    """Give the version of each package that this version was tested with, by normal names; empty where not known."""
    root = source_root()
    places = [resources.files("finetuner") / "constraints.txt", *([Path(root) / "constraints.txt"] if root else [])]
    for place in places:
        if place.is_file():
            pins = re.findall(r"^([\w.-]+)==(\S+)", place.read_text(encoding="utf-8"), re.MULTILINE)
            return {_normal(name): version for name, version in pins}
    return {}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _base(needed: Sequence[Requirement], tested: Mapping[str, str]) -> Finding:
    missing = [one.name for one in needed if one.installed is None]
    if missing:
        return Finding(
            name="packages",
            state="broken",
            message=f"missing: {', '.join(missing)}",
            hint="Install finetuner again: pip install --force-reinstall finetuner",
        )
    return _versions("packages", needed, tested)


def _extra(extra: str, purpose: str, needed: Sequence[Requirement], tested: Mapping[str, str]) -> Finding:
    missing = [one.name for one in needed if one.installed is None]
    if missing:
        return Finding(
            name=extra,
            state="warning",
            message=f"missing: {', '.join(missing)}",
            hint=f'Needed {purpose}: pip install "finetuner[{extra}]"',
        )
    return _versions(extra, needed, tested)


def _versions(name: str, needed: Sequence[Requirement], tested: Mapping[str, str]) -> Finding:
    """Say whether the versions are new enough, and which of them are not the tested ones."""
    old = [one for one in needed if one.minimum and one.installed and is_newer(one.minimum, one.installed)]
    if old:
        shown = ", ".join(f"{one.name} {one.installed} (needs {one.minimum})" for one in old)
        return Finding(
            name=name,
            state="broken",
            message=f"too old: {shown}",
            hint="pip install --upgrade " + " ".join(f'"{one.name}>={one.minimum}"' for one in old),
        )
    other = [
        f"{one.name} {version} (tested: {pin})"
        for one in needed
        if one.installed
        and (version := one.installed.split("+")[0])
        and (pin := tested.get(_normal(one.name))) is not None
        and version != pin
    ]
    if other:
        return Finding(
            name=name,
            state="warning",
            message=f"not the tested versions: {', '.join(other)}",
            hint="They may work; `pip install -c constraints.txt` gives the tested ones.",
        )
    return Finding(name=name, state="ok", message=f"{count(len(needed), 'package')}" + (", as tested" * bool(tested)))


def _torch() -> Finding:
    """Ask torch in a process of its own: one that crashes takes nobody along."""
    try:
        asked = subprocess.run(
            [sys.executable, "-c", _ASK_TORCH], capture_output=True, text=True, check=False, timeout=TORCH_TIMEOUT_S
        )
        said: dict[str, Any] = json.loads(asked.stdout.splitlines()[-1])
    except subprocess.TimeoutExpired:
        return Finding(name="torch", state="broken", message=f"its import took more than {TORCH_TIMEOUT_S:.0f} s")
    except (ValueError, IndexError):
        lines = asked.stderr.strip().splitlines()
        why = lines[-1] if lines else f"exit code {asked.returncode}"
        return Finding(
            name="torch", state="broken", message=f"it cannot be imported: {why}", hint="Install torch again."
        )
    if said["gpus"]:
        gpus = f"{count(len(said['gpus']), 'GPU')}: {', '.join(said['gpus'])}"
        return Finding(name="torch", state="ok", message=f"{said['version']}, {gpus}")
    why = "a build for CPUs" if said["cuda"] is None else f"CUDA {said['cuda']}, and no GPU that it can use"
    return Finding(name="torch", state="ok", message=f"{said['version']}, {why}: runs use the CPU")

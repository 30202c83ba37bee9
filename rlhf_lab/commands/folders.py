"""Where the folders of YAML lie, and what is in them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def folder(name: str) -> Path:
    """Where `conf` or `sweeps` is: inside the package in a wheel, beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    return next(p for p in (package / name, package.parent / name) if p.is_dir())


def options(group: str, folders: Sequence[Path]) -> list[str]:
    """The options of a config group, sizes first and smallest first."""
    names = {path.stem for root in folders for path in (root / group).glob("*.yaml")}
    return sorted(names, key=lambda name: (not name[0].isdigit(), len(name), name))

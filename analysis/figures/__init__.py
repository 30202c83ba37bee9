"""One module per figure: NAME, SWEEPS (the sweeps it reads; () if it is computed) and make(runs) -> Plate.

A package outside this one adds figures by an entry point of group `rlhf_lab.figures`: a name and a module.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

GROUP = "rlhf_lab.figures"


@dataclass(frozen=True)
class Entry:
    """A figure that there is, not imported yet."""

    summary: (
        str  # the first line of its docstring; where it comes from if that is not known without importing it
    )
    load: Callable[[], ModuleType]


def available() -> dict[str, Entry]:
    """Name -> figure: those of this package, then those that installed packages add."""
    found = {}
    for path in sorted(Path(__file__).parent.glob("[!_]*.py")):
        found[path.stem] = Entry(_summary(path), _importer(f"{__name__}.{path.stem}"))
    for entry in entry_points(group=GROUP):
        found[entry.name] = Entry(f"from {entry.value}", entry.load)
    return found


def _importer(module: str) -> Callable[[], ModuleType]:
    return lambda: import_module(module)


def _summary(path: Path) -> str:
    """The first line of a module's docstring, without running it: importing all figures takes a second."""
    return (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n")[0]

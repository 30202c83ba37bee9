"""One module per figure: NAME, SWEEPS (the sweeps it reads; () if it is computed) and make(runs) -> FigureResult.

A package outside this one adds figures by an entry point of group `rlhf_lab.figures`: a name and a module.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from tokenize import COMMENT, ENCODING, NL, STRING, tokenize
from types import ModuleType

GROUP = "rlhf_lab.figures"
PREFACE = (ENCODING, COMMENT, NL)  # what may stand before a docstring


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
    """The first line of a module's docstring, which comes first in the file. Importing all figures takes a second, and
    parsing them a quarter of one.
    """
    with path.open("rb") as file:
        words = next((one for one in tokenize(file.readline) if one.type not in PREFACE), None)
    told = ast.literal_eval(words.string) if words and words.type == STRING else ""
    return told.partition("\n")[0]

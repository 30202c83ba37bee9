"""One module for each figure. A new figure touches three places: the module, its thresholds and its sweep.

A module `analysis/figures/NAME.py` begins with a docstring, whose first line is the figure's title, and has

* `NAME`, and `SWEEPS`, the names of the sweeps in sweeps/ whose runs it reads (`()` for a figure that is computed);
* `make(runs) -> FigureResult(table, fits, claims, figure, notes)`. It sorts the runs into arms, `data = study(runs)`
  (an arm is the replicates of one setting), and raises `MissingRuns` with what is needed where runs are missing.

**Tables.** `points_table(data)` has the plotted curves. Each row of `fits` is `estimate_row(arm, form, parameter,
estimate, unit=...)`, both from `analysis.runs.tables`; an estimate is `Estimate.of(draws)`, with draws (B, R) of B
bootstrap draws and R replicates, or a `Bootstrapped`.

**Claims.** Thresholds stand in `analysis/claims/NAME.toml`, a table for each claim, and are fixed before the runs.
`claims = ClaimTable(NAME, unit)` reads them; each function `claim_...(claims, ...)` calls the method of its rule,
`claims.above`, `all_above`, `below` or `equivalent`, with key, subject, sentence, estimate, n and topic; `claim_order`
is for rank correlations. A sentence goes on: "gold falls from its peak" becomes "... by more than 0.1".

**Drawing.** `theme` has sizes, colours and scales; `plot` has `curve` (a mean with its band, replicates faint),
`peak`, `intervals` (points with whiskers), `forest` (a panel of intervals) and `legend`, which is never cut off.

`par2025` is the shortest example; `coste2023_fig7` has claims and panels of its own. Other packages add figures by an
entry point of the group `rlhf_lab.figures`: a name and a module.
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
    """A figure that can be drawn, not imported yet."""

    summary: str  # the first line of its docstring, or for another package's figure where it comes from
    load: Callable[[], ModuleType]


def available() -> dict[str, Entry]:
    """Return the figures by name: those of this package, then those that installed packages add."""
    figures = {}
    for path in sorted(Path(__file__).parent.glob("[!_]*.py")):
        figures[path.stem] = Entry(_summary(path), _importer(f"{__name__}.{path.stem}"))
    for entry in entry_points(group=GROUP):
        figures[entry.name] = Entry(f"from {entry.value}", entry.load)
    return figures


def _importer(module: str) -> Callable[[], ModuleType]:
    return lambda: import_module(module)


def _summary(path: Path) -> str:
    """Return the first line of a module's docstring, which comes first in the file.

    Importing all figures takes a second, and parsing them a quarter of one.
    """
    with path.open("rb") as file:
        first = next((token for token in tokenize(file.readline) if token.type not in PREFACE), None)
    docstring = ast.literal_eval(first.string) if first and first.type == STRING else ""
    return docstring.partition("\n")[0]

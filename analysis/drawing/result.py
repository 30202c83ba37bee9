"""What a figure module makes, and the files it is written to."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from analysis.statistics.claims import Claim, controlled

DIGITS = "%.6g"
DPI = 200


@dataclass(frozen=True)
class FigureResult:
    """A figure with the numbers that it shows and the claims that they decide."""

    table: pd.DataFrame  # the plotted numbers, tidy
    fits: pd.DataFrame  # parameter, estimate, lo, hi, n, replicates, form, rmse, ...; may be empty
    claims: list[Claim]
    figure: Figure
    notes: list[str] = field(default_factory=list)  # what a reader must know beside the claims; printed

    def __post_init__(self) -> None:
        """Control the false discoveries among the exploratory claims."""
        object.__setattr__(self, "claims", controlled(self.claims))


def write(result: FigureResult, name: str, out: Path, claimed: bool = True) -> list[Path]:
    """Write NAME.png, .pdf, .csv, .fits.csv and .claims.json into `out`, and return their paths.

    All files are written in a scratch folder first. Then the claims of an earlier drawing are removed, the files are
    renamed into place, and the claims come last. So claims always belong to the files beside them, also after a kill.
    Where nothing is `claimed`, there are none.
    """
    out.mkdir(parents=True, exist_ok=True)
    names = [f"{name}{ending}" for ending in (".png", ".pdf", ".csv", ".fits.csv", ".claims.json")]
    with tempfile.TemporaryDirectory(prefix=f".{name}.", dir=out) as scratch:
        written = [Path(scratch, name) for name in names]
        _fill(result, name, *written)
        (out / names[-1]).unlink(missing_ok=True)
        for path in written if claimed else written[:-1]:
            os.replace(path, out / path.name)
    return [out / path for path in (names if claimed else names[:-1])]


def _fill(result: FigureResult, name: str, png: Path, pdf: Path, csv: Path, fits: Path, claims: Path) -> None:
    """Write the files of a figure to these paths."""
    if (layout := result.figure.get_layout_engine()) is not None:
        layout.execute(result.figure)
        result.figure.set_layout_engine(None)  # laid out once, not twice at every drawing
    result.figure.savefig(png, dpi=DPI)
    result.figure.savefig(pdf, metadata={"CreationDate": None})  # the same records give the same file
    for table, path in ((result.table, csv), (result.fits, fits)):
        named = table.copy()
        named.insert(0, "figure", name)
        named.to_csv(path, index=False, float_format=DIGITS)
    claims.write_text(json.dumps([claim.as_json() for claim in result.claims], indent=1) + "\n")

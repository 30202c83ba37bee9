"""Controls in panels of gold over KL: each kind has one look, which no reward model has."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from analysis.drawing import plot, theme
from analysis.runs.kinds import (
    MAIN,
    NOISE,
    ORACLE,
    TEMPERATURE,
    UNTRAINED,
    VISIBLE,
    WEIGHT_NOISE,
    WITHOUT_REWARD_MODEL,
)

LOOKS: dict[str, tuple[str, str, Any]] = {  # kind -> name in a legend, colour, style
    ORACLE: ("trained on gold itself (oracle)", "0.1", theme.TOLD_GOLD),
    VISIBLE: ("on parts of gold that a reader sees", "#b8860b", theme.TOLD_GOLD),
    NOISE: ("on i.i.d. noise", "#7a4e2d", "-"),
    WEIGHT_NOISE: ("noise on the weights", "#7a4e2d", theme.DOTTED),
    TEMPERATURE: ("lower temperature", "#e377c2", "-"),
}
DRAWN = WITHOUT_REWARD_MODEL  # coin flips are reward models, and are drawn among them


def methods(table: pd.DataFrame) -> list[str]:
    """Return the methods of a table of points that have a panel; a control without any reward has none."""
    return list(dict.fromkeys(table.loc[~table["arm"].isin(UNTRAINED), "method"])) or list(
        dict.fromkeys(table["method"])
    )


def of(table: pd.DataFrame, method: str) -> pd.DataFrame:
    """Return the rows of the controls of a method: those trained by it, and those that no reward trained."""
    own = (table["method"] == method) & table["arm"].isin(DRAWN)
    return table[own | table["arm"].isin(UNTRAINED)]


def draw(panel: Axes, rows: pd.DataFrame) -> None:
    """Draw mean gold of each control with a pale band; two replicates have one so wide that it hides the rest."""
    for (_, _, kind), arm in rows.groupby(["method", "label", "arm"], sort=False):
        _, colour, style = LOOKS[str(kind)]
        mean = arm[arm["curve"] == "mean"]
        band = 0.0 if (mean["replicates"] == 2).all() else 0.07
        plot.curve(panel, mean.assign(replicates=1), "gold", colour, style=style, width=1.3, band=band)


def keys(table: pd.DataFrame) -> list[Line2D]:
    """Return the entries of a legend for the controls in a table of points."""
    return [
        theme.key(name, colour, linestyle=style, linewidth=1.3)
        for kind, (name, colour, style) in LOOKS.items()
        if (table["arm"] == kind).any()
    ]


def with_oracle(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table of points with the column `oracle_ahead`: gold of the method's oracle at equal KL minus gold.

    It is in rows of means of reward-model arms, in SDs of gold, linear in d between the oracle's checkpoints, and NaN
    beyond them. Without an oracle there is no such column.
    """
    mean = table["curve"] == "mean"
    if not (table["arm"] == ORACLE).any():
        return table
    ahead = pd.Series(np.nan, index=table.index)
    for method, rows in table[mean & (table["arm"] == MAIN)].groupby("method"):
        oracle = table[mean & (table["arm"] == ORACLE) & (table["method"] == method)]
        if oracle["label"].nunique() == 1:
            d = np.maximum.accumulate(oracle["d"].to_numpy())
            ahead[rows.index] = np.interp(rows["d"], d, oracle["gold"], right=np.nan) - rows["gold"]
    return table.assign(oracle_ahead=ahead)

"""How figures look: sizes, fonts, colours, and the square-root scale of KL. Imported only where something is
drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

WIDTH = 7.2  # inches: the text of a two-column paper
GREY, ORANGE = "0.55", "#d1495b"
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.labelsize": 8,
    "axes.linewidth": 0.6,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "lines.solid_capstyle": "round",
    "svg.hashsalt": "rlhf_lab",
}
ROUND_NATS = (
    0.1,
    0.25,
    0.5,
    1,
    2,
    3,
    4,
    5,
    6,
    8,
    10,
    15,
    20,
    30,
    40,
    60,
    80,
    100,
    150,
    200,
    300,
    400,
    600,
    800,
)
LEAST_GAP = 0.075  # between two labels, as a share of the axis


def blank(width: float, height: float) -> Figure:
    """A figure of that many inches without axes, off screen."""
    matplotlib.use("Agg")
    matplotlib.rcParams.update(STYLE)
    return Figure(figsize=(width, height), layout="constrained")


def panels(count: int, height: float = 3.6) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels side by side with one y-axis, off screen."""
    figure = blank(WIDTH if count > 1 else WIDTH * 0.6, height)
    axes = figure.subplots(1, count, sharey=True, squeeze=False)[0]
    return figure, list(axes)


def sizes(count: int) -> list[tuple[float, float, float, float]]:
    """`count` colours of viridis, dark to light, short of the yellow that paper swallows."""
    return [tuple(colour) for colour in matplotlib.colormaps["viridis"](np.linspace(0.0, 0.8, max(count, 1)))]


def square_root_nats(axes: Axes, largest: float, gap: float = LEAST_GAP) -> None:
    """Give `axes` an x-axis in nats on a square-root scale from 0 to `largest`, labels at least `gap` of it apart."""
    axes.set_xscale("function", functions=(lambda x: np.sqrt(np.maximum(x, 0)), np.square))
    axes.set_xlim(0, largest * 1.03)
    axes.xaxis.set_major_locator(FixedLocator(_spaced([0, *ROUND_NATS], largest, gap)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.xaxis.set_minor_locator(NullLocator())


def _spaced(candidates: Sequence[float], largest: float, gap: float) -> list[float]:
    """Those of `candidates` up to `largest` whose labels keep clear of each other on the square-root
    scale.
    """
    kept: list[float] = []
    for nats in candidates:
        if nats <= largest and (not kept or np.sqrt(nats / largest) - np.sqrt(kept[-1] / largest) >= gap):
            kept.append(nats)
    return kept

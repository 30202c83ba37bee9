"""How figures look: sizes, fonts, colours, and the square-root scale of KL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from matplotlib.typing import ColorType

WIDTH = 7.2  # inches: the text of a two-column paper
GREY, ORANGE = "0.55", "#d1495b"
DASHED, DOTTED = (0, (4, 2)), (0, (1, 1.4))
TOLD_GOLD = (0, (5, 1, 1, 1))  # of what was told gold
WARM = ("#d1495b", "#e08e45", "#9c6aa8", "#6b7f3a", "#a6611a")  # beside viridis
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
    """Return a figure of that many inches without axes, off screen."""
    matplotlib.use("Agg")
    matplotlib.rcParams.update(STYLE)
    return Figure(figsize=(width, height), layout="constrained")


def panels(
    count: int, height: float = 3.6, sharey: bool = True, widths: Sequence[float] | None = None
) -> tuple[Figure, list[Axes]]:
    """Return a figure of `count` panels side by side; by default they share a y-axis and have one width."""
    figure = blank(WIDTH if count > 1 else WIDTH * 0.6, height)
    axes = figure.subplots(1, count, sharey=sharey, squeeze=False, width_ratios=widths)[0]
    return figure, list(axes)


def mark(axes: Axes, x: float, y: float, colour: ColorType, marker: str = "o") -> None:
    """Draw one point that stands out of its curve."""
    axes.plot(
        x,
        y,
        marker=marker,
        color=colour,
        markersize=4,
        markeredgecolor="white",
        markeredgewidth=0.6,
        zorder=5,
    )


def share_limits(axes: Sequence[Axes]) -> None:
    """Give panels that were drawn one x-range and one y-range; only the first y-axis keeps its numbers."""
    for get, set_ in (("get_xlim", "set_xlim"), ("get_ylim", "set_ylim")):
        ranges = [getattr(panel, get)() for panel in axes]
        for panel in axes:
            getattr(panel, set_)(min(lo for lo, _ in ranges), max(hi for _, hi in ranges))
    for panel in axes[1:]:
        panel.tick_params(axis="y", labelleft=False)


def letter(axes: Axes, text: str) -> None:
    """Write what a panel shows in its upper left corner."""
    axes.text(0.02, 0.98, text, transform=axes.transAxes, va="top", weight="bold", zorder=6)


def key(label: str, colour: ColorType = "0.2", **look: Any) -> Line2D:
    """Return an entry of a legend: a line, or a marker alone if `marker` is given."""
    if "marker" in look:
        look |= {"linewidth": 0, "markersize": 4.5}
    return Line2D([], [], color=colour, label=label, **look)


def sizes(count: int) -> list[tuple[float, float, float, float]]:
    """Return `count` colours of viridis, dark to light, without the yellow that is hard to see on paper."""
    return [tuple(colour) for colour in matplotlib.colormaps["viridis"](np.linspace(0.0, 0.8, max(count, 1)))]


def square_root_nats(axes: Axes, largest: float, gap: float = LEAST_GAP) -> None:
    """Give `axes` an x-axis in nats on a square-root scale from 0 to `largest`, labels at least `gap` of it apart."""
    axes.set_xscale("function", functions=(lambda x: np.sqrt(np.maximum(x, 0)), np.square))
    axes.set_xlim(0, largest * 1.03)
    axes.xaxis.set_major_locator(FixedLocator(_spaced([0, *ROUND_NATS], largest, gap)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.xaxis.set_minor_locator(NullLocator())


def _spaced(candidates: Sequence[float], largest: float, gap: float) -> list[float]:
    """Return the tick positions up to `largest` whose labels do not overlap on the square-root scale."""
    kept: list[float] = []
    for nats in candidates:
        if nats <= largest and (not kept or np.sqrt(nats / largest) - np.sqrt(kept[-1] / largest) >= gap):
            kept.append(nats)
    return kept

"""What panels are made of: curves with bands, points with intervals, panels of intervals, and the legend."""

from __future__ import annotations

import math
from collections.abc import Sequence
from textwrap import fill
from typing import Any

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.typing import ColorType, LineStyleType
from numpy.typing import ArrayLike

from analysis.drawing import theme
from analysis.statistics.claims import Reported

LEGEND_LINES = 2  # of a legend, for which the height of a figure has room


def curve(
    panel: Axes,
    rows: pd.DataFrame,
    y: str,
    colour: ColorType,
    x: str = "kl",
    style: LineStyleType = "-",
    width: float = 1.5,
    marker: str = "",
    band: float = 0.14,
) -> None:
    """Draw column `y` of a table against column `x`: the mean, its 95 % band, and single replicates faint.

    The band is between columns `{y}_lo` and `{y}_hi`, or `lo` and `hi`, at opacity `band`; without such columns there
    is none. In a table with a column `curve`, its rows are of the mean or of a replicate. Where a column `kl_good` is
    False the line is faint, as its KL cannot be estimated well.
    """
    mean = rows[rows["curve"] == "mean"] if "curve" in rows else rows
    good = mean[mean["kl_good"]] if "kl_good" in mean and x == "kl" else mean
    bounds = next((pair for pair in ((f"{y}_lo", f"{y}_hi"), ("lo", "hi")) if pair[0] in mean), None)
    if bounds is not None and band:
        panel.fill_between(mean[x], mean[bounds[0]], mean[bounds[1]], color=colour, alpha=band, linewidth=0)
    if len(good) < len(mean):
        panel.plot(mean[x], mean[y], color=colour, linestyle=style, linewidth=0.6 * width, alpha=0.5)
    panel.plot(
        good[x], good[y], color=colour, linestyle=style, linewidth=width, marker=marker, markersize=3.5
    )
    if "curve" in rows and mean["replicates"].iloc[0] > 1:
        line: dict[str, Any] = {"linewidth": 0.5}
        if marker:
            line = {"linestyle": "none", "marker": ".", "markersize": 2}
        for _, replicate in rows[rows["curve"] == "replicate"].groupby("replicate", sort=False):
            panel.plot(replicate[x], replicate[y], color=colour, alpha=0.45, **line)


def peak(panel: Axes, rows: pd.DataFrame, y: str, colour: ColorType, x: str = "kl") -> None:
    """Mark the highest point of a mean curve: a dot, or a triangle at the last point, as the peak may come later."""
    place = int(rows[y].to_numpy().argmax())
    marker = ">" if place == len(rows) - 1 else "o"
    theme.mark(panel, rows[x].iloc[place], rows[y].iloc[place], colour, marker)


def peak_keys(number: str) -> list[Line2D]:
    """Return the entries of a legend for the marks of `peak`."""
    return [theme.key(f"{number}'s peak", marker="o"), theme.key("peak at this KL or later", marker=">")]


def intervals(
    panel: Axes,
    x: ArrayLike,
    values: ArrayLike,
    lo: ArrayLike,
    hi: ArrayLike,
    colour: ColorType,
    marker: str = "o",
    joined: bool = False,
    size: float = 4.0,
) -> None:
    """Draw points with their intervals as vertical whiskers, joined by a thin line if asked for."""
    panel.vlines(x, lo, hi, color=colour, linewidth=1.2)
    panel.plot(
        x,
        values,
        color=colour,
        linestyle="-" if joined else "none",
        linewidth=0.9,
        marker=marker,
        markersize=size,
        markeredgecolor="white",
        markeredgewidth=0.5,
    )


def forest(
    panel: Axes,
    rows: Sequence[tuple[float, Reported, ColorType]],
    names: Sequence[str] = (),
    margin: float = 0.0,
    level: float = 0.95,
    zero: bool = True,
) -> None:
    """Draw a panel of intervals, each a point with a horizontal whisker at a height; the first row stands on top.

    `rows` are (height, estimate, colour), heights 0, 1, ... being those of the `names` on the y-axis; the `margin`
    around 0 is shaded.
    """
    if margin:
        panel.axvspan(-margin, margin, color="0.92", linewidth=0, zorder=0)
    if zero:
        panel.axvline(0, color="0.7", linewidth=0.6, zorder=1)
    for height, estimate, colour in rows:
        panel.plot(estimate.interval(level), [height, height], color=colour, linewidth=1.8)
        panel.plot(estimate.value, height, "o", color=colour, markersize=4.5, markeredgecolor="white")
    panel.set_yticks(range(len(names)), list(names))
    heights = [height for height, _, _ in rows] or [0.0]
    panel.set_ylim(max(heights) + 0.5, min(heights) - 0.7)


def legend(figure: Figure, handles: Sequence[Artist], title: str = "", above: bool = False) -> None:
    """Put a legend under the panels (or `above` them) that is never cut off.

    It has as many columns as fit the figure's width, and the figure becomes higher for more than two lines. A label
    that alone is wider than the figure is wrapped.
    """
    width = figure.get_figwidth() * figure.dpi
    columns = len(handles)
    while True:
        box = figure.legend(
            handles=list(handles),
            loc="outside upper center" if above else "outside lower center",
            ncols=columns,
            title=title or None,
            handlelength=2.0,
            columnspacing=1.4,
        )
        extent = box.get_window_extent()
        if extent.width <= 0.98 * width or columns == 1:
            break
        box.remove()
        columns = _fewer(len(handles), columns)
    if extent.width > width:
        characters = int(0.9 * width / extent.width * max(len(text.get_text()) for text in box.get_texts()))
        for text in box.get_texts():
            text.set_text(fill(text.get_text(), characters))
        extent = box.get_window_extent()
    line = extent.height / math.ceil(len(handles) / columns + bool(title))
    more = max(extent.height - LEGEND_LINES * line, 0.0)
    figure.set_figheight(figure.get_figheight() + more / figure.dpi)


def _fewer(count: int, columns: int) -> int:
    """Return the columns that `count` entries need for one line more, and always fewer than there are."""
    return min(math.ceil(count / (math.ceil(count / columns) + 1)), columns - 1)

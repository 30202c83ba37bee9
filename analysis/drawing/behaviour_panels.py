"""Panels of metrics of behaviour over KL: a row for each method, a column for each question, a colour for each arm."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.behaviour.answer_shares import ALL
from analysis.best_of_n.curves import kl_axis
from analysis.drawing import plot, theme
from analysis.runs.arms import Arm, Study, title


def grid(
    read: Study,
    table: pd.DataFrame,
    panels: Mapping[str, Sequence[str]],
    colour: Callable[[Arm], str],
    ylabel: str,
) -> tuple[Figure, list[list[Axes]]]:
    """Curves of the metrics of each panel, by title; `table` has rows as `sycophancy.table` gives them."""
    figure = theme.blank(theme.WIDTH, 1.0 + 1.75 * len(read.methods))
    axes = figure.subplots(len(read.methods), len(panels), squeeze=False, sharex="row", sharey="col").tolist()
    for row, method in zip(axes, read.methods, strict=True):
        arms, of = read.of(method), table[(table["method"] == method) & (table["among"] == ALL)]
        for panel, metrics in zip(row, panels.values(), strict=True):
            for arm in arms:
                _curves(panel, of[of["label"] == arm.label], metrics, colour(arm))
            panel.axhline(0, color="0.8", linewidth=0.6, zorder=0)
            theme.square_root_nats(panel, float(of["kl"].max()), gap=0.22)
        row[0].set_ylabel(f"{title(method)}\n{ylabel}")
        middle, between = divmod(len(row) - 1, 2)
        row[middle].set_xlabel(kl_axis([arms[0].curves[0].estimator]), x=1.1 if between else 0.5)
    for panel, words in zip(axes[0], panels, strict=True):
        panel.set_title(words)
    return figure, axes


def _curves(panel: Axes, rows: pd.DataFrame, metrics: Sequence[str], colour: str) -> None:
    """Draw the first metric solid with its 95 % band, and a second one dashed with a fainter band."""
    for metric, style, width, band in zip(
        metrics, ("-", theme.DASHED), (1.5, 1.1), (0.14, 0.07), strict=False
    ):
        plot.curve(
            panel, rows[rows["metric"] == metric], "value", colour, style=style, width=width, band=band
        )

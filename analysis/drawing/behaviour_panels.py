"""Ink of metrics of behaviour over KL: a row a method, a column a question, a colour an arm."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.behaviour.answer_shares import ALL
from analysis.best_of_n.curves import kl_axis
from analysis.drawing import theme
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
    """The first metric whole with its 95 % band, a second one dashed."""
    for place, metric in enumerate(metrics):
        own = rows[rows["metric"] == metric]
        panel.fill_between(
            own["kl"], own["lo"], own["hi"], color=colour, alpha=0.14 / (1 + place), linewidth=0
        )
        style, width = (theme.DASHED, 1.1) if place else ("-", 1.5)
        panel.plot(own["kl"], own["value"], color=colour, linestyle=style, linewidth=width)
